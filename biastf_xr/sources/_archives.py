"""What is in archives: tar bundles, and NetCDF of AppEEARS."""

from __future__ import annotations

import tarfile
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from biastf_xr._urls import member
from biastf_xr.sources._appeears import images_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def with_members(paths: Iterable[Path]) -> Iterator[tuple[str, Path | str]]:
    """Name files, with what is in archives; one that cannot be read is itself a file."""
    for path in paths:
        members: list[tuple[str, str]] = []
        if path.suffix.lower() == ".tar" and path.is_file():
            with suppress(tarfile.TarError, OSError), tarfile.open(path, "r:") as archive:
                members = [(PurePosixPath(n).name, member(path, n)) for n in archive.getnames()]
        elif path.suffix.lower() == ".nc":
            members = list(images_of(path))
        if members:
            yield from members
        else:
            yield path.name, path
