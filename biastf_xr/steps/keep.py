"""What is done with a cube that is there: read it back, hand it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from biastf_xr.steps.show_cubes import show_findings
from biastf_xr.steps.terminal import console, facts, progress_bar, shown, tell_rest

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.cube._rechunk import RechunkReport
    from biastf_xr.cube._verify import Verification
    from biastf_xr.cube.stores.base import Version
    from biastf_xr.publish.catalogue import PublishReport


def verify_step(path: str) -> Verification:
    """Check a cube and print what is wrong."""
    from biastf_xr.cube._verify import verify

    with progress_bar("verify", "chunks of days") as advance:
        result = verify(path, progress=lambda day, done, total: advance(done, total, day))
    show_findings(result)
    return result


def export_step(path: str, folder: Path, *, dates: tuple[str, ...], **options: Any) -> list[Path]:
    """Write the images of a cube as Cloud-Optimised GeoTIFFs."""
    from biastf_xr.cube._export import export_cogs

    with progress_bar("export", "files") as advance:
        files = export_cogs(
            path,
            folder,
            dates=dates or None,
            progress=lambda name, done, total: advance(done, total, name),
            **options,
        )
    told = "would be written to" if options.get("dry_run") else "in"
    console.print(f"{len(files)} Cloud-Optimised GeoTIFFs {told} [bold]{folder}[/]")
    return files


def publish_step(path: str, folder: Path, **options: Any) -> PublishReport:
    """Write or update the STAC catalogue of a cube."""
    from biastf_xr.fusion._preview import size
    from biastf_xr.publish.catalogue import publish

    with progress_bar("publish", "dates") as advance:
        report = publish(
            path, folder, progress=lambda name, done, total: advance(done, total, name), **options
        )
    facts(
        f"STAC catalogue {folder}{' (nothing was written)' if options.get('dry_run') else ''}",
        {
            "dates": f"{len(report.added)} new, {len(report.updated)} made anew, "
            f"{len(report.kept)} kept, {len(report.removed)} taken out",
            "files": f"{report.files}, {size(report.size)}",
        },
    )
    return report


def rechunk_step(path: str, output: str, purpose: Any, **options: Any) -> RechunkReport:
    """Copy a cube to another layout."""
    from biastf_xr.cube._rechunk import rechunk
    from biastf_xr.fusion._preview import size

    with progress_bar("rechunk", "blocks") as advance:
        report = rechunk(
            path,
            output,
            purpose,
            progress=lambda name, done, total: advance(done, total, name),
            **options,
        )
    facts(
        f"copy {report.path} for {purpose}"
        f"{' (nothing was written)' if options.get('dry_run') else ''}",
        {
            "days": f"{report.days}, {report.changed} new or changed",
            "chunks, shards": f"{report.layout.chunks}, {report.layout.shards}",
            "shards": f"{report.written} written, {report.kept} taken over",
            "size": f"{size(report.size)} not compressed; about {size(report.memory)} in memory",
        },
    )
    return report


def versions_step(path: str) -> list[Version]:
    """List the versions of a cube."""
    from biastf_xr.cube.stores import versions

    found = versions(path)
    table = Table(box=SIMPLE_HEAD)
    for title in ("version", "made", "what was done"):
        table.add_column(title, overflow="fold")
    for version in shown(found):
        table.add_row(*version)
    if found:
        console.print(table)
        tell_rest(found, what="older versions")
    else:
        console.print(f"{path} is plain Zarr, which keeps no versions; icechunk:// stores do.")
    return found


def roll_back_step(path: str, to: str, *, dry_run: bool = False) -> Version:
    """Go back to a version of a cube."""
    from biastf_xr.cube.stores import roll_back, versions
    from biastf_xr.errors import CubeStructureError

    if not dry_run:
        version = roll_back(path, to)
        console.print(f"{path} is as of {version.time}: {version.message}", markup=False)
        return version
    found = [v for v in versions(path) if v.id == to]
    if not found:
        raise CubeStructureError(
            f"{path} has no version {to}; `biastf-xr roll-back {path}` lists them."
        )
    console.print(f"{path} would be as of {found[0].time}: {found[0].message}", markup=False)
    return found[0]
