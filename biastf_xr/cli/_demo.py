"""The demo: the whole job on the generated region, through the same steps as any other run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from biastf_xr._files import own_folder, own_name, remove, write_text
from biastf_xr._summary import Summary
from biastf_xr._tables import write_csv
from biastf_xr.cli._terminal import console, progress_of, say, show, stages

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr.config import Config

CONFIG = """\
# Written by `biastf-xr demo`. The same file drives: biastf-xr ingest | train | fuse | evaluate.
[fine]
product = "landsat-c2-l2"
folder = "scenes/landsat"
cube = "cubes/fine.zarr"

[coarse]
product = "mod09ga"
folder = "scenes/modis"
cube = "cubes/coarse.zarr"

[method]
name = "biastf-plus"
checkpoint = "model.safetensors"

[fuse]
output = "cubes/fused.zarr"
withhold = [{withhold}]

[cluster]
{workers}
"""


def run_demo(output: Path, *, size: int, days: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Run the demo.

    `output`: Folder to work in; what an earlier demo left there is replaced.
    """
    from biastf_xr.region import Region
    from biastf_xr.testing import SyntheticRegion

    started = time.perf_counter()
    for name in ("scenes", "cubes"):
        own_folder(output / name)
    for name in ("cubes/fine.zarr", "cubes/coarse.zarr", "cubes/fused.zarr", "model.safetensors"):
        own_name(output / name)
    scenes = SyntheticRegion(shape=(size, size), days=days)
    console.rule("1. scenes, as from an archive")
    _write_scenes(scenes, output)
    console.rule("2. ingest into Zarr cubes")
    path, workers = output / "demo.toml", changes.get("cluster", {}).get("workers")
    write_text(path, _config(workers, ()))
    region = Region.from_file(path, changes)
    with stages() as progress:
        show(region.ingest(overwrite=True, progress=progress))
    withheld = _choose_withheld(region.config)
    write_text(path, _config(workers, withheld))
    region = Region.from_file(path, changes)
    say(f"withheld from training and fusion: {', '.join(withheld)}")
    console.rule("3. fit biastf-plus")
    with stages() as progress:
        show(region.fit(progress=progress))
    console.rule("4. fuse every day on a LocalCluster")
    show(region.plan())
    with stages() as progress:
        run = region.fuse(overwrite=True, progress=progress)
    show(run)
    console.rule("5. score on the withheld scenes")
    scores = region.evaluate().scores
    assert scores is not None
    show(scores)
    write_csv(scores.table, output / "scores.csv")
    picture = draw_sheet(region.config, output / "demo.png")
    minutes = (time.perf_counter() - started) / 60
    console.rule("done")
    say(f"pictures   {picture}")
    say(f"fused cube {run.path}")
    say(f"in all     {minutes:.1f} minutes")
    for line in (
        "", "Open it with plain xarray:", "",
        "import xarray as xr",
        f"ds = xr.open_zarr({run.path!r})",
        'print(ds["nir"].sel(time=ds.time[len(ds.time) // 2]).mean().compute())', "",
    ):  # fmt: skip
        say(line)
    return {
        "config": str(path),
        "fused": run.path,
        "picture": str(picture),
        "minutes": minutes,
        "scores": scores.summary().reset_index(),
    }


def preview_demo(output: Path, *, size: int, days: int) -> dict[str, Any]:
    """Return what the demo would write."""
    from biastf_xr.testing import SyntheticRegion

    season = SyntheticRegion(shape=(size, size), days=days).dates
    plan = {
        "folder": str(output),
        "exists": output.exists(),
        "season": f"{str(season[0])[:10]} to {str(season[-1])[:10]}, {days} days",
        "images": f"{size} x {size} pixels",
        "leaves": "scenes/, cubes/, demo.toml, model.safetensors, scores.csv, demo.png",
    }
    show(Summary("The demo", plan), dry_run=True)
    return plan


def _write_scenes(region: Any, output: Path) -> None:
    from biastf_xr.testing import write_landsat, write_mod09ga

    for name, label, write in (
        ("landsat", "Landsat Collection 2 Level-2 GeoTIFFs", write_landsat),
        ("modis", "MOD09GA GeoTIFFs", write_mod09ga),
    ):
        folder = output / "scenes" / name
        remove(folder)
        with progress_of(f"write {label}") as advance:
            files = write(region, folder, lambda done, total: advance("", done, total))
        say(f"{len(files)} files in {folder}")


def _config(workers: int | None, withhold: tuple[str, ...]) -> str:
    return CONFIG.format(
        workers=f"workers = {workers}" if workers else "# one worker per core",
        withhold=", ".join(withhold),
    )


def _choose_withheld(config: Config, count: int = 2) -> tuple[str, ...]:
    """Choose every other of the clear inner dates, so that pairs remain."""
    from biastf_xr.cube._cube import open_cube
    from biastf_xr.cube._guards import pair_cubes
    from biastf_xr.evaluation._designs import inner_dates

    pair = pair_cubes(open_cube(config.fine.cube), open_cube(config.coarse.cube))
    inner = inner_dates(pair, min_clear=0.7)
    return tuple(str(d) for d in inner[::2][:count])


def draw_sheet(config: Config, path: Path) -> Path:
    """Draw the picture sheet of a run that withheld dates."""
    from biastf_xr import pictures
    from biastf_xr.cube._cube import drop_days, open_cube
    from biastf_xr.fusion._lazy import fuse

    fine, coarse = open_cube(config.fine.cube), open_cube(config.coarse.cube)
    days = [str(d) for d in config.fuse.withhold]
    rest = drop_days(fine, days)
    baselines = {
        name: fuse(rest, coarse, name, dates=days, rule=config.fuse.rule())
        for name in ("linear", "direct")
    }
    pictures.draw_sheet(
        open_cube(config.fuse.output),
        fine,
        coarse,
        days,
        baselines,
        title=f"Withheld scenes and their predictions; {config.method.name}",
        path=path,
    )
    return path
