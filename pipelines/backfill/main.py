"""Years of a large region, tile by tile: ``python main.py config.toml [--dry-run] [--index N]``.

Every tile and year is a job: a folder with its own configuration, which ``biastf-xr update`` brings
up to date.  What is finished is read from the fused cubes themselves, so that the same command
after an interruption goes on, and several processes, or tasks of an array job, may share the work.

Exit code: that of the job that needs most care, of `biastf_xr.errors.ExitCode`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
from pydantic import Field

from biastf_xr import Region
from biastf_xr._files import own_folder, read_text, write_text
from biastf_xr._summary import duration, size
from biastf_xr.config import Section, build_config, explain
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import BiastfError, ConfigError, ExitCode
from biastf_xr.grid import split_tiles

if TYPE_CHECKING:
    from biastf_xr.fusion._preview import Totals

# From what needs most care to what needs none.
SEVERITY = (ExitCode.NEEDS_A_PERSON, ExitCode.INTERRUPTED, ExitCode.TRY_AGAIN, ExitCode.BUSY,
            ExitCode.CHECK_FAILED, ExitCode.DONE)  # fmt: skip

LonLat = "EPSG:4326"


class Backfill(Section):
    """The section of the file that says which jobs there are.

    `folder`: Folder of all jobs.
    `years`: Years in which the seasons begin.
    `first`, `last`: Month and day of the first and last day of a season.
    `overlap`: Days of scenes before and after it.
    `tile`: Pixels along a side of a tile.
    `max_cpu_hours`: Estimated CPU time above which nothing is started.
    """

    folder: Path = Path("backfill")
    years: Annotated[tuple[int, ...], Field(min_length=1)]
    first: str = "01-01"
    last: str = "12-31"
    overlap: Annotated[int, Field(ge=0)] = 48
    tile: Annotated[int, Field(ge=16)] = 3072
    max_cpu_hours: Annotated[float, Field(gt=0)] | None = None

    def season(self, year: int) -> tuple[dt.date, dt.date]:
        """Return the first and last day of a season."""
        end = year + (self.last < self.first)
        return dt.date.fromisoformat(f"{year}-{self.first}"), dt.date.fromisoformat(
            f"{end}-{self.last}"
        )


@dataclass(frozen=True)
class Job:
    """One tile and one year.

    `name`: Its folder below that of all jobs.
    `texts`: Its files by name: the configuration and the tile.
    `pixels`: Pixels of its tile times days of its season.
    """

    name: str
    folder: Path
    region: Region
    texts: dict[str, str]
    pixels: int


def read_jobs(path: Path) -> tuple[Backfill, list[Job]]:
    """Read the file and lay out the jobs; writes nothing."""
    try:
        data = tomllib.loads(read_text(path))
        section = Backfill.model_validate(data.pop("backfill", {}))
        seasons = {year: section.season(year) for year in section.years}
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}, [backfill]: {explain(error)}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used: {error}.") from error
    here = path.resolve().parent
    grid, _ = Region(build_config(data, path)).grids()
    if grid is None:
        raise ConfigError(f"{path} has no [grid]; a backfill cuts it into tiles.")
    jobs = []
    for tile in split_tiles((int(grid.shape[0]), int(grid.shape[1])), (section.tile, section.tile)):
        shape = outline(grid[tile.slices])
        place = f"r{tile.y0 // section.tile:03d}c{tile.x0 // section.tile:03d}"
        for year, season in seasons.items():
            name = f"{place}/{year}"
            folder = here / section.folder / name
            described = job_data(data, here, season, section.overlap, grid)
            texts = {"tile.geojson": shape, "config.toml": toml(described)}
            region = Region(build_config(described, folder / "config.toml"))
            days = (season[1] - season[0]).days + 1
            jobs.append(Job(name, folder, region, texts, tile.shape[0] * tile.shape[1] * days))
    return section, jobs


def outline(grid: Any) -> str:
    """Return the outline of a tile, half a pixel inside, so that it grows to the tile again."""
    from odc.geo.geom import box

    half, bounds = grid.affine.a / 2, grid.boundingbox
    inside = box(bounds.left + half, bounds.bottom + half, bounds.right - half, bounds.top - half,
                 grid.crs)  # fmt: skip
    return json.dumps(inside.to_crs(LonLat, resolution=1000.0).json)


def job_data(
    data: dict[str, Any], here: Path, season: tuple[dt.date, dt.date], overlap: int, grid: Any
) -> dict[str, Any]:
    """Derive the configuration of a job from that of the whole."""
    first, last = (
        season[0] - dt.timedelta(days=overlap),
        season[1] + dt.timedelta(days=overlap),
    )
    described = {name: dict(section) for name, section in data.items()}
    for name in ("fine", "coarse"):
        folder = described[name]["folder"]
        described[name] |= {"start": str(first), "end": str(last)}
        described[name]["folder"] = folder if "://" in folder else str((here / folder).resolve())
    method = described.get("method", {})
    if method.get("refit") == "never" and "checkpoint" in method:
        method["checkpoint"] = str((here / method["checkpoint"]).resolve())
    # The tiles are parts of one grid, whatever scenes each of them has.
    left, top, size = grid.affine.c, grid.affine.f, grid.affine.a
    crs = f"EPSG:{grid.crs.epsg}" if grid.crs.epsg else grid.crs.to_wkt()
    lattice = {"crs": crs, "anchor": [left % size, top % size]}
    described["grid"] |= {"region": "tile.geojson", **lattice}
    fuse = described.setdefault("fuse", {})
    fuse |= {"start": str(season[0]), "end": str(season[1])}
    held = [str(day) for day in fuse.get("withhold", ())]
    fuse["withhold"] = [day for day in held if str(first) <= day <= str(last)]
    described["update"] = {
        "steps": ["ingest", "train", "fuse", "evaluate"],
        **described.pop("nightly", {}),  # the name that this section had
        **described.get("update", {}),
    }
    return described


def toml(data: dict[str, Any], path: tuple[str, ...] = ()) -> str:
    """Write tables of plain values as TOML."""
    plain = {k: v for k, v in data.items() if not isinstance(v, dict)}
    lines = [f"[{'.'.join(path)}]"] if path else []
    lines += [f"{k} = {json.dumps(v, default=str)}" for k, v in plain.items() if v is not None]
    tables = [toml(v, (*path, k)) for k, v in data.items() if isinstance(v, dict)]
    return "\n".join([*lines, "", *tables])


# --- what is done, and what the rest costs --------------------------------------------------------


def look(job: Job, *, trial: bool) -> Totals | None:
    """Return what a job would do."""
    return None if job.region.missing_inputs() else job.region.plan(trial=trial).totals


@dataclass(frozen=True)
class Estimate:
    """What is left of all jobs.

    `table`: Number, job, state, and what is left, for people.
    `cpu_seconds`, `bytes_written`: Of all that is left; None where no job has cubes to estimate
    from.
    """

    table: list[tuple[str, ...]]
    cpu_seconds: float | None
    bytes_written: float | None


def estimate(jobs: list[Job]) -> Estimate:
    """Look at all jobs; those without cubes are taken to cost as much a pixel as the others."""
    seen = [look(job, trial=False) for job in jobs]
    tried = next((n for n, totals in enumerate(seen) if totals and totals.pixels), None)
    rate = None
    if tried is not None:
        totals = look(jobs[tried], trial=True)
        assert totals is not None
        rate = (totals.cpu_seconds or 0.0) / totals.pixels, totals.bytes_written / totals.pixels
    rows: list[tuple[str, ...]] = []
    left = 0
    for n, (job, known) in enumerate(zip(jobs, seen, strict=True)):
        pixels = job.pixels if known is None else known.pixels
        left += pixels
        cost = "" if rate is None or not pixels else duration(rate[0] * pixels)
        rows.append((str(n), job.name, state_of(job, known), f"{pixels / 1e6:,.1f} Mpx", cost))
    if rate is None:
        return Estimate(rows, 0.0 if not left else None, 0.0 if not left else None)
    return Estimate(rows, rate[0] * left, rate[1] * left)


def state_of(job: Job, totals: Totals | None) -> str:
    """Return how far a job is, as its cubes tell."""
    if totals is None:
        begun = store_at(job.region.config.fine.cube).exists()
        return "ingest begun" if begun else "not begun"
    return "finished" if not totals.units else f"{totals.done:.0%} fused"


def write_files(job: Job) -> None:
    """Write the files of a job where they differ."""
    for name, text in job.texts.items():
        path = own_folder(own_folder(job.folder.parent) / job.folder.name) / name
        if not path.exists() or read_text(path) != text:
            write_text(path, text)


def show(found: Estimate) -> None:
    """Print the ledger of all jobs and what is left."""
    for row in found.table:
        print("{:>5}  {:<16} {:<14} {:>14} left {:>10}".format(*row))
    if found.cpu_seconds is None or found.bytes_written is None:
        print("in all: known once the cubes of one job are there")
    else:
        print(f"in all: about {duration(found.cpu_seconds)} of CPU time, "
              f"{size(found.bytes_written)} to write, decoded")  # fmt: skip


# --- the run --------------------------------------------------------------------------------------


def allowed(section: Backfill, jobs: list[Job]) -> bool:
    """Estimate the work, show it, and say whether it may start.

    `jobs`: All jobs; if none has cubes, the first is ingested and its model fitted.
    """
    found = estimate(jobs)
    if found.cpu_seconds is None:
        prepare(jobs[0])
        found = estimate(jobs)
    show(found)
    limit = section.max_cpu_hours
    if limit is None or (found.cpu_seconds or 0.0) <= limit * 3600:
        return True
    print(f"more than max_cpu_hours = {limit:g} allows; nothing is fused", file=sys.stderr)
    return False


def run(jobs: list[Job]) -> ExitCode:
    """Do jobs, one after the other; one that fails does not keep the others from being done."""
    codes: set[ExitCode] = set()
    for job in jobs:
        print(f"--- {job.name}")
        write_files(job)
        codes.add(update(job.region))
        if ExitCode.INTERRUPTED in codes:
            break
    return next((code for code in SEVERITY if code in codes), ExitCode.DONE)


def update(region: Region) -> ExitCode:
    """Bring a job up to date, and print what was done."""
    report = region.update()
    print(report)
    if report.error:
        print(report.error, file=sys.stderr)
    return report.exit_code


def prepare(job: Job) -> None:
    """Ingest and fit one job, so that the rest can be estimated."""
    write_files(job)
    config = job.region.config
    section = config.update.model_copy(update={"steps": ("ingest", "train")})
    update(Region(config.model_copy(update={"update": section})))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    here = Path(__file__).with_name("config.toml")
    parser.add_argument("config", nargs="?", type=Path, default=here)
    parser.add_argument("--dry-run", action="store_true", help="show what is done and what is left")
    parser.add_argument("--index", type=int, help="do this job alone, as a task of an array")
    parser.add_argument("--list", action="store_true", help="print the configuration of every job")
    given = parser.parse_args()
    try:
        section, jobs = read_jobs(given.config)
        if given.index is not None and not 0 <= given.index < len(jobs):
            raise ConfigError(f"--index is {given.index}; there are jobs 0 to {len(jobs) - 1}.")
        if given.list:
            for job in jobs:
                write_files(job)
                print(job.folder / "config.toml")
            return ExitCode.DONE
        if given.dry_run:
            show(estimate(jobs))
            return ExitCode.DONE
        if given.index is not None:
            return run([jobs[given.index]])
        return run(jobs) if allowed(section, jobs) else ExitCode.NEEDS_A_PERSON
    except BiastfError as error:
        print(f"error ({type(error).__name__}): {error}", file=sys.stderr)
        return ExitCode.NEEDS_A_PERSON


if __name__ == "__main__":
    sys.exit(main())
