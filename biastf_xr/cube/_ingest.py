"""Turn an archive of scenes into a cube, and keep the cube up to date with it."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import middle_of, to_days
from biastf_xr._outside import without_secrets
from biastf_xr._summary import Summary, Told
from biastf_xr._system import check_projections
from biastf_xr._urls import is_url
from biastf_xr.cube._axis import days_between, grow, prepend
from biastf_xr.cube._compose import IngestOptions, why_unusable
from biastf_xr.cube._cube import Cube
from biastf_xr.cube._fill import IngestProgress, fill
from biastf_xr.cube._guards import check_same_structure
from biastf_xr.cube._ledger import (
    create_ledger,
    stored_days,
    write_records,
)
from biastf_xr.cube._screening import create_screening, ensure_screening
from biastf_xr.cube._selection import Offer, compare, usable
from biastf_xr.cube._spec import SPAN, CubeKind, CubeSpec, Layout, sort_bands
from biastf_xr.cube._template import add_history, build_template, write_template
from biastf_xr.errors import (
    BiastfError,
    CubeStructureError,
    GridMismatchError,
    ReflectanceRangeError,
    SceneError,
)
from biastf_xr.grid import geobox_of
from biastf_xr.sources._folders import walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from odc.geo.geobox import GeoBox

    from biastf_xr.cube._spec import Progress
    from biastf_xr.cube.stores.base import CubeStore, Edit
    from biastf_xr.grid import Resampling
    from biastf_xr.sources.base import Product, Scene

Day = np.datetime64

# The side of a true pixel of the coarse sensor may be off by this share.
NEARLY_SQUARE = 0.02


@dataclass(frozen=True, repr=False)
class IngestReport(Told):
    """What an ingest did, or would do.

    Attributes
    ----------
    path : str
        The cube.
    added : dict of str to float
        Clear fraction of every scene that was taken, by id.
    replaced : dict of str
        Scenes that were in the cube in an older processing: that one's id, by the new id.
    unchanged : tuple of str
        Scenes that were in the cube already.
    kept : tuple of str
        Scenes in the cube that are no longer in the folder.
    excluded : tuple of str
        Scenes that were left out as asked.
    superseded : dict of str
        Scenes that were not taken because a later processing of the same acquisition lies beside
        them: that one's id, by theirs.
    rejected : dict of str
        Why a scene was not taken, by id.
    removed : tuple of numpy.datetime64
        Days taken out of the cube because they are now excluded.
    days : dict of tuple of str
        Ids of the scenes that were read, by day; a day without scenes was taken out.
    """

    path: str
    added: dict[str, float] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    superseded: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    removed: tuple[Day, ...] = ()
    days: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def _summary(self) -> Summary:
        import pandas as pd

        known = {*self.added, *self.rejected}
        to_read = [
            (d, name) for d, names in self.days.items() for name in names if name not in known
        ]
        kinds: dict[str, Collection[Any]] = {
            "scenes to read": to_read, "replaced by a newer processing": self.replaced,
            "unchanged": self.unchanged, "kept though gone from the folder": self.kept,
            "excluded": self.excluded, "older than another processing": self.superseded,
            "days taken out": self.removed, "rejected": self.rejected,
        }  # fmt: skip
        counts = [f"{len(some)} {what}" for what, some in kinds.items() if some]
        counts.insert(0, f"{len(self.added)} scenes added")
        facts = {"cube": self.path, "found": ", ".join(counts)}
        if self.added:
            clear = np.array(list(self.added.values()))
            none = f"{int((clear == 0).sum())} scenes without a clear pixel"
            facts["mean clear fraction"] = f"{clear.mean():.0%}; {none}"
        if self.removed:
            facts["days taken out"] = ", ".join(map(str, self.removed))
        tables = {
            "scenes to read": pd.DataFrame(to_read, columns=["day", "scene"]),
            "rejected": pd.DataFrame(self.rejected.items(), columns=["scene", "why"]),
        }
        return Summary("Ingest", facts, {name: t for name, t in tables.items() if len(t)})


def ingest(
    product: Product,
    folder: str | Path,
    path: str | Path,
    *,
    kind: CubeKind,
    grid: GeoBox | None = None,
    start: Any = None,
    end: Any = None,
    exclude: Any = (),
    native_resolution: float | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
    resampling: Resampling = "auto",
    shard: int = 1024,
    overwrite: bool = False,
    dry_run: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring a cube up to date with an archive of scenes.

    Eager.  Only scenes that the cube does not have are read: running it again with nothing new
    changes nothing, a newer processing of a scene takes the place of the older one, and scenes may
    arrive in any order.  Scenes of one day are composed; a pixel comes from the first that is clear
    there.  Scenes that cannot be used are reported and do not stop the others.  A run that was
    interrupted is completed by the next one.

    Parameters
    ----------
    product : Product
        What the scenes are, as from `biastf_xr.sources.build_product`.
    folder : str or pathlib.Path
        Where they are.
    path : str or pathlib.Path
        The store to write; see `biastf_xr.cube.stores.store_at`.
    kind : {"fine", "coarse"}
        Which of the two cubes it is.
    grid : odc.geo.geobox.GeoBox, optional
        Grid of the cube, to which every scene is brought.  Without it the first scene gives the
        grid, and every scene must have the same pixels; they are cut or padded to its extent.
    start, end : date, optional
        First and last day to take.
    exclude : array_like of dates
        Days to leave out (for instance with undetected cloud).  A day that is in the
        cube already is taken out of it.
    native_resolution : float, optional
        True pixel size of coarse images that were delivered interpolated to a finer grid (as CIA,
        LGC and BOREAS are).  They are averaged, by area, to pixels of this size.
    shift : tuple of float
        How far to move every scene, x and y in units of its CRS: corrects a misregistration that
        `biastf_xr.cube._quality` measured.
    resampling : {"auto", "nearest", "bilinear", "cubic", "average"}
        How scenes with other pixels are brought to the grid.
    shard : int
        Largest shard in pixels.
    overwrite : bool
        Replace whatever is there by a new cube.
    dry_run : bool
        Open no scene and change nothing: only compare the archive with the cube.
    executor : concurrent.futures.Executor, optional
        Where to run the tasks, one for each group of days and tile; for a Dask cluster
        ``client.get_executor()``.  By default threads of this process.
    progress : callable, optional
        Called as scenes are finished.

    Returns
    -------
    IngestReport
        What was done, or would be: then without clear fractions, and scenes are rejected as far as
        their names and places tell.

    Raises
    ------
    SceneError
        If there is no scene, or not one can be used.
    GridMismatchError
        If the store has another grid.
    CubeStructureError
        If the store has another structure, or was ingested with other options.
    ReflectanceRangeError
        If no pixel of any scene is clear.
    StoreLockedError, StoreWriteError
        If another process writes to the store, or it cannot be written.
    """
    check_projections()
    barred = frozenset(to_days(exclude, "the day to exclude"))
    offer = _offered(product, folder, start, end, barred)
    offered, rejected = offer.days, offer.rejected
    cube = Cube(path)
    store = cube.store
    if dry_run:
        known = cube.ledger if store.exists() and not overwrite else {}
        selection = compare(offered, known, barred)
        selection.rejected = rejected | selection.rejected
        removed = [day for day, scenes in selection.days.items() if not scenes]
        run = IngestProgress(selection, known, removed=removed)
        return _report(store, run, offer, dry_run=True)
    with store.lock():
        present = store.exists() and not overwrite
        if not offered and not present:
            raise _nothing_usable(folder, rejected, offer.excluded)
        job = _plan(
            product, offered, cube, kind, grid, native_resolution, shift, resampling, shard,
            rejected, present=present,
        )  # fmt: skip
        if not present:
            _create(store, job.spec, sorted(offered), replace=overwrite)
        try:
            run = _bring_up_to_date(cube, job, offered, barred, executor, progress, rejected)
        except Exception:
            if not present and not any(r.finished for r in cube.reopened().ledger.values()):
                store.delete()
            raise
        report = _report(store, run, offer)
        if not present and not any(report.added.values()):
            store.delete()
            _refuse_empty(product, folder, report)
    if report.rejected and not (report.added or report.unchanged or report.removed):
        raise _nothing_usable(folder, report.rejected, offer.excluded)
    return report


# --- what the archive offers ----------------------------------------------------------------------


def _offered(product: Product, folder: Any, start: Any, end: Any, barred: frozenset[Day]) -> Offer:
    found = product.find_scenes(folder if is_url(folder) else Path(folder))
    if not found:
        raise SceneError(
            f"no scene of {product.name} in {folder}; expected files such as {product.expects}. "
            f"{_seen(folder, product)}"
        )
    low, high = (
        to_days(day, name)[0] if day else None for name, day in (("start", start), ("end", end))
    )
    offer = usable(found, start=low, end=high, exclude=barred)
    if not (offer.days or offer.rejected or offer.excluded):
        raise SceneError(
            f"none of the {len(found)} scenes in {folder} ({found[0].date} to {found[-1].date}) "
            f"lies in the season asked for ({start or '...'} to {end or '...'})."
        )
    return offer


def _seen(folder: Any, product: Product) -> str:
    """Say what is in a folder that holds no scene, and what to do."""
    from biastf_xr.sources._unread import what_is

    usual = "Check the folder, the product and the pattern."
    if not Path(folder).is_dir():
        return usual
    names = sorted(p.name for p in walk(Path(folder))[0] if p.is_file())
    if not names:
        return f"The folder is empty. {usual}"
    known = what_is(names, product.name)
    return f"It holds {len(names)} files such as {names[0]}. {known or usual}"


def _nothing_usable(folder: Any, rejected: dict[str, str], excluded: list[str]) -> SceneError:
    reasons = "; ".join(f"{name}: {why}" for name, why in list(rejected.items())[:3])
    return SceneError(
        f"not one scene in {folder} can be used: {len(excluded)} are excluded, {len(rejected)} "
        f"rejected. {reasons}"
    )


# --- the cube -------------------------------------------------------------------------------------


def _plan(
    product: Product,
    offered: dict[Day, list[Scene]],
    cube: Cube,
    kind: CubeKind,
    grid: GeoBox | None,
    native_resolution: float | None,
    shift: tuple[float, float],
    resampling: Resampling,
    shard: int,
    rejected: dict[str, str],
    *,
    present: bool,
) -> IngestOptions:
    """Settle the cube's structure, and check it against the store that is there."""
    lattice = None
    geobox = grid
    if grid is None:
        found = cube.spec.geobox if present else None
        if present and cube.group.attrs["biastf_grid"] == "stated":
            geobox = found
        elif found is None or (native_resolution is not None and offered):
            lattice = _first_grid(product, offered, rejected, shift)
            geobox = found or averaged(lattice, native_resolution)
        else:
            lattice = geobox = found
    assert geobox is not None
    shape = (int(geobox.shape[0]), int(geobox.shape[1]))
    options = without_secrets(
        f"{product.record}, shift={tuple(map(float, shift))}, resampling={resampling!r}"
    )
    attrs = {
        "source": product.name,
        "biastf_product": options,
        "biastf_shift": [float(v) for v in shift],
        "biastf_grid": "stated" if lattice is None else "scenes",
        **_span(product),
    }
    if lattice is not None:
        # A task reads all the pixels under a shard: no more than a fine shard has.
        ratio = geobox.affine.a / lattice.affine.a
        shard = max(16, int(shard / max(1.0, ratio / 2)))
    layout = Layout.build(kind, shape, shard=shard)
    spec = CubeSpec(kind, sort_bands(product.bands), geobox, layout, attrs, product.extras)
    if present:
        check_same_structure(cube.spec, spec, cube.path)
        before = cube.group.attrs["biastf_product"]
        if before != options:
            raise CubeStructureError(
                f"{cube.path} was ingested with {before}; now asked for is {options}. Use the same "
                "options, or rebuild the cube with --overwrite."
            )
        spec = replace(spec, layout=cube.layout)
    return IngestOptions(product, spec, lattice, shift, resampling)


def _span(product: Product) -> dict[str, list[int]]:
    """Return what composites' days are, counted from the day they are labelled with."""
    middle = int(middle_of(product.span).astype(int))
    return {SPAN: [n - middle for n in product.span]} if any(product.span) else {}


def _first_grid(
    product: Product, offered: dict[Day, list[Scene]], rejected: dict[str, str], shift: Any
) -> GeoBox:
    """Return the grid of the first scene that can be opened."""
    from biastf_xr.grid import shifted

    error: BiastfError | None = None
    for scene in (scene for day in sorted(offered) for scene in offered[day]):
        try:
            return shifted(geobox_of(product.open_scene(scene), f"scene {scene.id}"), *shift)
        except Exception as failure:  # noqa: BLE001  (as a task takes it)
            why = rejected[scene.id] = why_unusable(scene, failure)
            known = failure if isinstance(failure, BiastfError) else SceneError(why)
            error = error or known
    raise error or SceneError("no scene to take the grid from")


def averaged(source: GeoBox, resolution: float | None) -> GeoBox:
    """Return the grid of larger pixels with the same corner that covers a grid.

    Parameters
    ----------
    source : GeoBox
        The grid of the files.
    resolution : float or None
        Width of the larger pixels; None for the files' own.

    Returns
    -------
    GeoBox
        The grid.

    Raises
    ------
    GridMismatchError
        If the pixels asked for are smaller.
    """
    from odc.geo.geobox import GeoBox

    if resolution is None or np.isclose(resolution, source.affine.a):
        return source
    a = source.affine
    if resolution < a.a:
        raise GridMismatchError(
            f"native_resolution {resolution:g} is smaller than the files' pixel ({a.a:g}); "
            "expected the true, larger pixel size of the coarse sensor."
        )
    # As much larger in both directions, so that there is one ratio to the fine pixels.
    ratio = resolution / a.a
    height = -a.e * ratio
    if not np.isclose(height, resolution, rtol=NEARLY_SQUARE):
        raise GridMismatchError(
            f"the files' pixels are {a.a:g} x {-a.e:g}; pixels of native_resolution "
            f"{resolution:g} would be {height:g} high. State a [grid] with a region, to whose "
            "square pixels both sensors are brought."
        )
    rows, cols = (int(np.ceil(n / ratio - 1e-9)) for n in source.shape)
    return GeoBox((rows, cols), type(a)(resolution, 0.0, a.c, 0.0, -height, a.f), source.crs)


def _create(store: CubeStore, spec: CubeSpec, days: list[Day], *, replace: bool) -> None:
    """Publish the empty cube: all metadata, no pixels."""
    axis = days_between(days[0], days[-1])
    with store.build(f"created for {spec.attrs['source']}", replace=replace) as edit:
        write_template(build_template(spec, axis), spec, edit.store)
        create_ledger(edit.group, spec, axis.size)
        if spec.kind == "fine":
            create_screening(edit.group, axis.size)


def _bring_up_to_date(
    cube: Cube,
    job: IngestOptions,
    offered: dict[Day, list[Scene]],
    barred: frozenset[Day],
    executor: Executor | None,
    progress: Progress | None,
    rejected: dict[str, str],
) -> IngestProgress:
    selection = compare(offered, cube.ledger, barred)
    selection.rejected = rejected | selection.rejected
    run = IngestProgress(selection, cube.ledger)
    if not selection.days:
        return run
    first, last = min(selection.days), max(selection.days)
    if first < cube.days[0]:
        prepend(cube.store, first)
    with cube.store.edit(f"ingest of {job.product.name}") as edit, _workers(executor) as pool:
        ensure_screening(edit.group, job.spec)
        grow(edit.group, last)
        axis = stored_days(edit.group)
        _mark(edit, axis, run)
        edit.checkpoint(f"{axis[0]} to {axis[-1]}")
        fill(edit, job, run, axis, pool, progress)
        _remember(edit, run)
    return run


def _mark(edit: Edit, axis: Any, run: IngestProgress) -> None:
    """Note the days about to be written: if this run is interrupted, the next writes them again."""
    write_records(
        edit.group,
        {
            int(np.searchsorted(axis, day)): replace(run.record(day), finished=False)
            for day in run.selection.days
        },
    )


@contextmanager
def _workers(executor: Executor | None) -> Iterator[Executor]:
    if executor is not None:
        yield executor
        return
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield threads


# --- what came of it -----------------------------------------------------------------------------


def _remember(edit: Edit, run: IngestProgress) -> None:
    """Add a line to the cube's history."""
    if not (run.clear or run.removed):
        return
    parts = [f"ingested {len(run.clear)} scenes"]
    parts += [f"replaced {old} by {new}" for new, old in run.selection.replaced.items()
              if new in run.clear]  # fmt: skip
    parts += [f"took out {day}" for day in run.removed]
    add_history(edit.group, "; ".join(parts))


def _report(
    store: CubeStore, run: IngestProgress, offer: Offer, *, dry_run: bool = False
) -> IngestReport:
    selection = run.selection
    return IngestReport(
        path=store.url,
        days={str(day): tuple(s.id for s in scenes) for day, scenes in selection.days.items()},
        added=run.clear,
        replaced={n: o for n, o in selection.replaced.items() if dry_run or n in run.clear},
        unchanged=tuple(selection.unchanged),
        kept=tuple(selection.kept),
        excluded=tuple(offer.excluded),
        superseded=offer.superseded,
        rejected=selection.rejected,
        removed=tuple(run.removed),
    )


def _some(names: Iterable[str], most: int = 5) -> str:
    """List a few names, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def _refuse_empty(product: Product, folder: Any, report: IngestReport) -> None:
    """Return why nothing came of a new cube."""
    if not report.added:
        raise _nothing_usable(folder, report.rejected, list(report.excluded))
    raise ReflectanceRangeError(
        f"not one clear pixel in {len(report.added)} scenes of {product.name} in {folder}: "
        f"{_some(report.added)}. Check nodata, the valid range and the mask options; or these days "
        "are all cloud: take a longer season."
    )
