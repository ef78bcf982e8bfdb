"""What is in archives: tar bundles, and NetCDF of AppEEARS."""

from __future__ import annotations

import tarfile
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from biastf_xr._urls import member
from biastf_xr.errors import SceneError
from biastf_xr.sources._appeears import images_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from biastf_xr.sources._rasters import Readable


def with_members(
    paths: Iterable[Path], how: Readable, lost: dict[Path, str] | None = None
) -> Iterator[tuple[str, Path | str]]:
    """Name files, with what is in archives; a tar archive that cannot be read is itself a file.

    `lost`: Takes why a NetCDF file cannot be read.
    """
    for path in paths:
        members: list[tuple[str, str]] = []
        if path.suffix.lower() == ".tar" and path.is_file():
            with suppress(tarfile.TarError, OSError), tarfile.open(path, "r:") as archive:
                members = [(PurePosixPath(n).name, member(path, n)) for n in archive.getnames()]
        elif path.suffix.lower() == ".nc":
            try:
                members = list(images_of(path, how))
            except SceneError as error:
                (lost if lost is not None else {})[path] = str(error)
                continue
        if members:
            yield from members
        else:
            yield path.name, path
