"""Damage to files, drawn at random: bytes, names, and what each format says inside.

Every way takes a generator of random numbers, a file, and the files that it may be mixed up with;
it changes the file in place and tells what it did.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import json
import os
import shutil
import struct
import tomllib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEEP = "~deep~"  # becomes lists in lists when the text is written
ODD: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, float("nan"), float("inf"),
    float("-inf"), "", "x" * 100_000, "NaN", "../../..", "\x1b[31m", "[/b]", "\0", "é\u202e",
    [], {}, [None], [[1, 2], [3]], {"a": {"b": []}}, DEEP, "1e999", "2021-02-30", "blosc",
)  # fmt: skip


def damage(rng: random.Random, folder: Path, files: list[Path]) -> tuple[list[str], bool]:
    """Damage files in one to three places.

    Returns what was done, and whether every place lies under a checksum.
    """
    # What describes is as likely to be hit as the many files that hold pixels.
    about = [f for f in files if f.suffix in {".json", ".jsonl", ".toml", ".lock"}]
    tables = [f for f in files if f not in about and _is_table(f)]
    depth = min((len(f.parts) for f in about), default=0)
    tops = [f for f in about if len(f.parts) == depth]  # as the metadata of a whole cube
    heaps = [heap for heap in (tops, about, tables, files) if heap]
    done, checked = [], True
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice(rng.choice(heaps))
        if not path.is_file():  # any more
            continue
        inner = [way for fits, way in INNER_WAYS if fits(path)]
        way = rng.choice([*BYTES_WAYS, *FILE_WAYS, *inner * 4])
        checked &= way in BYTES_WAYS and _is_checked(path)
        try:
            told = way(rng, path, files)
        except (OSError, ValueError, LookupError, RecursionError, struct.error) as error:
            told = f"not possible ({type(error).__name__})"  # as it is damaged already
        done.append(f"{way.__name__} {path.relative_to(folder)}: {told}")
    return done, checked


def _is_checked(path: Path) -> bool:
    """Return whether a file is a chunk that ends with a checksum."""
    return "c" in path.parts and "spatial_ref" not in path.parts


def _is_table(path: Path) -> bool:
    """Return whether a file holds a ledger or a coordinate."""
    parts = path.parts
    tables = {"ingest", "fusion", "pair_quality", "time", "x", "y", "scenes", "spatial_ref",
              "clear_fraction", "suspect_fraction", "pair_flag", "before", "after"}  # fmt: skip
    return "c" in parts and bool(tables & {*parts})


def flip(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Flip bits, more often near the ends."""
    data = bytearray(path.read_bytes())
    where = []
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        end = min(len(data), rng.choice((16, 512, len(data))))
        at = rng.randrange(end) if rng.random() < 0.7 else len(data) - 1 - rng.randrange(end)
        data[at] ^= 1 << rng.randrange(8)
        where.append(at)
    path.write_bytes(data)
    return f"at {where[:8]}"


def truncate(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Take the end away."""
    size = path.stat().st_size
    left = rng.choice((0, 0, 1, size // 2, max(size - 1, 0), rng.randrange(size + 1)))
    os.truncate(path, left)
    return f"{left} of {size} bytes left"


def splice(rng: random.Random, path: Path, files: list[Path]) -> str:
    """Put in, overwrite or double bytes: noise, zeros, or a part of another file."""
    data = path.read_bytes()
    at, count = rng.randrange(len(data) + 1), rng.choice((1, 4, 64, 4096))
    other = rng.choice(files)
    source = rng.choice((rng.randbytes(count), bytes(count), b"\xff" * count, data[at : at + count],
                         other.read_bytes()[:count] if other.is_file() else b""))  # fmt: skip
    over = rng.choice((0, len(source)))
    path.write_bytes(data[:at] + source + data[at + over :])
    return f"{len(source)} bytes at {at}, over {over}"


def swap(rng: random.Random, path: Path, files: list[Path]) -> str:
    """Swap two files, of one kind if there are such."""
    alike = [f for f in files if f.suffix == path.suffix and f != path and f.is_file()] or [path]
    near = [f for f in alike if f.parent == path.parent or f.parent.parent == path.parent.parent]
    other = rng.choice(rng.choice((alike, near or alike)))
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)
    return f"and {other}"


def remove(_rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Take a file away."""
    path.unlink()
    return ""


def rename(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Change a letter of a name, or make it odd."""
    at = rng.randrange(len(path.name))
    name = rng.choice((
        path.name[:at] + rng.choice("0159aZ.~é ") + path.name[at + 1 :],
        path.name[:at] + path.name[at + 1 :] or "z",
        path.name.upper(), f"[/b]{path.name}", f"{path.name}.partial", f"\x1b[1m{path.name}",
    ))  # fmt: skip
    path.rename(path.with_name(name))
    return repr(name)


def double(_rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Add a copy with another name beside a file."""
    shutil.copy2(path, path.with_name(f"{path.stem}_2{path.suffix}"))
    return ""


def odd(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Put a folder, a pipe or a link that leads nowhere in the place of a file."""
    kind = rng.choice(("folder", "pipe", "link"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(rng.choice((path.name, "/nowhere")))
    return kind


def change_json(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Change nodes of a JSON text, or of a line of several."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = rng.randrange(len(lines))
    lines[at], told = changed_text(rng, lines[at])
    path.write_text("\n".join(lines) + "\n")
    return told


def change_card(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Change the card of a model, or what its header says of the weights, or the weights."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    part = rng.choice(("card", "header", "weights"))
    body, told = data[8 + size :], ""
    if part == "weights":
        numbers = np.frombuffer(body, "<f4").copy()
        value = rng.choice((np.nan, np.inf, -np.inf, 3e38, 1e6, 0.0))
        numbers[rng.randrange(numbers.size)] = value
        body, told = numbers.tobytes(), f"{value}"
        text = json.dumps(header)
    elif part == "card":
        card = json.loads(header["__metadata__"]["card"])
        header["__metadata__"]["card"], told = changed_text(rng, json.dumps(card))
        text = json.dumps(header)
    else:
        text, told = changed_text(rng, json.dumps(header))
    head = text.encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)
    return f"{part}: {told}"


def changed_text(rng: random.Random, text: str) -> tuple[str, str]:
    """Change up to three nodes of a JSON text."""
    root = {"": json.loads(text)}
    told = [_change_node(rng, root) for _ in range(rng.choice((1, 1, 2, 3)))]
    written = json.dumps(root[""]) if "" in root else "null"
    deep = rng.choice((100, 5000, 200_000))
    return written.replace(f'"{DEEP}"', "[" * deep + "]" * deep), "; ".join(told)


def _change_node(rng: random.Random, root: dict[str, Any]) -> str:
    """Change a node of a tree: take it away, double it, rename it, give it another type."""
    nodes = list(_nodes(root, ()))
    path, holder, key = rng.choice(nodes[1:] or nodes)
    value = holder[key]
    choices = ["odd"] * 3 + ["delete", "swap", "near"]
    choices += ["rename", "double"] if isinstance(holder, dict) else ["repeat"]
    how = rng.choice(choices)
    if how == "odd":
        holder[key] = rng.choice(ODD)
        how = f"= {str(holder[key])[:30]!r}"
    elif how == "delete":
        del holder[key]
    elif how == "swap":
        _, there, other = rng.choice(nodes[1:] or nodes)
        with contextlib.suppress(LookupError):
            holder[key], there[other] = copy.deepcopy((there[other], value))
    elif how == "near" and isinstance(value, (int, float)):
        holder[key] = rng.choice((value + 1, -value, value * 1000, value / 3, str(value), [value]))
    elif how == "near" and isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        holder[key] = value[:at] + rng.choice("0aZ_-.[\n") + value[at + 1 :]
    elif how == "rename":
        holder[rng.choice((f"{key}_", str(key)[1:], "attributes"))] = holder.pop(key)
    elif how == "double":
        holder[f"{key}2"] = value
    elif how == "repeat":
        holder.extend([value] * rng.choice((1, 1000)))
    return f"{'/'.join(map(str, path))} {how}"


def _nodes(holder: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Walk a tree: the path, what holds the node, and its key there."""
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield (*path, key), holder, key
        if isinstance(holder[key], (dict, list)):
            yield from _nodes(holder[key], (*path, key))


def change_toml(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Change nodes of a TOML text."""
    root = {"": tomllib.loads(path.read_text())}
    told = [_change_node(rng, root) for _ in range(rng.choice((1, 1, 2, 3)))]
    lines = []
    for name, section in root.get("", {}).items() if isinstance(root.get(""), dict) else ():
        if isinstance(section, dict):
            lines += [f"[{_toml(str(name))}]", *(f"{_toml(str(k))} = {_toml(v)}" for k, v in
                                                  section.items())]  # fmt: skip
        else:
            lines.insert(0, f"{_toml(str(name))} = {_toml(section)}")
    path.write_text("\n".join(lines))
    return "; ".join(told)


def _toml(value: Any) -> str:
    """Write a value as TOML does; null, which it has not, becomes nothing at all."""
    if value == DEEP:
        return "[" * 3000 + "]" * 3000
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, (dt.date, float)) or value is None:
        return "" if value is None else str(value)
    return json.dumps(value)


def change_array(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Write odd values into a ledger or coordinate, with all its checksums right."""
    import zarr

    folder = path.parents[len(path.parts) - 1 - path.parts.index("c")]
    array: Any = zarr.open_array(folder, mode="r+")
    values = np.array(array[...])
    at = rng.randrange(max(values.size, 1))
    old = values.ravel()[at]
    if values.dtype.kind in "iufb":
        kind = np.iinfo(values.dtype) if values.dtype.kind in "iu" else np.finfo(values.dtype)
        with np.errstate(all="ignore"):
            new = rng.choice((kind.min, kind.max, 0, 1, old + 1, -old))
        new = rng.choice((new, np.nan, np.inf)) if values.dtype.kind == "f" else new
    else:
        try:
            new = rng.choice((changed_text(rng, str(old))[0], *(o for o in ODD if o == str(o))))
        except (ValueError, RecursionError):
            new = rng.choice(("x", "", "{", f"{old}0", "a" * 100_000))
    with np.errstate(all="ignore"):
        values.ravel()[at] = new
    array[...] = values
    return f"{at} = {str(new)[:60]!r}"


def change_tag(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Change a field of the directory of a TIFF: tag, type, count or value."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entry = start + 2 + 12 * rng.randrange(count)
    (tag,) = struct.unpack_from("<H", data, entry)
    form, at = rng.choice((("<H", 0), ("<H", 2), ("<I", 4), ("<I", 8), ("<I", 8), ("<I", 8)))
    value = rng.choice((0, 1, 2, 7, 255, 65535, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)))
    struct.pack_into(form, data, entry + at, value & (0xFFFF if form == "<H" else 0xFFFFFFFF))
    path.write_bytes(data)
    return f"tag {tag}, byte {at} of its entry = {value}"


def change_hdf5(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Take a data set of an HDF5 file away, or give it another shape, type or scale."""
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, node: names.append(name) if hasattr(node, "dtype") else None)
        name = rng.choice(names)
        how = rng.choice(("remove", "type", "shape", "scale", "nan", "rename"))
        values = file[name][()]
        if how == "scale":
            odd = rng.choice(("text", np.nan, np.inf, 0.0, 1e300, [1.0, 2.0]))
            file[name].attrs[rng.choice(("scale_factor", "_FillValue", "add_offset"))] = odd
            return f"{name} {how}"
        del file[name]
        if how == "type":
            file[name] = np.asarray(values).astype(rng.choice(("f8", "i1", "S9", "c8", "u8")))
        elif how == "shape":
            file[name] = rng.choice((np.zeros(3), np.zeros((0, 60)), np.zeros((2, 60, 60)), 1.0))
        elif how == "nan":
            file[name] = np.full((60, 60), rng.choice((np.nan, np.inf, 1e30)))
        elif how == "rename":
            file[f"{name}x"] = values
    return f"{name} {how}"


BYTES_WAYS: tuple[Callable[..., str], ...] = (flip, truncate, splice)
FILE_WAYS: tuple[Callable[..., str], ...] = (swap, remove, rename, double, odd)
INNER_WAYS: tuple[tuple[Callable[[Path], bool], Callable[..., str]], ...] = (
    (lambda p: p.suffix in {".json", ".jsonl"} and p.stat().st_size > 1, change_json),
    (lambda p: p.suffix == ".safetensors", change_card),
    (lambda p: p.suffix == ".toml", change_toml),
    (_is_table, change_array),
    (lambda p: p.suffix.lower() == ".tif", change_tag),
    (lambda p: p.suffix == ".h5", change_hdf5),
)
