"""The downloads of the paper's two data sets: what they must hold, and the cubes made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from biastf_xr._files import own_name, read_bytes, write_text
from biastf_xr.cube._cube import open_cube
from biastf_xr.cube._ingest import ingest
from biastf_xr.errors import SceneError
from biastf_xr.paper._published import check_dataset
from biastf_xr.paper.benchmark_sets import COLOURS, Benchmark, Sensor, known_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr

    from biastf_xr.cube._spec import CubeKind
    from biastf_xr.sources.base import Scene

CoarsePixels = Literal["native", "delivered"]

# Called with the number of scenes read, the number there are, and the name of the last.
IngestProgress = Callable[[int, int, str], None]

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

# Lines of an error that lists files.
LISTED = 12


@dataclass(frozen=True)
class Download:
    """The images of some days, found in a download.

    `root`: Where it was unpacked.
    `files`: The image of every day (ISO format), by sensor.
    """

    dataset: str
    root: Path
    files: dict[Sensor, dict[str, Path]]

    def stamps(
        self, days: Iterable[str], sensors: Iterable[Sensor] = get_args(Sensor)
    ) -> dict[str, list[int]]:
        """Return what shows whether files have changed.

        Returned: Size and time of the last change in seconds of the files, by their path below the
        root.
        """
        stamps, days = {}, sorted(days)
        for path in (self.files[sensor][day] for sensor in sensors for day in days):
            state = path.stat()
            stamps[path.relative_to(self.root).as_posix()] = [state.st_size, int(state.st_mtime)]
        return stamps


def expected_file(dataset: str, sensor: Sensor, day: str) -> str:
    """Return the path that an image has in the download."""
    check_dataset(dataset)
    date = np.datetime64(day).astype(object)
    month = MONTHS[date.month - 1]
    name = f"{date:%d}{month.lower()}" if dataset == "cia" else f"{month}{date:%d}"
    folder = f"{date:%Y_%j}_{name}"
    if sensor == "modis":
        return f"{dataset.upper()}/MODIS/{folder}/MOD09GA_A{date:%Y%j}.sur_refl.int"
    if dataset == "lgc":
        return f"LGC/Landsat/{folder}/{date:%Y%m%d}_TM.int"
    before = (np.datetime64(day) - 1).astype(object)
    start = "L72093084" if day == "2002-03-10" else "L71093084"
    return f"CIA/Landsat/{folder}/{start}_084{before:%Y%m%d}_HRF_modtran_surf_ref_agd66.bil"


def find_download(dataset: str, root: Path | str, days: Sequence[str]) -> Download:
    """Find the images of some days, and check that they are whole.

    Reads names, sizes and headers, no pixel.

    `root`: Where the download was unpacked: the folder with ``CIA`` or ``LGC`` in it, or that
    one.
    """
    check_dataset(dataset)
    files: dict[Sensor, dict[str, Path]] = {}
    wrong: list[str] = []
    for sensor in get_args(Sensor):
        product = Benchmark(which=dataset, sensor=sensor)
        found = {str(scene.date): scene for scene in product.find_scenes(root)}
        if not found:
            raise SceneError(
                f"{root} has no {sensor} image of {dataset.upper()}; expected files such as "
                f"{known_set(dataset).example[sensor]}. Give the folder into which the download "
                f"was unpacked; `biastf-xr datasets {dataset}` says where to get it."
            )
        wrong += [
            f"missing {expected_file(dataset, sensor, day)} ({sensor}, {day})"
            for day in days
            if day not in found
        ]
        wrong += [w for day in days if day in found for w in _faults(product, found[day])]
        files[sensor] = {day: Path(found[day].files["image"]) for day in days if day in found}
    if wrong:
        shown = "\n  ".join(wrong[:LISTED])
        more = f"\n  ... and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
        raise SceneError(
            f"{root}: {len(wrong)} files of {dataset.upper()} are missing or not as expected:\n"
            f"  {shown}{more}\nGet them again, or choose targets that do not need them; "
            f"`biastf-xr datasets {dataset} {root}` compares the whole download."
        )
    return Download(dataset, Path(root), files)


def make_cubes(
    download: Download,
    folder: Path,
    coarse: CoarsePixels = "native",
    progress: IngestProgress | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Ingest a download into a fine and a coarse cube; what is there already is kept.

    Eager; cubes made of files that have changed since are built again.

    `coarse`: Whether MODIS, delivered on the Landsat grid, is averaged to its own pixels, or
    taken as it comes.
    """
    about = known_set(download.dataset)
    cubes = []
    kinds: dict[Sensor, CubeKind] = {"landsat": "fine", "modis": "coarse"}
    for sensor, kind in kinds.items():
        native = about.native_resolution if (kind, coarse) == ("coarse", "native") else None
        name = f"{kind}.zarr" if native or kind == "fine" else "coarse_delivered.zarr"
        path = own_name(folder / name)
        days = sorted(download.files[sensor])
        stale = _update_journal(path, download.stamps(days, (sensor,)))
        report = ingest(
            Benchmark(which=download.dataset, sensor=sensor),
            download.root,
            path,
            kind=kind,
            start=days[0],
            end=days[-1],
            native_resolution=native,
            overwrite=stale,
            progress=None if progress is None else lambda n, i, of: progress(i, of, n),
        )
        cube = open_cube(path)
        _require(cube, days, report.rejected, str(path))
        cubes.append(cube)
    return cubes[0], cubes[1]


def _faults(product: Benchmark, scene: Scene) -> list[str]:
    """Return what is wrong with an image."""
    about, path = known_set(product.which), Path(scene.files["image"])
    if scene.problem:
        return [f"{path}: {scene.problem}"]
    try:
        image = product.open_scene(scene)
    except (SceneError, IndexError, ValueError) as error:
        return [f"{path}: {error} Expected an ENVI image of {len(COLOURS)} bands with its .hdr"]
    shape = image.sizes["y"], image.sizes["x"]
    if shape != about.shape:
        return [f"{path}: its header says rows x columns are {shape}, expected {about.shape}"]
    size, wanted = path.stat().st_size, 2 * len(COLOURS) * shape[0] * shape[1]
    if size < wanted:
        return [f"{path}: it has {size:,} bytes, expected {wanted:,}: the copy is incomplete"]
    return []


def _require(cube: xr.Dataset, days: Sequence[str], rejected: dict[str, str], path: str) -> None:
    have = {str(d)[:10] for d in cube["time"].values}
    lacking = sorted(set(days) - have)
    if lacking:
        why = "; ".join(f"{name}: {reason}" for name, reason in rejected.items()) or "no reason"
        raise SceneError(
            f"{path} lacks {', '.join(lacking)} after its ingest: scenes were rejected ({why})."
        )


def _update_journal(path: Path, stamps: dict[str, list[int]]) -> bool:
    """Note which files a cube is made of; return whether it is of other versions of them."""
    journal = path.with_name(f"{path.name}.files.json")
    known = json.loads(read_bytes(journal)) if journal.exists() and path.exists() else {}
    stale = path.exists() and (
        not known or any(known.get(name, stamp) != stamp for name, stamp in stamps.items())
    )
    write_text(journal, json.dumps(stamps if stale else known | stamps, indent=1))
    return stale
