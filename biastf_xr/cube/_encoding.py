"""How cubes are packed: the only writer of encodings.

Reflectance is float32 with the mantissa rounded to 12 bits (error at most 6.1e-5 for values
below 1) and Blosc zstd with bit shuffling.  Unlike int16 packing this cannot wrap, decodes to
float32 and keeps NaN as missing.  Every chunk ends with a CRC-32C checksum, so that damage is an
error and never a wrong number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._spec import TIME_CHUNK, TIME_UNITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.cube._spec import CubeSpec

MANTISSA_BITS = 12


def round_mantissa(values: NDArray[np.float32], bits: int = MANTISSA_BITS) -> NDArray[np.float32]:
    """Round float32 values to 1 to 22 mantissa bits, half to even; NaN and infinity stay.

    The relative error is at most ``2 ** -(bits + 1)``.
    """
    drop = 23 - bits
    raw = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1)
    rounded = raw + half
    rounded += (raw >> np.uint32(drop)) & np.uint32(1)
    rounded &= np.uint32(0xFFFFFFFF ^ ((1 << drop) - 1))
    # The carry turns some not-a-numbers into zero or infinity.
    rounded[np.isnan(values)] = np.float32(np.nan).view(np.uint32)
    return rounded.view(np.float32)


def codecs(typesize: int) -> tuple[Any, ...]:
    """Build the codecs of a variable."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    blosc = BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=typesize)
    return blosc, Crc32cCodec()


def table_codecs() -> tuple[Any, ...]:
    """Build the codecs of coordinates and ledgers."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return ZstdCodec(), Crc32cCodec()


def encoding_of(spec: CubeSpec, times: int) -> dict[str, dict[str, Any]]:
    """Build the encoding of every variable of a cube."""
    pixels: dict[str, Any] = {
        "chunks": spec.layout.chunks,
        "shards": spec.layout.shards,
        "grid_mapping": "spatial_ref",
    }
    encoding: dict[str, dict[str, Any]] = {}
    for name, (_, fill) in spec.variables.items():
        encoding[name] = pixels | {
            "dtype": fill.dtype.name,
            "_FillValue": fill if fill.dtype.kind == "f" else None,
            "fill_value": fill,
            "compressors": codecs(fill.dtype.itemsize),
        }
    fused = spec.kind == "fused"
    # Fine and coarse cubes grow by the day: room for more in the chunk that readers have.
    chunk = {"chunks": (max(times, 1) if fused else TIME_CHUNK,), "compressors": table_codecs()}
    for name in ["time", "before", "after"] if fused else ["time"]:
        encoding[name] = {"units": TIME_UNITS, "dtype": "int64"} | chunk
    if not fused:
        encoding |= {"clear_fraction": chunk, "scenes": chunk}
    if spec.kind == "fine":
        nan = np.float32(np.nan)
        encoding |= {"pair_flag": chunk}
        encoding["suspect_fraction"] = chunk | {"_FillValue": nan, "fill_value": nan}
    for name in ("y", "x"):
        # CF: coordinates have no missing values.
        encoding[name] = {"_FillValue": None, "compressors": table_codecs()}
    return encoding
