"""A store of which nothing is believed: what it declares is bounded before it is read by it.

A chunk of a few kilobytes may say that it unpacks to gigabytes, and an array that it has 1e9 days.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, NamedTuple, Self

import numpy as np
from zarr.abc.store import RangeByteRequest
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import WrapperStore

from biastf_xr._system import damaged, reading
from biastf_xr._urls import public
from biastf_xr.cube._spec import SHARD_BYTES

# What no cube has more of.  Pixels on a side: 10 m around the whole Earth are 4 million, and no
# projection of one cube holds that.  Days: 300 years, as `to_days` has them.
SIDE, DAYS = 1 << 20, 110_000

# Chunks in a shard, shards of a date, and of all dates.
INNER, TILES, SHARDS = 1 << 14, 1 << 17, 1 << 25

# Bytes of: metadata; the texts in a chunk; an array that is read as a whole; a chunk.
METADATA, TEXTS, WHOLE, CHUNK = 1 << 24, 1 << 25, 1 << 29, 1 << 26

# Types and codecs that cubes are written with; `None` has no size that is known beforehand.
SIZES: dict[str, int | None] = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4,
    "uint64": 8, "float16": 2, "float32": 4, "float64": 8, "string": None,
}  # fmt: skip
COMPRESSORS = ("blosc", "zstd")
METADATA_NAME = "zarr.json"

PIXELS = ("time", "y", "x")
TEXT_SIZE = 16  # of an unwritten text, in memory


class Declared(NamedTuple):
    """What the metadata of an array says of its chunks.

    `inner`: How many chunks a shard has; 0 if there are no shards.
    """

    compressor: str
    unpacked: int  # bytes; of texts the most there may be
    exact: bool
    inner: int

    @property
    def packed(self) -> int:
        """Return the most bytes that a chunk may have as it is stored."""
        return self.unpacked + (self.unpacked >> 6) + 1024

    @property
    def stored(self) -> int:
        """Return the most bytes that an object may have."""
        return self.inner * (self.packed + 16) + 4 if self.inner else self.packed

    def check(self, data: Any, start: int, length: int) -> None:
        """Check the header of one chunk in the bytes of an object."""
        if length > self.packed:
            raise ValueError(f"a chunk of {length} bytes; at most {self.packed} were expected")
        found = self.unpacked
        if self.compressor == "blosc":
            found, held = struct.unpack_from("<I4xI", data, start + 4) if length >= 16 else (0, 1)
            if held > length:
                raise ValueError(f"a chunk of {length} bytes says that it has {held}")
        elif self.compressor == "zstd":
            found = zstd_size(data[start : start + min(length, 18)].tobytes())
        if found > self.unpacked or (self.exact and found != self.unpacked):
            raise ValueError(
                f"a chunk says that it unpacks to {found} bytes; by the metadata it is "
                f"{'' if self.exact else 'at most '}{self.unpacked}"
            )

    def check_object(self, data: Any) -> None:
        """Check every chunk in an object, which holds one chunk or a shard."""
        if not self.inner:
            self.check(data, 0, data.size)
            return
        index = data[-16 * self.inner - 4 : -4].tobytes()
        places = np.frombuffer(index, "<u8") if len(index) == 16 * self.inner else None
        if places is None:
            raise ValueError(f"a shard of {data.size} bytes is cut off")
        for start, length in places.reshape(-1, 2).tolist():
            if (start, length) == (2**64 - 1, 2**64 - 1):
                continue
            if start + length > data.size:
                raise ValueError(f"a shard of {data.size} bytes has a chunk at {start}")
            self.check(data, start, length)


def zstd_size(head: bytes) -> int:
    """Return what the header of a Zstandard frame says that it unpacks to (RFC 8878)."""
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        raise ValueError("a chunk is no frame of Zstandard")
    single, width = head[4] >> 5 & 1, (0, 2, 4, 8)[head[4] >> 6]
    width = width or single
    if not width:
        raise ValueError("a chunk does not say what it unpacks to")
    at = 5 + (not single) + (0, 1, 2, 4)[head[4] & 3]
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)


def declared_by(found: dict[str, Any]) -> Declared:
    """Return what the metadata of an array says of its chunks; refuse what no cube has."""
    shape, chunk = found["shape"], found["chunk_grid"]["configuration"]["chunk_shape"]
    names = tuple(found.get("dimension_names") or [None] * len(shape))
    if found["data_type"] not in SIZES:
        raise ValueError(f"values of type {found['data_type']!r}; expected one of {[*SIZES]}")
    kind = SIZES[found["data_type"]]
    _check_sizes(shape, chunk, names, kind or TEXT_SIZE)
    codecs, inner = found["codecs"], 0
    if found["chunk_key_encoding"]["name"] != "default" or found.get("storage_transformers"):
        raise ValueError("chunks are not named as in a cube")
    if codecs[0]["name"] == "sharding_indexed":
        about = codecs[0]["configuration"]
        _codecs(about["index_codecs"], ())
        if len(codecs) > 1 or about.get("index_location", "end") != "end":
            raise ValueError("shards are not packed as in a cube")
        parts = about["chunk_shape"]
        inner = math.prod(a // b for a, b in zip(chunk, parts, strict=True))
        if inner > INNER:
            raise ValueError(f"{inner} chunks in a shard; no cube has that many")
        chunk, codecs = parts, about["codecs"]
    if math.prod(chunk) * (kind or TEXT_SIZE) > CHUNK:
        raise ValueError(f"chunks of {chunk} values; expected at most {CHUNK} bytes")
    compressor = _codecs(codecs, COMPRESSORS)
    if (codecs[0]["name"] == "vlen-utf8") != (kind is None):
        raise ValueError(f"{found['data_type']} packed by {codecs[0]['name']}")
    unpacked = math.prod(chunk) * kind if kind else TEXTS
    return Declared(compressor, unpacked, kind is not None, inner)


def _check_sizes(shape: Any, chunk: Any, names: tuple[Any, ...], size: int) -> None:
    """Refuse arrays and chunks larger than any cube has."""
    if not (len(shape) == len(chunk) == len(names) <= 4 and all(
        type(n) is int and n >= least for least, sizes in ((0, shape), (1, chunk)) for n in sizes
    )):  # fmt: skip
        raise ValueError(f"shape {shape} in chunks of {chunk}, dimensions {names}")
    for name, many in zip(names, shape, strict=True):
        if many > (DAYS if name == "time" else SIDE):
            raise ValueError(f"{many} along {name}; no cube has that many")
    if names != PIXELS and math.prod(shape) * size > WHOLE:
        raise ValueError(f"{math.prod(shape)} values of {size} bytes; no cube has that many")
    if math.prod(chunk) * size > SHARD_BYTES:
        raise ValueError(f"shards of {chunk} values; expected at most {SHARD_BYTES} bytes")
    shards = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    if names == PIXELS and (math.prod(shards[1:]) > TILES or math.prod(shards) > SHARDS):
        raise ValueError(f"{shards} shards; no cube has that many")


def _codecs(codecs: list[Any], known: tuple[str, ...]) -> str:
    """Return the compressor among codecs, of which there may be one; refuse unknown ones."""
    names = [codec["name"] for codec in codecs]
    first, *rest = names
    found = rest.pop(0) if rest and rest[0] in known else ""
    if first not in ("bytes", "vlen-utf8") or {*rest} - {"crc32c"}:
        raise ValueError(
            f"chunks packed by {names}; expected bytes or vlen-utf8, {' or '.join(known)}, crc32c"
        )
    return found


class Bounded(WrapperStore[Any]):
    """A store that looks at what it hands out: metadata, and the headers of chunks.

    `url`: What it is called in messages.
    """

    def __init__(self, store: Any, url: str, arrays: dict[str, Declared] | None = None) -> None:
        super().__init__(store)
        self.url, self.arrays = public(url), {} if arrays is None else arrays

    def __str__(self) -> str:
        return self.url

    @property
    def supports_consolidated_metadata(self) -> bool:
        """Return whether the store may hold the metadata of all arrays in one object."""
        return bool(self._store.supports_consolidated_metadata)

    def _with_store(self, store: Any) -> Self:
        return type(self)(store, self.url, self.arrays)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read an object, or a part of one; see `WrapperStore.get`."""
        if key.endswith(METADATA_NAME):
            return await self._get_metadata(key, prototype, byte_range)
        array = self.arrays.get(key.partition("/c/")[0].removesuffix("/c"))
        if array is None:
            return await self._store.get(
                key, prototype, byte_range or RangeByteRequest(0, METADATA)
            )
        whole, part = byte_range is None, isinstance(byte_range, RangeByteRequest)
        if part and not 0 <= byte_range.end - byte_range.start <= array.packed:
            raise damaged(f"{self.url}/{key}", f"a chunk at {byte_range.start}:{byte_range.end}")
        asked = RangeByteRequest(0, array.stored + 1) if whole else byte_range
        found = await self._store.get(key, prototype, asked)
        if found is not None and (whole or part):
            with reading(f"{self.url}/{key}"):
                data = found.as_numpy_array()
                if whole:
                    array.check_object(data)
                elif data.size != asked.end - asked.start:
                    raise ValueError(f"it ends before the chunk at {asked.start}:{asked.end}")
                else:
                    array.check(data, 0, data.size)
        return found

    async def set(self, key: str, value: Any) -> None:
        """Write an object; see `WrapperStore.set`."""
        if key.endswith(METADATA_NAME):
            self._note(key, value)
        await self._store.set(key, value)

    async def _get_metadata(self, key: str, prototype: Any, byte_range: Any) -> Any:
        # What keeps metadata apart from chunks has read it already, and hands it out as a whole.
        if byte_range is None and self.supports_consolidated_metadata:
            byte_range = RangeByteRequest(0, METADATA + 1)
        found = await self._store.get(key, prototype, byte_range)
        if found is not None:
            self._note(key, found)
        return found

    def _note(self, key: str, value: Any) -> None:
        """Look at metadata, and remember what it says of chunks."""
        with reading(f"{self.url}/{key}"):
            if len(value) > METADATA:
                raise ValueError(f"metadata of more than {METADATA} bytes")
            found = json.loads(value.to_bytes())
            node = key.removesuffix(METADATA_NAME).rstrip("/")
            if found["node_type"] == "array":
                ArrayV3Metadata.from_dict(dict(found))
            inner = (found.get("consolidated_metadata") or {}).get("metadata") or {}
            below = {"/".join(filter(None, [node, name])): about for name, about in inner.items()}
            for path, about in {node: found, **below}.items():
                with reading(f"{self.url}/{path}"):
                    if not isinstance(about.get("attributes", {}), dict):
                        raise TypeError(f"attributes {about['attributes']!r}")
                    if about["node_type"] == "array":
                        self.arrays[path] = declared_by(about)
