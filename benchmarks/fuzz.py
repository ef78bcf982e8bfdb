"""Damage what comes from elsewhere and see what every door says: `python benchmarks/fuzz.py`.

A case is a number.  It draws what is damaged (a cube, a model, ...), how, and the door that it goes
through: `open_cube`, `load_method`, or a command.  The rule: the result is that of the undamaged
files, or NaN with the flag that says so, or an error of biastf_xr, in bounded time and memory.

right         as without the damage
missing       the same, but for pixels that are NaN and flagged, or scenes that were refused
named         an error of biastf_xr, or a command that ends with its code and one message
told          other values, and `verify` says that the cube is damaged
loud          pixels that the codecs of Zarr refuse when xarray reads them
another       the configuration, as damaged, is a request that can be met
undetectable  other values, in a file without a checksum over what was damaged

Everything else is a failure: wrong, unnamed (a traceback), crash, hang, slow, memory.  Exit code 1
if there is one; each is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from damage import damage

import biastf_xr
from biastf_xr.errors import BiastfError
from biastf_xr.sources import build_product

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    import xarray as xr

GOOD = ("right", "missing", "named", "told", "loud", "another", "undetectable")

SPAWN = multiprocessing.get_context("spawn")

# More than the same door takes with honest files.
SECONDS, BYTES = 5.0, 500 << 20
# After which a case is ended, whatever it does: of processor time, of time, of memory.
BUSY, HANG, TOO_LARGE = 30.0, 180.0, 4 << 30

CONFIG = """\
[fine]
product = "landsat-c2-l2"
folder = "landsat"
cube = "fine.zarr"

[coarse]
product = "mod09ga"
folder = "modis"
cube = "coarse.zarr"

[method]
name = "linear"

[fuse]
output = "fused.zarr"
start = 2021-04-06
end = 2021-04-10
tile = 32
min_clear = 0.2
coarse_max_gap = 16
"""
HERE = ("--set", "cluster.kind=in-process")
TOY = {"train.epochs": 1, "network.filters": [4, 3, 2], "samples.count": 16, "samples.patch": 16}
# By name of the file without suffix: the method, and what else is typed to fit it.
MODELS = {
    "biastf": (
        "biastf",
        *(w for k, v in TOY.items() for w in ("--set", f"method.options.{k}={v}")),
    ),
    "plus": ("biastf-plus",),
}


@dataclass(frozen=True)
class Target:
    """What may be damaged: patterns of its files, and the doors that read it."""

    files: tuple[str, ...]
    doors: tuple[str, ...]


# Folders that are ingested alone: their product, the kind of cube, and the product's options.
FOLDERS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "hdf5": ("vnp09ga", "coarse", {}),
    "hdf4": ("mod09ga", "coarse", {}),
    "stac": ("stac", "fine", {"like": "landsat-c2-l2"}),
}
CUBES = ("fine", "coarse", "fused")
IN_CUBE = ("**/zarr.json", "**/c", "**/c/**/*")
TARGETS = {
    "fine": Target(
        tuple(f"fine.zarr/{p}" for p in IN_CUBE),
        ("open_cube", "info", "verify", "plan", "ingest", "fuse", "update", "rechunk"),
    ),
    "coarse": Target(
        tuple(f"coarse.zarr/{p}" for p in IN_CUBE),
        ("open_cube", "info", "verify", "plan", "ingest", "fuse", "update"),
    ),
    "fused": Target(
        (*(f"fused.zarr/{p}" for p in IN_CUBE), "fused.zarr.log.jsonl", ".*.lock"),
        ("open_cube", "info", "verify", "fuse", "update", "status", "publish", "export"),
    ),
    **{name: Target((f"{name}.*",), ("load_method", "info", "plan", "fuse")) for name in MODELS},
    "toml": Target(("region.toml",), ("plan", "ingest", "fuse", "update", "status")),
    "geotiff": Target(("landsat/**/*", "modis/*"), ("ingest", "update")),
    "hdf5": Target(("hdf5/*",), ("ingest",)),
    "hdf4": Target(("hdf4/*",), ("ingest",)),
    "stac": Target(("stac/**/*.json",), ("ingest",)),
    "records": Target(("fused.nights/**/*", "fused.zarr.log.jsonl"), ("update", "status")),
}


@dataclass
class Case:
    """What is damaged, how, and what it is brought to."""

    number: int
    target: str
    door: str
    rng: random.Random
    damages: list[str] = field(default_factory=list)
    checked: bool = False  # whether a checksum lies over all that was damaged

    @classmethod
    def of(cls, number: int) -> Case:
        """Draw the case of a number."""
        rng = random.Random(number)  # noqa: S311
        target = rng.choice([*TARGETS])
        return cls(number, target, rng.choice(TARGETS[target].doors), rng)

    def damage(self, folder: Path) -> None:
        """Damage the files of the target."""
        found = {f for p in TARGETS[self.target].files for f in folder.glob(p) if f.is_file()}
        self.damages, self.checked = damage(self.rng, folder, sorted(found))


# --- honest files ---------------------------------------------------------------------------------


def prepare(base: Path, models: Collection[str] = ()) -> None:
    """Write a small region as every kind of file there is, all of it honest."""
    from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

    region = SyntheticRegion(shape=(48, 32), days=17, fine_revisit=8)
    write_landsat(region, base / "landsat")
    write_mod09ga(region, base / "modis")
    for path in (base / "modis").iterdir():
        if int(path.name.split("doy2021")[1][:3]) % 2 == 0:
            path.unlink()  # as days without a coarse image
    for path in base.rglob("*"):
        os.utime(path, (1.6e9, 1.6e9))  # which the ledgers know the scenes by
    (base / "region.toml").write_text(CONFIG)
    with contextlib.chdir(base):
        fits = (
            ("train", "--checkpoint", f"{n}.safetensors", "--method", *MODELS[n]) for n in models
        )
        for door, *words in (("update",), *fits):
            done = command(door, "region.toml", *HERE, *words)
            if done.code:
                raise RuntimeError(done.text)
    _write_stac(base / "stac", base / "landsat")
    _write_hdf5(base / "hdf5")
    _write_hdf4(base / "hdf4")


def _write_stac(folder: Path, scenes: Path) -> None:
    """Write an item beside each scene of Landsat, as USGS delivers it."""
    from biastf_xr.sources import product_class

    keys = {name: keys[0] for name, keys in product_class("landsat-c2-l2").asset_keys.items()}
    corners = [[146.5, -34.7], [146.6, -34.7], [146.6, -34.6], [146.5, -34.7]]
    for scene in build_product("landsat-c2-l2").find_scenes(scenes):
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": scene.id, "links": [],
            "geometry": {"type": "Polygon", "coordinates": [corners]},
            "bbox": [146.5, -34.7, 146.6, -34.6],
            "properties": {"datetime": f"{scene.date}T01:00:00Z", "updated": "2021-06-01"},
            "assets": {keys[n]: {"href": Path(f).name} for n, f in scene.files.items()},
        }  # fmt: skip
        shutil.copytree(Path(next(iter(scene.files.values()))).parent, folder / scene.id)
        (folder / scene.id / f"{scene.id}.json").write_text(json.dumps(item))


def _fields(side: int) -> dict[str, Any]:
    """Make a ramp of digital numbers, and a sky without clouds."""
    ramp = (500 + np.arange(side * side).reshape(side, side) % 4000).astype(np.int16)
    return {"ramp": ramp, "half": ramp[::2, ::2].copy(), "clear": np.zeros((side // 2,) * 2, "u1")}


def _write_hdf5(folder: Path, side: int = 60) -> None:
    import h5py

    made, folders = _fields(side), ("VIIRS_Grid_500m_2D", "VIIRS_Grid_1km_2D")
    names = {"I1": "ramp", "I2": "ramp", "I3": "ramp", "M3": "half", "M4": "half", "M11": "half",
             "QF1": "clear", "QF2": "clear", "QF7": "clear"}  # fmt: skip
    folder.mkdir()
    for day in (1, 2):
        name = f"VNP09GA.A202000{day}.h29v12.002.2021111040506.h5"
        with h5py.File(folder / name, "w", track_order=False) as file:
            file.create_group("HDFEOS INFORMATION")["StructMetadata.0"] = np.bytes_("GROUP=Grid")
            for name, kind in names.items():
                at = f"HDFEOS/GRIDS/{folders[kind != 'ramp']}/Data Fields/SurfReflect_{name}_1"
                data = file.create_dataset(at, data=made[kind], chunks=True, compression="gzip",
                                           track_times=False)  # fmt: skip
                if kind != "clear":
                    data.attrs["scale_factor"] = 1e-4
                    data.attrs["_FillValue"] = np.int16(-28672)
            for grid, name, value in (
                (folders[1], "SensorZenith_1", made["half"]),
                (folders[0], "obscov_500m_1", np.full((side, side), 80, np.int8)),
            ):
                file[f"HDFEOS/GRIDS/{grid}/Data Fields/{name}"] = value


def _write_hdf4(folder: Path, side: int = 60) -> None:
    try:
        from pyhdf.SD import SD, SDC
    except ImportError:
        return
    made = _fields(side)
    fields = {f"sur_refl_b0{n}_1": (made["ramp"], SDC.INT16) for n in range(1, 8)} | {
        "state_1km_1": (made["clear"].astype("u2"), SDC.UINT16),
        "QC_500m_1": (np.zeros((side, side), "u4"), SDC.UINT32),
        "obscov_500m_1": (np.full((side, side), 80, "i1"), SDC.INT8),
        "SensorZenith_1": (made["half"], SDC.INT16),
    }
    size = 1111950.519667
    corners = [f"({x * size:.6f},{y * size:.6f})" for x, y in ((11, -3), (12, -4))]
    struct_text = (
        "GROUP=GridStructure\nGROUP=GRID_1\nXDim=30\nYDim=30\n"
        f"UpperLeftPointMtrs={corners[0]}\nLowerRightMtrs={corners[1]}\n"
        "Projection=GCTP_SNSOID\nEND_GROUP=GRID_1\nEND_GROUP=GridStructure\n"
    )
    folder.mkdir()
    for day in (1, 2):
        name = f"MOD09GA.A202000{day}.h29v12.061.2020003040506.hdf"
        file = SD(str(folder / name), SDC.WRITE | SDC.CREATE)
        for layer, (values, kind) in fields.items():
            data = file.create(layer, kind, values.shape)
            data.setcompress(SDC.COMP_DEFLATE, 1)
            data[:] = values
            data.endaccess()
        setattr(file, "StructMetadata.0", struct_text)
        file.end()


# --- doors ----------------------------------------------------------------------------------------


@dataclass
class Said:
    """How a command ended, and what it printed."""

    code: int
    value: Any
    text: str


def command(*words: str) -> Said:
    """Run a command in this process."""
    from biastf_xr.cli import main as program

    out, told, code = io.StringIO(), io.StringIO(), 0
    given, sys.argv = sys.argv, ["biastf-xr", *words, "--json"]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            program()
    except SystemExit as end:
        code = int(end.code or 0) if not isinstance(end.code, str) else 2
    finally:
        sys.argv = given
    try:
        value = json.loads(out.getvalue())
    except ValueError:
        value = None
    return Said(code, value, f"{out.getvalue()}\n{told.getvalue()}")


@dataclass
class Outcome:
    """What came out: cubes by name, and what a command said."""

    cubes: dict[str, xr.Dataset] = field(default_factory=dict)
    said: Said | None = None


def read(path: str) -> xr.Dataset:
    """Read all of a cube that a door has written, as xarray does."""
    import xarray as xr

    ds: xr.Dataset = xr.open_zarr(path, consolidated=False)
    if ds.sizes["time"] > 1000:  # of a scene with a year that is far off
        ds = ds.isel(time=np.flatnonzero(ds["scenes"].values != ""))
    return ds.load()


def readable(*paths: str) -> dict[str, xr.Dataset]:
    """Read those cubes that can be read."""
    cubes = {}
    for path in paths:
        with contextlib.suppress(Exception):
            cubes[path] = read(path)
    return cubes


def go_through(door: str, target: str) -> Outcome:
    """Bring the damaged files, in the current folder, to a door."""
    if door == "open_cube":
        return Outcome({f"{target}.zarr": _open(f"{target}.zarr")})
    if door == "load_method":
        biastf_xr.load_method(f"{target}.safetensors")
        return Outcome()
    if target in FOLDERS:
        return _ingest(target)
    words, made = _words(door, target)
    said = command(door, *words)
    return Outcome(readable(*made) if said.code == 0 else {}, said)


def _words(door: str, target: str) -> tuple[list[str], tuple[str, ...]]:
    """Return what is typed after a command, and the cubes that it writes."""
    cube = f"{target}.zarr"
    if door in ("info", "verify"):
        return [f"{target}.safetensors" if target in MODELS else cube], ()
    if door in ("publish", "export"):
        return [cube, door], ()
    if door == "rechunk":
        return [cube, "new.zarr"], ("new.zarr",)
    words = ["region.toml", *HERE]
    words += ["--method", f"{target}.safetensors"] if target in MODELS else []
    made: dict[str, tuple[str, ...]] = {
        "ingest": ("fine.zarr", "coarse.zarr"),
        "update": ("fine.zarr", "coarse.zarr", "fused.zarr"),
        "fuse": ("fused.zarr",),
    }
    if door == "ingest" and target == "geotiff":  # anew
        words += ["--fine", "new.fine.zarr", "--coarse", "new.coarse.zarr"]
        return words, ("new.fine.zarr", "new.coarse.zarr")
    if door == "fuse" and target not in ("fused", "toml"):  # anew
        return [*words, "--output", "new.zarr"], ("new.zarr",)
    return [*words, *["--dry-run"] * (door == "plan")], made.get(door, ())


def _open(path: str) -> xr.Dataset:
    """Open a cube; what the codecs refuse when its pixels are read is not ours to name."""
    ds = biastf_xr.open_cube(path)
    repr(ds)
    try:
        return ds.load()
    except Exception as error:
        raise LoudError(f"{type(error).__name__}: {error}") from error


class LoudError(Exception):
    """Pixels of an opened cube cannot be read."""


def _ingest(target: str) -> Outcome:
    """Ingest a folder of a product."""
    name, kind, options = FOLDERS[target]
    report = biastf_xr.ingest(build_product(name, **options), target, "new.zarr", kind=kind)
    return Outcome({"new.zarr": read("new.zarr")}, Said(0, None, str(report.rejected)))


# --- the rule -------------------------------------------------------------------------------------


def compare(found: xr.Dataset, honest: xr.Dataset) -> str:
    """Return how a cube differs from the honest one: "", "missing", or what is other than it."""
    from biastf_xr.cube._spec import MADE, STATUS

    bands = [n for n in honest.data_vars if honest[n].dtype.kind == "f" and honest[n].ndim == 3]
    fused = "status_flag" in honest
    flag, made = ("status_flag", [STATUS[n] for n in MADE]) if fused else ("clear", [1])
    lost = [n for n in (*bands, flag) if n not in found or found[n].dims != honest[n].dims]
    if lost or not all(np.array_equal(found[d], honest[d]) for d in ("y", "x")):
        return f"lacks {lost}" if lost else "has other coordinates"
    days = {str(day)[:10]: n for n, day in enumerate(found["time"].values)}
    missing = False
    for n, day in enumerate(str(d)[:10] for d in honest["time"].values):
        want = np.stack([honest[b].values[n] for b in bands])
        if day not in days:
            missing |= bool(np.isfinite(want).any())
            continue
        at = days.pop(day)
        got = np.stack([found[b].values[at] for b in bands])
        good = np.isfinite(got)
        if (good & ~np.isfinite(want)).any() or not np.array_equal(got[good], want[good]):
            return f"other values on {day}"
        if (np.isin(found[flag].values[at], made) & ~good.all(0)).any():
            return f"NaN on {day} that is not flagged"
        missing |= bool((np.isfinite(want) & ~good).any())
    if any(np.isfinite(found[b].values[at]).any() for at in days.values() for b in bands):
        return f"pixels on other days: {sorted(days)[:3]}"
    return "missing" if missing else ""


def judge(case: Case, folder: Path, honest: Outcome) -> tuple[str, str]:
    """Go through the door and return the outcome, with what there is to say of it."""
    try:
        outcome = go_through(case.door, case.target)
    except BiastfError as error:
        return "named", f"{type(error).__name__}: {error}"
    except LoudError as error:
        return "loud", str(error)
    except (_TimeError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001  (whatever comes out of a door is judged)
        return "unnamed", "".join(traceback.format_exception(error))
    said = outcome.said
    if said and (said.code not in range(5) or "Traceback" in said.text):
        return "unnamed", f"exit code {said.code}: {said.text[-3000:]}"
    if said and (said.code or case.target == "toml"):
        return ("named", said.text.strip()[-500:]) if said.code else ("another", "")
    return _weigh(case, folder, outcome, honest)


def _weigh(case: Case, folder: Path, outcome: Outcome, honest: Outcome) -> tuple[str, str]:
    """Return the outcome of a door that had nothing to say against the damaged files."""
    # What `verify` calls sound, xarray must read; so it must what a door makes anew.
    sound = case.door == "verify"
    cubes = readable(f"{case.target}.zarr") if sound else outcome.cubes
    lost = [name for name in {*honest.cubes} - {*cubes} if sound or name.startswith("new")]
    found = {compare(cube, honest.cubes[name]) for name, cube in cubes.items()}
    found |= {f"{name} cannot be read" for name in lost}
    if not found - {""}:
        return "right", ""
    if not found - {"", "missing"} and case.target not in MODELS:
        return "missing", ""
    told = "; ".join(sorted(found - {""}))
    if case.target in CUBES and case.door != "verify" and _verify_tells(case, folder):
        return "told", told
    return "wrong" if case.checked else "undetectable", told


def _verify_tells(case: Case, folder: Path) -> bool:
    """Return whether `verify` finds the damage, which is done once more for it."""
    again = folder.with_name(f"{folder.name}-again")
    copy_files(folder.parent / "base", again, case.target, case.door)
    Case.of(case.number).damage(again)
    try:
        with contextlib.chdir(again):
            return command("verify", f"{case.target}.zarr").code != 0
    except Exception:  # noqa: BLE001  (a traceback says it too; the door `verify` has its own cases)
        return True
    finally:
        shutil.rmtree(again, ignore_errors=True)


# --- one case -------------------------------------------------------------------------------------


class _TimeError(Exception):
    """A case takes too long."""


@dataclass(frozen=True)
class Verdict:
    """What became of a case."""

    number: int
    target: str
    door: str
    outcome: str
    damages: tuple[str, ...]
    told: str
    seconds: float = 0.0
    bytes: int = 0


@cache
def honest_result(base: Path, target: str, door: str) -> tuple[Outcome, float]:
    """Return what a door gives for the undamaged files, and its processor time."""
    with _copied(base, target, door):
        started = time.process_time()
        try:
            outcome = go_through(door, target)
        except LoudError as error:
            raise RuntimeError(f"{door} of {target}: {error}") from error
        taken = time.process_time() - started
        if outcome.said and outcome.said.code:
            raise RuntimeError(f"{door} of {target}: {outcome.said.text}")
        if door == "verify":
            outcome.cubes = readable(f"{target}.zarr")
    return outcome, taken


def copy_files(base: Path, folder: Path, target: str, door: str) -> None:
    """Copy the honest files that matter to a door."""
    names = {"fine.zarr", "coarse.zarr", "fused.zarr", "region.toml", f"{target}.safetensors"}
    if door in ("ingest", "update", "status"):
        names |= {"landsat", "modis", "fused.nights", "fused.zarr.log.jsonl"}
    if target in FOLDERS:
        names = {target}
    elif door in ("open_cube", "verify", "publish", "export", "rechunk"):
        names = {f"{target}.zarr"}
    folder.mkdir()
    for path in base.iterdir():
        if path.name not in names and not path.name.startswith(f"{target}."):
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(path, folder)


@contextlib.contextmanager
def _copied(base: Path, target: str, door: str) -> Iterator[Path]:
    """Work in a copy of the honest files."""
    folder = base.parent / f"case-{os.getpid()}"
    copy_files(base, folder, target, door)
    try:
        with contextlib.chdir(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_case(number: int, base: Path) -> Verdict:
    """Run one case in this process."""
    case = Case.of(number)
    honest, usual = honest_result(base, case.target, case.door)
    with _copied(base, case.target, case.door) as folder:
        case.damage(folder)
        gc.collect()
        before = _memory("VmRSS", reset=True)
        started = time.process_time()
        previous = signal.signal(signal.SIGPROF, _too_long)
        signal.setitimer(signal.ITIMER_PROF, BUSY)
        try:
            outcome, told = judge(case, folder, honest)
        except _TimeError:
            outcome, told = "hang", f"more than {BUSY:g} s of processor time"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, previous)
        taken, grown = time.process_time() - started, _memory("VmHWM") - before
    if outcome in GOOD and taken > 2 * usual + SECONDS:
        outcome, told = "slow", f"{taken:.1f} s, {usual:.1f} s with honest files; {told}"
    elif outcome in GOOD and grown > BYTES:
        outcome, told = "memory", f"{grown >> 20} MiB; {told}"
    return Verdict(number, case.target, case.door, outcome, tuple(case.damages), told, taken, grown)


def _too_long(*_: object) -> None:
    raise _TimeError


def _memory(what: str, *, reset: bool = False) -> int:
    """Return bytes that this process holds, or held at most since that was reset."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    found = re.search(rf"{what}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


# --- many cases -----------------------------------------------------------------------------------


class Worker:
    """Another process that runs case after case, and may crash."""

    def __init__(self, base: Path) -> None:
        self.base, self.log = base, base.parent / "worker.txt"
        self.process: BaseProcess | None = None

    def run(self, number: int) -> Verdict:
        """Run a case; end the process if it takes too long or too much."""
        if self.process is None:
            self.pipe, end = SPAWN.Pipe()
            self.process = SPAWN.Process(target=serve, args=(end, self.base, self.log), daemon=True)
            self.process.start()
            end.close()
        self.pipe.send(number)
        case, deadline, why = Case.of(number), time.monotonic() + HANG, ""
        while not why and not self.pipe.poll(0.2):
            if time.monotonic() > deadline:
                why = "hang"
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(self.process.pid).memory_info().rss > TOO_LARGE:
                    why = "memory"
        if not why:
            with contextlib.suppress(EOFError):
                verdict: Verdict = self.pipe.recv()
                return verdict
        self.process.kill()
        self.process.join()
        code, self.process = self.process.exitcode, None
        for left in self.base.parent.glob("case-*"):
            shutil.rmtree(left, ignore_errors=True)
        told = f"exit code {code}: {self.log.read_text(errors='replace')[-1500:]}"
        with _copied(self.base, case.target, case.door) as folder:
            case.damage(folder)
        return Verdict(number, case.target, case.door, why or "crash", tuple(case.damages), told)

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.pipe.close()
            self.process.join(30)


def serve(pipe: Connection, base: Path, log: Path) -> None:
    """Run the cases whose numbers arrive, and answer with verdicts."""
    with log.open("w") as file:  # of whatever libraries print
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(run_case(pipe.recv(), base))


def show(verdict: Verdict) -> None:
    """Print a failure, with the command that repeats it."""
    print(f"\n{verdict.outcome}: {verdict.door} of {verdict.target}")
    for done in verdict.damages:
        print(f"  {done[:300]}")
    print(f"  {verdict.told[-1500:].strip()}".replace("\n", "\n    "))
    print(f"  python benchmarks/fuzz.py --cases {verdict.number}", flush=True)


def table(verdicts: Sequence[Verdict]) -> str:
    """Count the cases by what was damaged, by door and by outcome."""
    seen = Counter((v.target, v.door, v.outcome) for v in verdicts)
    outcomes = [*GOOD, *sorted({v.outcome for v in verdicts} - {*GOOD})]
    rows = [("damaged", "door", *outcomes)]
    rows += [(t, d, *(str(seen[t, d, o]) for o in outcomes))
             for t, d in sorted({(v.target, v.door) for v in verdicts})]  # fmt: skip
    total = Counter(v.outcome for v in verdicts)
    rows.append(("all", "", *(str(total[o]) for o in outcomes)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases, print the failures and the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long")
    parser.add_argument("--seed", type=int, help="first case; random by default")
    parser.add_argument("--cases", type=int, nargs="*", help="these, in this process")
    parser.add_argument("--base", type=Path, help="honest files, kept for the next time")
    parser.add_argument("--log", type=Path, help="write every verdict there, a line each")
    options = parser.parse_args(arguments)
    os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    verdicts = []
    with tempfile.TemporaryDirectory() as name:
        base = (options.base or Path(name)) / "down" / "here" / "base"  # ../../.. stays inside
        if not base.exists():
            base.mkdir(parents=True)
            drawn = map(Case.of, options.cases or ())
            prepare(base, {case.target for case in drawn} & {*MODELS} if options.cases else MODELS)
        if options.cases is not None:
            verdicts = [run_case(number, base) for number in options.cases]
            failed = [v for v in verdicts if v.outcome not in GOOD]
            for verdict in verdicts if len(verdicts) == 1 else failed:
                show(verdict)
        else:
            seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
            print(f"cases from {seed} on, for {options.minutes:g} minutes", flush=True)
            worker, end = Worker(base), time.monotonic() + 60 * options.minutes
            while time.monotonic() < end:
                verdicts.append(worker.run(seed + len(verdicts)))
                if verdicts[-1].outcome not in GOOD:
                    show(verdicts[-1])
            worker.close()
    if options.log:
        options.log.write_text("".join(f"{json.dumps(vars(v))}\n" for v in verdicts))
    print(f"\n{table(verdicts)}\n{len(verdicts)} cases")
    return int(any(v.outcome not in GOOD for v in verdicts))


if __name__ == "__main__":
    sys.exit(main())
