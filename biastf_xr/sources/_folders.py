"""What lies in a folder of scenes: files through links, copies, and areas of one name."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biastf_xr._files import check_regular, open_regular
from biastf_xr.errors import SceneError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator

# How much of both ends of two files is compared.
_LOOK = 65536


def walk(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """List all below a folder, by name, through symbolic links.

    Every folder is looked into once, however many links lead to it, and as what it is before what
    links call it.

    `lost`: Why something cannot be reached.
    """
    found: list[Path] = []
    lost: dict[Path, str] = {}
    seen: set[Path] = set()
    folders: list[Path] = [folder]
    links: list[Path] = []
    while folders or links:
        place = folders.pop() if folders else links.pop(0)
        if (real := place.resolve()) in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except FileNotFoundError:  # removed while this goes on: a download tidies up
            continue
        except OSError as error:
            lost[place] = f"cannot be looked into ({error.strerror}). Correct its permissions."
            continue
        for entry in entries:
            path = place / entry.name
            if entry.is_symlink() and not path.exists():
                lost[path] = (
                    f"is a symbolic link to {path.readlink()}, which is not there. Mount or "
                    "download what it leads to, or remove it."
                )
                continue
            try:
                if not (entry.is_dir() or entry.is_file()):
                    check_regular(path)
            except OSError as error:
                lost[path] = f"is no file of a scene ({error}). Move it out of the folder."
                continue
            found.append(path)
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
    return sorted(found), lost


@dataclass(frozen=True)
class LayerFile:
    """A file of a scene.

    `layer`: What it holds.
    `name`: Its name, matched by a pattern of the product.
    """

    layer: str
    name: re.Match[str]
    file: Path | str

    @property
    def stamp(self) -> tuple[str, ...]:
        """Return its collection and its processing, as far as its name says: later is greater."""
        known = self.name.groupdict()
        return tuple(known.get(group) or "" for group in ("collection", "processed"))


@dataclass(frozen=True)
class Part:
    """Files that make one scene.

    `place`: Folder that tells it from others of its name; empty for the first of them.
    `problem`: Why they are not one scene.
    """

    files: list[LayerFile]
    place: str = ""
    problem: str = ""


def parts_of(files: Iterable[LayerFile]) -> Iterator[Part]:
    """Tell apart what is named as one scene: a layer has one file, the latest; no copy counts.

    Files of one name that differ, as of two areas or of two orders, are scenes of their folders.
    """
    layers: dict[str, list[LayerFile]] = defaultdict(list)
    for one in files:
        if not any(_copies(one.file, other.file) for other in layers[one.layer]):
            layers[one.layer].append(one)
    latest = {layer: max(one.stamp for one in found) for layer, found in layers.items()}
    kept = [o for found in layers.values() for o in found if o.stamp == latest[o.layer]]
    if len(kept) == len(layers):
        yield Part(kept)
        return
    by_folder: dict[tuple[str, ...], list[LayerFile]] = defaultdict(list)
    for one in kept:
        by_folder[Path(one.file).parent.parts].append(one)
    common = len(os.path.commonprefix([*by_folder]))  # noqa: RUF071  (of tuples: part by part)
    for n, place in enumerate(sorted(by_folder)):
        called = "/".join(place[common:]) if n else ""
        yield Part(by_folder[place], called, _twice(by_folder[place]))


def _twice(files: list[LayerFile]) -> str:
    """Return the problem of a layer that has several files in one folder."""
    for one in files:
        names = [Path(o.file).name for o in files if o.layer == one.layer]
        if len(names) > 1:
            return f"has the layer {one.layer} more than once: {names}. Keep one of the files."
    return ""


def _copies(one: Path | str, other: Path | str) -> bool:
    """Return whether two files have one name and content; what is no plain file, one name."""
    if Path(one).name != Path(other).name:
        return False
    if not (isinstance(one, Path) and isinstance(other, Path)):
        return True
    size = one.stat().st_size
    return size == other.stat().st_size and _ends(one, size) == _ends(other, size)


def _ends(path: Path, size: int) -> bytes:
    """Read the first and the last bytes of a file: enough to tell rasters of one size apart."""
    try:
        with open_regular(path) as file:
            first = file.read(_LOOK)
            file.seek(max(size - _LOOK, 0))
            return first + file.read(_LOOK)
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror or error}).") from error
