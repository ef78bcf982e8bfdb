"""Do the two sensors agree?  Displacement and radiometric relation of every pair of one day."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr.cube._cube import Cube, dataset_of
from biastf_xr.cube._encoding import table_codecs
from biastf_xr.cube._guards import CubePair, images_of, pair_cubes
from biastf_xr.cube._ledger import stored_days, write_along_time
from biastf_xr.cube._registration import (
    NO_SHIFT,
    Shift,
    blur,
    correlation_surface,
    find_peak,
)
from biastf_xr.cube._spec import PAIR_FLAG
from biastf_xr.grid import plan_resampling, sample_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from biastf_xr.cube._spec import Progress
    from biastf_xr.cube.stores.base import CubeStore

GROUP = "pair_quality"

# Sub-pixels of a coarse pixel on which displacements are searched.
SUB_PIXELS = 8
# Windows that are compared, along each axis, and their side in sub-pixels: large scenes are
# sampled, so that memory does not grow with them.
WINDOWS, SIDE = 2, 512
# Displacements are looked for up to this part of a window's side.
SHARE = 4


@dataclass(frozen=True, kw_only=True)
class PairRule:
    """When a pair of one day is doubted.  None of these is published; all are [assumed].

    `psf`: Full width at half maximum of the coarse sensor's point spread function, in coarse
    pixels.
    `reach`: Largest displacement looked for, in units of the CRS (metres); of a small scene a
    quarter of its side.
    `largest_shift`: Displacement above which a day is flagged ``shifted``, in coarse pixels, or
    in widths of the point spread function if that is wider.
    `min_cover`: Clear share of a coarse pixel in the fine image, to take part.
    `min_pixels`: Coarse pixels needed to judge a day.
    `min_shift_pixels`: Coarse pixels needed to measure a displacement.
    `min_correlation`: A day whose correlation (median over bands) is lower, and lower than the
    archive's median by `drop` too, is flagged ``low_correlation``.
    `sure`: Correlation at the peak from which a measured displacement is trusted.
    """

    psf: float = 1.0
    reach: float = 1500.0
    largest_shift: float = 0.5
    min_cover: float = 0.9
    min_pixels: int = 25
    min_shift_pixels: int = 100
    min_correlation: float = 0.6
    drop: float = 0.15
    sure: float = 0.6


def check_pairs(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    *,
    days: Any = None,
    rule: PairRule | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Compare the fine and the coarse image of every day that has both.

    Eager; reads at most four windows of 64 coarse pixels a side per day and cube.

    `days`: Fine days to compare; by default all that a coarse image stands for.
    `progress`: Called with the day, the number done and the number in all.
    Returned: Along ``time``: ``shift_x`` and ``shift_y`` (how far the coarse image must be
    moved to lie on the fine one; units of the CRS, east and north positive), ``shift_pixels``
    (in coarse pixels), ``shift_correlation``, ``pixels``, ``pair_flag``; along ``time`` and
    ``band``: ``correlation``, ``slope``, ``offset`` (fine = slope * coarse + offset) and
    ``rmse``.
    """
    rule = rule or PairRule()
    pair = pair_cubes(fine, coarse)
    common = pair.fine_days[pair.paired(pair.fine_days)]
    if days is not None:
        common = np.intersect1d(common, to_days(days))
    rows = []
    for done, day in enumerate(common, 1):
        rows.append(_check_day(pair, day, rule))
        if progress:
            progress(str(day), done, len(common))
    return judge(_table(pair, common, rows), rule)


def judge(table: xr.Dataset, rule: PairRule | None = None) -> xr.Dataset:
    """Set the flag of every day, comparing it with the whole archive."""
    rule = rule or PairRule()
    enough = table["pixels"].values >= rule.min_pixels
    r = _median(table)
    usual = np.nanmedian(r[enough]) if enough.any() else np.nan
    low = (r < rule.min_correlation) & ((r < usual - rule.drop) | (enough.sum() < 3))
    largest = rule.largest_shift * max(rule.psf, 1.0)
    moved = (table["shift_pixels"].values > largest) & (
        table["shift_correlation"].values >= rule.sure
    )
    flags = np.full(r.shape, PAIR_FLAG["good"], np.uint8)
    flags[low] = PAIR_FLAG["low_correlation"]
    flags[moved] = PAIR_FLAG["shifted"]
    flags[~enough] = PAIR_FLAG["too_few_pixels"]
    return table.assign(pair_flag=("time", flags))


def count_flags(flags: Any) -> str:
    """Return how many days have each flag, in one line."""
    counts = {name: int((flags == value).sum()) for name, value in PAIR_FLAG.items()}
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)


def explain(table: xr.Dataset, day: Any) -> str:
    """Return why a day is flagged as it is."""
    row = table.sel(time=to_days(day)[0].astype("datetime64[ns]"))
    flag = int(row["pair_flag"])
    r = {str(b): float(v) for b, v in zip(table["band"].values, row["correlation"].values,
                                          strict=True)}  # fmt: skip
    worst = min(r, key=lambda b: r[b] if np.isfinite(r[b]) else 2.0)
    if flag == PAIR_FLAG["too_few_pixels"]:
        return f"only {int(row['pixels'])} coarse pixels are clear in both images"
    if flag == PAIR_FLAG["shifted"]:
        return (
            f"the coarse image is displaced by {float(row['shift_pixels']):.2f} of its pixels: "
            f"move it by ({float(row['shift_x']):.0f}, {float(row['shift_y']):.0f})"
        )
    here = float(np.nanmedian(list(r.values())))
    usual = float(np.nanmedian(_median(table)))
    text = f"{worst}: r {r[worst]:.2f}; median over bands {here:.2f}, over the archive {usual:.2f}"
    if flag == PAIR_FLAG["low_correlation"]:
        return f"{text}: perhaps a cloud that one of the masks missed"
    return text


def archive_shift(table: xr.Dataset, rule: PairRule | None = None) -> tuple[float, float] | None:
    """Return the one displacement of a whole archive of coarse images."""
    rule = rule or PairRule()
    sure = table["shift_correlation"].values >= rule.sure
    if not sure.any():
        return None
    x, y = (table[name].values[sure] for name in ("shift_x", "shift_y"))
    middle = float(np.median(x)), float(np.median(y))
    spread = np.median(np.hypot(x - middle[0], y - middle[1]))
    if spread > 0.5 * rule.psf * float(table.attrs["coarse_resolution"]):
        return None
    return middle


def why_no_shift(table: xr.Dataset | None, rule: PairRule | None = None) -> str:
    """Return why an archive has no one displacement."""
    rule = rule or PairRule()
    if table is None:
        return "no day has a fine and a coarse image"
    r = table["shift_correlation"].values
    measured = r[np.isfinite(r)]
    if not measured.size:
        return (
            f"on none of {r.size} days it can be told: the largest has {int(table['pixels'].max())}"
            f" coarse pixels that are clear in both images; {rule.min_shift_pixels} are needed"
        )
    if measured.max() < rule.sure:
        return f"the images correlate at most by {measured.max():.2f}; {rule.sure:g} is needed"
    return f"the displacements of {measured.size} days do not agree"


# --- kept with the fine cube ----------------------------------------------------------------------


def update_quality(
    fine: str | Path,
    coarse: str | Path,
    *,
    rule: PairRule | None = None,
    progress: Progress | None = None,
) -> xr.Dataset | None:
    """Check the pairs whose scenes are new, and keep the result with the fine cube.

    Its flags are the coordinate ``pair_flag``: days of low correlation are no base dates.
    """
    import xarray as xr

    cube = Cube(fine)
    a, b = (c.to_xarray(chunks=None) for c in (cube, Cube(coarse)))
    a = a.drop_vars("screen", errors="ignore")  # screening asks which days are doubted
    days = to_days(a["time"])
    days = days[images_of(b, days) >= 0]
    if days.size == 0:
        return None
    made_of = {d: _made_of(a, b, d) for d in days}
    options = repr(rule or PairRule())
    old = read_quality(cube)
    if old is None or old.attrs.get("rule") != options:
        known, old = set(), None
    else:
        kept = [made_of.get(d) == str(m) for d, m in
                zip(to_days(old["time"]), old["made_of"].values, strict=True)]  # fmt: skip
        old = old.isel(time=np.flatnonzero(kept))
        known = {*to_days(old["time"])}
    missing = [d for d in days if d not in known]
    if not missing and old is not None:
        return old
    new = check_pairs(a, b, days=missing, rule=rule, progress=progress)
    texts = [made_of[d] for d in to_days(new["time"])]
    new = new.assign(made_of=("time", np.array(texts, np.dtypes.StringDType())))
    if old is not None and old.sizes["time"]:
        new = xr.concat([old, new], "time").sortby("time").assign_attrs(new.attrs)
    table = judge(new, rule).assign_attrs(new.attrs | {"rule": options})
    _store(cube.store, table)
    return table


def read_quality(fine: Cube) -> xr.Dataset | None:
    """Read the table that `update_quality` keeps."""
    if GROUP not in fine.group:
        return None
    kept: Any = fine.group[GROUP]
    return dataset_of(kept).load()


def _made_of(fine: xr.Dataset, coarse: xr.Dataset, day: Any) -> str:
    """Return the two images apart from any earlier ones: their scenes, and the cubes as built."""
    parts = []
    for cube in (fine, coarse):
        image = int(images_of(cube, [day])[0])
        built = str(cube.attrs.get("history", "")).partition("\n")[0]
        options = str(cube.attrs.get("biastf_product", ""))
        parts.append([str(cube["scenes"].values[image]), options, built])
    return json.dumps(parts)


def _store(store: CubeStore, table: xr.Dataset) -> None:
    with store.lock(), store.edit("pair quality") as edit:
        bare = table.drop_encoding()
        packed = {name: {"compressors": table_codecs()} for name in bare.variables}
        bare.to_zarr(
            edit.store, group=GROUP, mode="w", consolidated=False, zarr_format=3, encoding=packed
        )
        indices = np.searchsorted(stored_days(edit.group), to_days(table["time"]))
        flags = dict(zip(indices.tolist(), table["pair_flag"].values, strict=True))
        write_along_time(edit.group["pair_flag"], flags)


# --- one day --------------------------------------------------------------------------------------


def _check_day(pair: CubePair, day: Any, rule: PairRule) -> dict[str, Any]:
    images = [
        ds[list(pair.bands)].isel(time=int(images_of(ds, [day])[0]))
        for ds in (pair.fine, pair.coarse)
    ]
    surfaces, weights = [], []
    samples = [np.zeros((2, len(pair.bands), 0), np.float32)]
    for window in _windows(pair):
        found = _read_both(images, pair, window)
        if found is not None:
            cover = np.nan_to_num(found[0][-1])
            fine, coarse = (image[:-1] for image in found)
            keep: Any = np.isfinite(coarse[0]) & np.isfinite(fine[0]) & (cover >= rule.min_cover)
            samples.append(np.stack([fine[:, keep], coarse[:, keep]]))
        for surface, count in _surfaces(images, pair, window, rule):
            surfaces.append(surface)
            weights.append(np.where(np.isfinite(surface), count, 0.0))
    shift = _peak(surfaces, weights, pair)
    fine, coarse = np.concatenate(samples, axis=2)
    return {"shift": shift, "pixels": fine.shape[1], **_relation(fine, coarse)}


def _windows(pair: CubePair) -> Iterator[GeoBox]:
    """Return the coarse windows to compare: all of a small cube, a few of a large one."""
    box = pair.coarse_geobox
    for tile in sample_tiles(box.shape.yx, SIDE // _sub_pixels(pair), WINDOWS):
        yield box[tile.slices]


def _sub_pixels(pair: CubePair) -> int:
    return max(1, min(SUB_PIXELS, int(pair.alignment.ratio)))


def _read_both(
    images: list[xr.Dataset], pair: CubePair, window: GeoBox, sub: int = 1
) -> tuple[Any, Any] | None:
    """Bring both images to the sub-pixels of a coarse window; None where one does not reach it."""
    how = "average" if pair.alignment.ratio / sub > 1 + 1e-6 else "auto"
    fine = _read(images[0], pair.geobox, window, how)
    coarse = _read(images[1], pair.coarse_geobox, window, "bilinear" if sub > 1 else "auto")
    return None if fine is None or coarse is None else (fine, coarse)


def _read(image: xr.Dataset, source: GeoBox, target: GeoBox, how: Any) -> Any:
    """Bring an image to a window, shape (band + 1, y, x); the last is 1 where it was valid."""
    plan = plan_resampling(source, target, how)
    if plan is None:
        return None
    rows, cols = plan.window.slices
    values = image.isel(y=rows, x=cols).to_dataarray().values.astype(np.float32)
    valid = np.asarray(np.isfinite(values).all(axis=0))
    np.copyto(values, np.float32(np.nan), where=~valid)
    return np.concatenate([plan(values), plan(valid[None].astype(np.float32))])


def _surfaces(
    images: list[xr.Dataset], pair: CubePair, window: GeoBox, rule: PairRule
) -> Iterator[tuple[Any, Any]]:
    """Correlate every band of both images over displacements, on sub-pixels of the coarse ones."""
    sub = _sub_pixels(pair)
    lattice = window.zoom_out(1 / sub)
    found = _read_both(images, pair, lattice, sub)
    if found is None:
        return
    # Further off too little of a small image is left to tell likeness from chance.
    side = min(lattice.shape)
    reach = max(2, min(int(np.ceil(rule.reach / lattice.affine.a)), side // SHARE))
    sigma = rule.psf * sub / 2.3548
    for a, b in zip(*(image[:-1] for image in found), strict=True):
        if min(np.isfinite(a).sum(), np.isfinite(b).sum()) >= rule.min_shift_pixels * sub**2:
            yield correlation_surface(blur(a, sigma), b, reach)


def _peak(surfaces: list[Any], weights: list[Any], pair: CubePair) -> Shift:
    if not surfaces:
        return NO_SHIFT
    stack, weight = np.stack(surfaces), np.stack(weights)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(total > 0, np.nansum(stack * weight, axis=0) / total, np.nan)
    rows, cols, r = find_peak(mean)
    step = float(pair.coarse_geobox.affine.a) / _sub_pixels(pair)
    return Shift(cols * step, -rows * step, r)


def _relation(fine: Any, coarse: Any) -> dict[str, Any]:
    """Fit fine = slope * coarse + offset in every band."""
    n = max(fine.shape[1], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_f, mean_c = fine.sum(axis=1) / n, coarse.sum(axis=1) / n
        df, dc = fine - mean_f[:, None], coarse - mean_c[:, None]
        sff, scc, sfc = (df**2).sum(1), (dc**2).sum(1), (df * dc).sum(1)
        slope = sfc / scc
        return {
            "correlation": sfc / np.sqrt(sff * scc),
            "slope": slope,
            "offset": mean_f - slope * mean_c,
            "rmse": np.sqrt(((fine - coarse) ** 2).sum(1) / n),
        }


def _median(table: xr.Dataset) -> Any:
    """Return the median correlation over bands of every day, NaN where there is none."""
    return table["correlation"].median("band").values.astype(float)


def _table(pair: CubePair, days: Any, rows: list[dict[str, Any]]) -> xr.Dataset:
    import xarray as xr

    size = float(pair.coarse_geobox.affine.a)
    shifts = [row["shift"] for row in rows]
    along = {
        "shift_x": [s.x for s in shifts],
        "shift_y": [s.y for s in shifts],
        "shift_pixels": [np.hypot(s.x, s.y) / size for s in shifts],
        "shift_correlation": [s.correlation for s in shifts],
        "pixels": [row["pixels"] for row in rows],
    }
    data: dict[str, Any] = {k: ("time", np.array(v, np.float32)) for k, v in along.items()}
    for name in ("correlation", "slope", "offset", "rmse"):
        values = np.array([row[name] for row in rows], np.float32).reshape(-1, len(pair.bands))
        data[name] = (("time", "band"), values)
    bands = np.array(pair.bands, np.dtypes.StringDType())
    coords = {"time": days.astype("datetime64[ns]"), "band": ("band", bands)}
    return xr.Dataset(data, coords, {"coarse_resolution": size})
