"""Look at this machine, and at a run: what will work, what will not, and what to do about it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from biastf_xr._summary import size
from biastf_xr._system import check_projections
from biastf_xr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from biastf_xr.config import Config, Source

Verdict = Literal["ok", "note", "wrong"]

# What each extra brings, by the distribution that tells whether it is there.
EXTRAS = {
    "stac": "pystac-client",
    "hdf4": "pyhdf",
    "hdf5": "h5py",
    "icechunk": "icechunk",
    "remote": "s3fs",
    "dashboard": "bokeh",
    "cuda": "dask-cuda",
    "hpc": "dask-jobqueue",
    "k8s": "dask-kubernetes",
    "gateway": "dask-gateway",
    "notebook": "nbclient",
}
CODECS = ("blosc", "zstd", "crc32c", "sharding_indexed")
# Files and sockets of a local cluster.
LEAST_FILES = 1024
LEAST_MEMORY = 4 * 2**30
LEAST_DISK = 2 * 2**30
# Seconds that the clock of a disk may be off.
CLOCK = 5.0
# 2024-01-01: no release of this package is older.
EPOCH = 1_704_067_200


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    `topic`: What it belongs to.
    `name`: What was looked at.
    `verdict`: Whether it is as it should be; a note is something that some runs need.
    `advice`: What to do; empty where nothing is to be done.
    """

    topic: str
    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def check_machine(folder: Path) -> list[Check]:
    """Check the machine, and whether `folder` can be written to; it is left as it was."""
    looks = (_software, _gdal, _codecs, _gpus, _machine, lambda: _disk(folder))
    return [check for look in looks for check in look()]


def _software() -> Iterator[Check]:
    import platform

    topic = "software"
    yield Check(topic, "python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for line in metadata.requires("biastf-xr") or ():
        requirement, _, condition = line.partition(";")
        if "extra" in condition:
            continue
        yield _distribution(topic, requirement)
    for extra, name in EXTRAS.items():
        found = _version(name)
        advice = "" if found else f'pip install "biastf-xr[{extra}]"'
        yield Check(topic, f"extra {extra}", "ok" if found else "note",
                    f"{name} {found}" if found else f"no {name}", advice)  # fmt: skip


def _distribution(topic: str, text: str) -> Check:
    """Compare what is installed with what is required."""
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    found = _version(requirement.name)
    if not found:
        return Check(topic, requirement.name, "wrong", "missing", f'pip install "{requirement}"')
    fits = requirement.specifier.contains(found, prereleases=True)
    advice = "" if fits else f'expected {requirement.specifier}: pip install "{requirement}"'
    return Check(topic, requirement.name, "ok" if fits else "wrong", found, advice)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _gdal() -> Iterator[Check]:
    import rasterio
    from rasterio.env import GDALVersion

    topic = "GDAL"
    yield Check(topic, "version", "ok", str(GDALVersion.runtime()))
    with rasterio.Env() as env:
        drivers = env.drivers()
    for name, use in _uses().items():
        there = name in drivers
        described = f"for {use}" if there else f"missing, for {use}"
        yield Check(topic, f"driver {name}", "ok" if there else "note", described)
    try:
        check_projections()
    except ConfigError as error:
        yield Check(topic, "projections", "wrong", str(error))
    else:
        yield Check(topic, "projections", "ok", "EPSG codes are found")
    data = os.environ.get("GDAL_DATA", "")
    if data and not (Path(data) / "gdalvrt.xsd").is_file():
        advice = "unset GDAL_DATA: it leads to another program's data, or to none"
        yield Check(topic, "data", "note", f"GDAL_DATA={data}", advice)


def _uses() -> dict[str, str]:
    """Return what reads or writes files with each driver of GDAL."""
    from biastf_xr.sources import PRODUCTS, product_class

    uses: dict[str, list[str]] = {"COG": ["export"]}
    for name in PRODUCTS:
        for driver in product_class(name).formats:
            uses.setdefault(driver, []).append(name)
    return {driver: ", ".join(names) for driver, names in uses.items()}


def _codecs() -> Iterator[Check]:
    from zarr.registry import get_codec_class

    for name in CODECS:
        try:
            found = get_codec_class(name).__name__
        except KeyError:
            yield Check("Zarr codecs", name, "wrong", "missing", 'pip install "zarr>=3.1.3"')
        else:
            yield Check("Zarr codecs", name, "ok", found)


def _gpus() -> Iterator[Check]:
    import torch

    topic = "GPUs"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch is built for CUDA {built}, no device was found" if built else "CPU build"
        yield Check(topic, "torch", "ok", f"{torch.__version__}: {why}; runs use the CPU")
        return
    for n in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(n)
        described = f"{about.name}, {size(about.total_memory)}, CUDA {torch.version.cuda}"
        yield Check(topic, f"cuda:{n}", "ok", described)


def _machine() -> Iterator[Check]:
    import psutil

    topic = "machine"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check(topic, "cores", "ok", str(cores))
    memory = psutil.virtual_memory()
    enough = memory.available >= LEAST_MEMORY
    yield Check(topic, "memory", "ok" if enough else "note",
                f"{size(memory.available)} of {size(memory.total)} free",
                "" if enough else "fuse with a smaller tile (`[fuse] tile = 512`)")  # fmt: skip
    yield _open_files(topic)
    sane = time.time() > EPOCH
    yield Check(topic, "clock", "ok" if sane else "wrong",
                time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
                "" if sane else "set it: records and ledgers carry the time")  # fmt: skip


def _open_files(topic: str) -> Check:
    try:
        import resource
    except ImportError:
        return Check(topic, "open files", "ok", "no limit known")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    enough = most >= LEAST_FILES or most == resource.RLIM_INFINITY
    advice = "" if enough else f"ulimit -n {LEAST_FILES}: a local cluster opens many sockets"
    return Check(topic, "open files", "ok" if enough else "note", f"{most}", advice)


def _disk(folder: Path) -> Iterator[Check]:
    topic = f"writing to {folder}"
    if not folder.is_dir():
        yield Check(topic, "folder", "wrong", "no such folder", "create it, or name another one")
        return
    free = shutil.disk_usage(folder).free
    enough = free >= LEAST_DISK
    yield Check(topic, "space", "ok" if enough else "note", f"{size(free)} free",
                "" if enough else "`biastf-xr plan` says how much a run writes")  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix=".biastf-xr-", dir=folder) as name:
            place = Path(name) / "a"
            before = time.time()
            place.write_bytes(b"0")
            written = place.stat().st_mtime
            place.rename(place.with_name("b"))
    except OSError as error:
        yield Check(topic, "access", "wrong", str(error), "give this user write access")
        return
    yield Check(topic, "access", "ok", "a file can be written and renamed")
    off = max(before - written, written - time.time())
    yield Check(topic, "clock of the disk", "ok" if off < CLOCK else "note",
                "agrees with the machine's" if off < CLOCK else f"off by {off:.0f} s",
                "" if off < CLOCK else "synchronise the clocks of the machines")  # fmt: skip


def check_run(config: Config) -> Iterator[Check]:
    """Check the folders, cubes and model of a run."""
    from biastf_xr.cube.stores import store_at

    topic = "this run"
    for kind, source in (("fine", config.fine), ("coarse", config.coarse)):
        yield _scenes(topic, kind, source)
        yield from _pixels(topic, kind, source, config)
    stores = {"fine": config.fine.cube, "coarse": config.coarse.cube, "fused": config.fuse.output}
    for kind, path in stores.items():
        yield _store(topic, kind, path, store_at)
    method = config.method
    if method.learned:
        there = method.checkpoint.is_file()
        yield Check(topic, "model", "ok" if there or method.refit != "never" else "wrong",
                    str(method.checkpoint) if there else f"{method.checkpoint} is not there yet",
                    "" if there else "`train` or `update` makes it")  # fmt: skip
    yield Check(topic, "cluster", "ok", f"kind {config.cluster.spec().kind}")


def _scenes(topic: str, kind: str, source: Source) -> Check:
    from biastf_xr.errors import BiastfError
    from biastf_xr.sources import build_product

    name = f"{kind} scenes"
    try:
        product = build_product(source.product, **source.options)
        found = product.find_scenes(source.folder)
    except BiastfError as error:
        return Check(topic, name, "wrong", str(error))
    usable = [s for s in found if not s.problem]
    if not usable:
        advice = f"expected files such as {product.expects}"
        return Check(topic, name, "wrong", f"none of {source.product} in {source.folder}", advice)
    described = f"{len(usable)} of {source.product}, {usable[0].date} to {usable[-1].date}"
    broken = len(found) - len(usable)
    advice = f"{broken} cannot be used: `biastf-xr ingest --dry-run` says why" if broken else ""
    return Check(topic, name, "note" if broken else "ok", described, advice)


def _pixels(topic: str, kind: str, source: Source, config: Config) -> Iterator[Check]:
    """Describe the pixels of the first scene that can be opened, as they will be used."""
    from biastf_xr._sensors import scene_grids
    from biastf_xr.errors import BiastfError
    from biastf_xr.grid import REMEDY, describe

    try:
        grid = next(scene_grids(source), None)
    except BiastfError:  # which the check of the scenes says
        return
    if grid is None:
        return
    # Coarse scenes are brought to the grid of the fine cube.
    wrong = grid.crs is not None and grid.crs.geographic and config.grid is None and kind == "fine"
    yield Check(topic, f"{kind} pixels", "wrong" if wrong else "ok", describe(grid),
                REMEDY.strip() if wrong else "")  # fmt: skip


def _store(topic: str, kind: str, path: str, store_at: Any) -> Check:
    from biastf_xr.errors import BiastfError

    name = f"{kind} cube"
    try:
        store = store_at(path)
        there = store.exists()
    except (BiastfError, OSError) as error:
        return Check(topic, name, "wrong", str(error))
    folder = store.folder
    parent = next((p for p in (folder or Path("/")).parents if p.exists()), Path("/"))
    if folder is not None and not os.access(parent, os.W_OK):
        return Check(topic, name, "wrong", f"{parent} cannot be written", "give write access")
    return Check(topic, name, "ok", path if there else f"{path}, not there yet")
