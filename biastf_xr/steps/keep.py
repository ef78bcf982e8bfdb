"""What is done with a cube that is there: read it back, hand it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biastf_xr.steps.show_cubes import show_findings
from biastf_xr.steps.terminal import console, progress_bar

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.cube.verify import Verification


def verify_step(path: str) -> Verification:
    """Check a cube and print what is wrong.

    Parameters
    ----------
    path : str
        The cube.

    Returns
    -------
    Verification
        What was found.
    """
    from biastf_xr.cube.verify import verify

    with progress_bar("verify", "chunks of days") as advance:
        result = verify(path, progress=lambda day, done, total: advance(done, total, day))
    show_findings(result)
    return result


def export_step(path: str, folder: Path, *, dates: tuple[str, ...], **options: Any) -> list[Path]:
    """Write the images of a cube as Cloud-Optimised GeoTIFFs.

    Parameters
    ----------
    path : str
        The cube.
    folder : pathlib.Path
        Where the files go.
    dates : tuple of str
        Dates; all if empty.
    **options
        Of `biastf_xr.cube.export.export_cogs`.

    Returns
    -------
    list of pathlib.Path
        The files.
    """
    from biastf_xr.cube.export import export_cogs

    with progress_bar("export", "files") as advance:
        files = export_cogs(
            path,
            folder,
            dates=dates or None,
            progress=lambda name, done, total: advance(done, total, name),
            **options,
        )
    console.print(f"{len(files)} Cloud-Optimised GeoTIFFs in [bold]{folder}[/]")
    return files
