"""Break a run on purpose, again and again, and count what is lost: `python benchmarks/faults.py`.

workers    kill random workers of one run
driver     kill the driver at random moments and start it again each time
disk       a full disk and one that cannot be written; then the same command again
inputs     a chunk that is corrupted and one that is missing
memory     a worker that runs out of memory
scheduler  a scheduler that is killed
together   two runs started together on one cube

In `workers` and `driver` another process opens the cube all the time and compares what it finds
with the values of a run that nobody disturbed.  At the end of every part the chunks are compared
with those of that run, byte by byte.  Exit code 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from biastf_xr.methods.interpolation import Direct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from biastf_xr.methods.base import Base, Block, Float

# Seconds after which a worker process has joined: Dask does not replace one that dies before.
STARTED = 4.0
BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
VARIABLES = (*BANDS, "status_flag", "coarse_gap", "base_before", "base_after")
COMMAND = [sys.executable, "-c", "from biastf_xr.cli import main; main()"]

CONFIG = """
[fine]
product = "cube"
folder = "."
cube = "fine.zarr"

[coarse]
product = "cube"
folder = "."
cube = "coarse.zarr"

[method]
name = "biastf"
checkpoint = "model.safetensors"
refit = "never"

[fuse]
output = "{output}"
start = 2021-04-02
end = 2021-05-10
tile = {tile}

[cluster]
{cluster}
"""


@dataclass
class Counts:
    """What was found; a part is sound if nothing of it is bad."""

    good: dict[str, Any]
    bad: dict[str, Any]


def prepare(folder: Path, size: int, filters: tuple[int, int, int]) -> None:
    """Ingest the generated region and write a model with random weights."""
    from bench_engine import write_model

    from biastf_xr.cube import ingest
    from biastf_xr.sources import build_product
    from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

    region = SyntheticRegion(shape=(size, size * 5 // 6), days=48)
    write_landsat(region, folder / "landsat")
    write_mod09ga(region, folder / "modis")
    ingest(build_product("landsat-c2-l2"), folder / "landsat", folder / "fine.zarr", kind="fine")
    ingest(build_product("mod09ga"), folder / "modis", folder / "coarse.zarr", kind="coarse")
    write_model(folder / "model.safetensors", filters)
    shutil.rmtree(folder / "landsat")
    shutil.rmtree(folder / "modis")


def config(folder: Path, output: str, cluster: str, tile: int = 48) -> Path:
    """Write the configuration of a run."""
    name = f"run-{len(list(folder.glob('run-*.toml')))}.toml"
    (folder / name).write_text(CONFIG.format(output=output, cluster=cluster, tile=tile))
    return folder / name


def fuse(path: Path, *flags: str) -> subprocess.Popen[str]:
    """Start a run."""
    return subprocess.Popen(  # noqa: S603
        [*COMMAND, "fuse", str(path), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def chunks(cube: Path) -> dict[str, bytes]:
    """Read every chunk with pixels."""
    files = sorted(f for name in VARIABLES for f in (cube / name / "c").rglob("*") if f.is_file())
    return {str(f.relative_to(cube)): f.read_bytes() for f in files if f.suffix != ".partial"}


def different(cube: Path, whole: Path) -> int:
    """Count the chunks that differ from those of the undisturbed run."""
    a, b = chunks(cube), chunks(whole)
    return sum(a.get(name) != b.get(name) for name in {*a, *b})


def events(cube: Path) -> list[dict[str, Any]]:
    """Read the log of all runs on a cube."""
    log = cube.with_name(f"{cube.name}.log.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def made_twice(cube: Path) -> int:
    """Count the dates of tiles that more than one unit made."""
    made = Counter(
        (event["tile"], place)
        for event in events(cube)
        if event["event"] == "unit"
        for place in event["places"]
    )
    return sum(count - 1 for count in made.values())


# --- the reader -----------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(cube: Path, whole: Path, counts: Counts) -> Iterator[None]:
    """Poll the cube in another process meanwhile."""
    stop, result = cube.with_suffix(".stop"), cube.with_suffix(".reader.json")
    command = [sys.executable, __file__, "--reader", str(cube), str(whole), str(stop), str(result)]
    reader = subprocess.Popen(command)  # noqa: S603
    try:
        yield
    finally:
        stop.touch()
        reader.wait(60)
    found = json.loads(result.read_text())
    counts.good |= {"times read": found["reads"], "days of tiles compared": found["compared"]}
    counts.bad |= {"torn values": found["torn"], "exceptions of the reader": found["errors"]}


def poll(cube: Path, whole: Path, stop: Path, result: Path) -> None:
    """Open and read the cube again and again; what is flagged as made must be right."""
    import xarray as xr

    reference = xr.open_zarr(whole).load()
    rng = random.Random(0)  # noqa: S311
    found: dict[str, Any] = {"reads": 0, "compared": 0, "torn": 0, "errors": []}
    while not stop.exists():
        if not (cube / "zarr.json").exists():
            time.sleep(0.05)
            continue
        try:
            ds = xr.open_zarr(cube)
            day = ds.isel(time=rng.randrange(ds.sizes["time"]))
            y, x = (48 * rng.randrange(day.sizes[d] // 48) for d in ("y", "x"))
            part = day.isel(y=slice(y, y + 48), x=slice(x, x + 48))
            flag = part["status_flag"].values
            values = part[list(VARIABLES)].load()
            right = reference.sel(time=day["time"]).isel(y=slice(y, y + 48), x=slice(x, x + 48))
            if flag.any():
                found["compared"] += 1
                found["torn"] += not all(
                    np.array_equal(values[v], right[v], equal_nan=v in BANDS) for v in VARIABLES
                )
            found["reads"] += 1
        except Exception as error:  # noqa: BLE001  (whatever a reader may see is counted)
            found["errors"].append(f"{type(error).__name__}: {error}")
    found["errors"] = len(found["errors"]) and found["errors"]
    result.write_text(json.dumps(found))


# --- the parts ------------------------------------------------------------------------------------


def workers(folder: Path, whole: Path, rng: random.Random, *, times: int) -> Counts:
    """Kill random workers of one run."""
    cube, counts = folder / "workers.zarr", Counts({}, {})
    with reading(cube, whole, counts):
        run = fuse(config(folder, cube.name, "workers = 2"))
        killed = 0
        while run.poll() is None and killed < times:
            time.sleep(rng.uniform(0.5, 2.0))
            victims = [
                p
                for p in psutil.Process(run.pid).children(recursive=True)
                if "spawn_main" in " ".join(_command_of(p)) and _age(p) > STARTED
            ]
            if victims and any(e["event"] == "unit" for e in _events_so_far(cube)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    rng.choice(victims).kill()
                    killed += 1
        _, errors = run.communicate()
    counts.good |= {"workers killed": killed}
    counts.bad |= {
        "exit code": run.returncode and f"{run.returncode}: {errors[-500:]}",
        "kills missing": times - killed,
        "chunks that differ": different(cube, whole),
        "dates of tiles made twice": made_twice(cube),
    }
    return counts


def _age(process: psutil.Process) -> float:
    try:
        return float(time.time() - process.create_time())
    except psutil.NoSuchProcess:
        return 0.0


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def driver(folder: Path, whole: Path, rng: random.Random, *, times: int) -> Counts:
    """Kill the driver, and its process group's workers a moment later or never."""
    cube, counts = folder / "driver.zarr", Counts({}, {})
    kinds = [config(folder, cube.name, text) for text in ('kind = "in-process"', "workers = 1")]
    killed = 0
    with reading(cube, whole, counts):
        for n in range(20 * times):
            run = fuse(kinds[n % 4 == 0])
            try:
                run.wait(rng.uniform(1.5, 4.0) + 3.0 * (n % 4 == 0))
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                killed += 1
            run.communicate()
            if killed == times:
                break
            if run.returncode == 0:
                shutil.rmtree(cube)  # finished before enough was killed: once more from the start
                cube.with_name(f"{cube.name}.log.jsonl").unlink()
        run = fuse(kinds[0])
        _, errors = run.communicate()
    starts = [e for e in events(cube) if e["event"] == "start"]
    counts.good |= {
        "drivers killed": killed,
        "runs on the cube at the end": len(starts),
        "finished units found in the journal": sum(e["recovered"] for e in starts),
    }
    counts.bad |= {
        "exit code of the last run": run.returncode and f"{run.returncode}: {errors[-500:]}",
        "chunks that differ": different(cube, whole),
        "dates of tiles made twice": made_twice(cube),
    }
    return counts


def disk(folder: Path, whole: Path, _rng: random.Random) -> Counts:
    """Run on a file system that is too small, and on one that is read-only."""
    place, counts = folder / "small", Counts({}, {})
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:  # noqa: S603
        counts.good["skipped"] = "mounting a small file system needs the superuser"
        return counts
    try:
        path = config(folder, "small/f.zarr", 'kind = "in-process"')
        run = fuse(path)
        _, full = run.communicate()
        kept = sum(e["event"] == "unit" for e in events(place / "f.zarr"))
        for options in ("remount,ro", "remount,rw,size=200m"):
            subprocess.run(["mount", "-o", options, str(place)], check=True)  # noqa: S603, S607
            again = fuse(path)
            _, said = again.communicate()
            if options == "remount,ro":
                read_only, code = said, again.returncode
        counts.good |= {"units kept on the full disk": kept}
        counts.bad |= {
            "full disk not named": not (run.returncode == 2 and "StoreWriteError" in full) and full,
            "read-only not named": not (code == 2 and "StoreWriteError" in read_only) and read_only,
            "exit code afterwards": again.returncode and said,
            "chunks that differ": different(place / "f.zarr", whole),
        }
    finally:
        subprocess.run(["umount", str(place)], check=False)  # noqa: S603, S607
    return counts


def inputs(folder: Path, whole: Path, _rng: random.Random) -> Counts:
    """Damage a chunk of the fine cube, then take it away, then put it back."""
    cube = folder / "inputs.zarr"
    path = config(folder, cube.name, 'kind = "in-process"')
    chunk = max((folder / "fine.zarr" / "nir" / "c").rglob("*"), key=lambda f: f.stat().st_size)
    sound = chunk.read_bytes()
    damaged = bytearray(sound)
    damaged[len(damaged) // 2] ^= 0xFF
    chunk.write_bytes(damaged)
    try:
        run = fuse(path)
        _, said = run.communicate()
        failed = sum(e["event"] == "failed" for e in events(cube))
    finally:
        chunk.write_bytes(sound)
    again = fuse(path)
    _, errors = again.communicate()
    return Counts(
        {"units that met the damage": failed},
        {
            "damage not reported": not (run.returncode == 3 and "units failed" in said) and said,
            "exit code afterwards": again.returncode and errors,
            "chunks that differ": different(cube, whole),
            "dates of tiles made twice": made_twice(cube),
        },
    )


class Hungry(Direct):
    """Like `direct`, but takes three gigabytes in one tile."""

    def side(self, block: Block, base: Base) -> Float:
        """Predict; see `Direct.side`."""
        if block.tile.x0 == block.tile.y0 == 0:
            np.ones(3 * 2**27).sum()
            time.sleep(5)
        return super().side(block, base)


def memory(folder: Path, _whole: Path, _rng: random.Random) -> Counts:
    """Let one tile take more memory than its worker may have."""
    import biastf_xr
    from biastf_xr.cluster import ClusterSpec, connect
    from biastf_xr.errors import FusionRunError

    cube, error = folder / "memory.zarr", ""
    options: dict[str, Any] = {"dates": ["2021-04-20"], "tile": 48}
    paths = folder / "fine.zarr", folder / "coarse.zarr"
    with connect(ClusterSpec(workers=1, memory="2GiB")) as client:
        try:
            biastf_xr.write_fused(*paths, cube, Hungry(), client=client, **options)
        except FusionRunError as failure:
            error = str(failure)
    again = biastf_xr.write_fused(*paths, cube, "direct", **options)
    fresh = folder / "memory_whole.zarr"
    biastf_xr.write_fused(*paths, fresh, "direct", **options)
    return Counts(
        {"dates of tiles kept": again.kept, "units made afterwards": again.units},
        {
            "death not named": "WorkerDiedError" not in error and (error or "no error"),
            "chunks that differ": different(cube, fresh),
        },
    )


def scheduler(folder: Path, whole: Path, _rng: random.Random) -> Counts:
    """Kill the scheduler of a cluster of separate processes."""
    cube, file = folder / "scheduler.zarr", folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    local = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    boss = subprocess.Popen(  # noqa: S603
        [*dask, "scheduler", "--port", "0", *local, "--scheduler-file", str(file)],
        **quiet,  # type: ignore[call-overload]
    )
    while not file.exists():
        time.sleep(0.1)
    hand = subprocess.Popen(  # noqa: S603
        [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "2", *local,
         "--death-timeout", "5"],
        **quiet,  # type: ignore[call-overload]
    )  # fmt: skip
    address = json.loads(file.read_text())["address"]
    run = fuse(config(folder, cube.name, f'address = "{address}"'))
    while not any(e["event"] == "unit" for e in _events_so_far(cube)):
        time.sleep(0.1)
    boss.kill()
    _, said = run.communicate(timeout=120)
    hand.terminate()
    hand.wait(30)
    kept = sum(e["event"] == "unit" for e in events(cube))
    again = fuse(config(folder, cube.name, 'kind = "in-process"'))
    _, errors = again.communicate()
    return Counts(
        {"units kept": kept},
        {
            "loss not named": not (run.returncode == 2 and "ClusterLostError" in said) and said,
            "exit code afterwards": again.returncode and errors,
            "chunks that differ": different(cube, whole),
            "dates of tiles made twice": made_twice(cube),
        },
    )


def _events_so_far(cube: Path) -> list[dict[str, Any]]:
    try:
        return events(cube)
    except FileNotFoundError:
        return []


def together(folder: Path, whole: Path, _rng: random.Random) -> Counts:
    """Start two runs at the same moment."""
    cube = folder / "together.zarr"
    path = config(folder, cube.name, 'kind = "in-process"')
    runs = [fuse(path), fuse(path)]
    said = [run.communicate()[1] for run in runs]
    codes = sorted(run.returncode for run in runs)
    refused = [text for run, text in zip(runs, said, strict=True) if run.returncode]
    named = len(refused) == 1 and f"process {runs[refused[0] == said[0]].pid}" in refused[0]
    return Counts(
        {"exit codes": codes},
        {
            "not one works, one is refused": codes != [0, 2] and codes,
            "the holder is not named": not named and refused,
            "chunks that differ": different(cube, whole),
        },
    )


PARTS: dict[str, Callable[..., Counts]] = {
    f.__name__: f for f in (workers, driver, disk, inputs, memory, scheduler, together)
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Break what is asked for and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="what to break; everything by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=192, help="rows of the region")
    parser.add_argument("--filters", type=int, nargs=3, default=(64, 32, 32))
    parser.add_argument("--times", type=int, default=20, help="how often to kill")
    parser.add_argument("--reader", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.reader:
        poll(*map(Path, options.parts))
        return 0
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts {sorted(unknown)}; expected some of {list(PARTS)}")
    os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "400"}
    sound = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.size, tuple(options.filters))
        run = fuse(config(folder, "whole.zarr", "workers = 2"))
        _, errors = run.communicate()
        if run.returncode:
            raise RuntimeError(errors)
        for part in options.parts or PARTS:
            started = time.perf_counter()
            kills = {"times": options.times} if part in {"workers", "driver"} else {}
            rng = random.Random(options.seed)  # noqa: S311
            counts = PARTS[part](folder, folder / "whole.zarr", rng, **kills)
            bad = {what: value for what, value in counts.bad.items() if value}
            sound = sound and not bad
            print(f"\n{part}: {'as it should be' if not bad else 'NOT as it should be'}")
            for what, value in {**counts.good, **counts.bad}.items():
                print(f"  {what:<40}{value or 0}")
            print(f"  {'seconds':<40}{time.perf_counter() - started:.0f}", flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
