"""Turn a folder of scenes into a cube."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube.guards import check_reflectance, check_same_structure
from biastf_xr.cube.spec import CubeKind, CubeSpec, Layout, sort_bands, to_days
from biastf_xr.cube.store import open_cube, publishing, recover, spec_of, write_window
from biastf_xr.cube.template import build_template, history_line, write_template
from biastf_xr.errors import (
    CubeStructureError,
    GridMismatchError,
    ReflectanceRangeError,
    SceneError,
)
from biastf_xr.grid import (
    ALIGNMENT_TOLERANCE,
    Alignment,
    AxisMap,
    Tile,
    aggregate,
    geobox_of,
    same_lattice,
    split_tiles,
)

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from biastf_xr.sources.base import Product, Scene

# Called after every scene with the scene's id, the number done and the number in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    path : pathlib.Path
        The cube.
    clear_fraction : dict of str to float
        Clear fraction of every scene in the cube, by scene id.
    added : tuple of str
        Ids of the scenes that were not in the cube before.
    excluded : tuple of str
        Ids of the scenes that were found and left out as asked.
    """

    path: Path
    clear_fraction: dict[str, float] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


def ingest(
    product: Product,
    folder: str | Path,
    path: str | Path,
    *,
    kind: CubeKind,
    start: str | None = None,
    end: str | None = None,
    exclude: tuple[str, ...] = (),
    native_resolution: float | None = None,
    shard: int = 1024,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Write the scenes of a folder into a cube.

    The first scene gives the cube's extent; scenes whose pixels fall on the same lattice are cut
    or padded to it, as the scenes of a Landsat path and row need.

    The cube is built beside its place and moved there when complete, so readers never see half
    of it.  Running it again with the same scenes changes nothing; with more scenes the cube is
    built anew with all of them.

    Parameters
    ----------
    product : Product
        What the scenes are, as from `biastf_xr.sources.build_product`.
    folder : str or pathlib.Path
        Where they are.
    path : str or pathlib.Path
        The Zarr store to write.
    kind : {"fine", "coarse"}
        Which of the two cubes it is.
    start, end : str, optional
        First and last day to take, ISO format.
    exclude : tuple of str
        Days to leave out, ISO format (for instance with undetected cloud).
    native_resolution : float, optional
        True pixel size of coarse images that were delivered interpolated to a finer grid (as CIA,
        LGC and BOREAS are).  They are averaged, by area, to pixels of this size.
    shard : int
        Largest shard in pixels.
    overwrite : bool
        Replace a store of another structure.
    progress : callable, optional
        Called with the scene id, the number done and the number in all.

    Returns
    -------
    IngestReport
        What was done.

    Raises
    ------
    SceneError
        If there is no scene, or one is incomplete or unreadable, or two are of one day.
    GridMismatchError
        If a scene or the store has another CRS, pixel size or alignment.
    CubeStructureError
        If the store has another structure.
    ReflectanceRangeError
        If values are unscaled, or no pixel of any scene is clear.
    """
    found = product.find_scenes(Path(folder))
    scenes, excluded = _select(found, folder, start, end, exclude)
    path = recover(path)
    source_box = geobox_of(product.open_scene(scenes[0]), str(scenes[0].id))
    if native_resolution is None and path.exists() and not overwrite:
        there = geobox_of(open_cube(path, chunks=None), str(path))
        # A late scene may now be the first; the cube keeps the extent that it has.
        source_box = there if same_lattice(there, source_box) else source_box
    geobox, aggregation = _target_grid(source_box, native_resolution)
    bands = sort_bands(product.bands)
    shape = (int(geobox.shape[0]), int(geobox.shape[1]))
    attrs = {
        "source": product.name,
        "biastf_product": repr(product),
        "biastf_scenes": json.dumps([s.id for s in scenes]),
        "history": history_line(f"ingested {len(scenes)} scenes"),
    }
    spec = CubeSpec(kind, bands, geobox, Layout.build(kind, shape, shard=shard), attrs)
    known = _known_scenes(path, spec, overwrite=overwrite)
    ids = {s.id for s in scenes}
    if ids == set(known):
        return IngestReport(Path(path), known, (), excluded)
    gone = sorted(set(known) - ids)
    if gone and not overwrite:
        raise CubeStructureError(
            f"{path} holds scenes that are no longer taken: {gone[:5]}"
            f"{' ...' if len(gone) > 5 else ''}. They are gone from the folder, excluded, or "
            "outside the season. Put that back, or rebuild the cube with --overwrite."
        )
    with publishing(path, replace=bool(known) or overwrite) as partial:
        clear = _build(product, scenes, spec, aggregation, source_box, partial, progress)
    added = tuple(s.id for s in scenes if s.id not in known)
    return IngestReport(Path(path), clear, added, excluded)


def _select(
    found: list[Scene], folder: Any, start: str | None, end: str | None, exclude: tuple[str, ...]
) -> tuple[list[Scene], tuple[str, ...]]:
    if not found:
        raise SceneError(
            f"no scene of this product in {folder}: no file name matches. "
            "Check the folder, the product and the pattern."
        )
    low = np.datetime64(start) if start else found[0].date
    high = np.datetime64(end) if end else found[-1].date
    dropped = {np.datetime64(d) for d in exclude}
    scenes = [s for s in found if low <= s.date <= high and s.date not in dropped]
    excluded = tuple(s.id for s in found if s.date in dropped)
    if not scenes:
        raise SceneError(
            f"none of the {len(found)} scenes in {folder} ({found[0].date} to {found[-1].date}) "
            f"lies in the season asked for ({low} to {high})."
        )
    for a, b in itertools.pairwise(scenes):
        if a.date == b.date:
            raise SceneError(
                f"two scenes of one day in {folder}: {a.id} and {b.id}. Keep one of them; "
                "mosaics of one day are not composed."
            )
    return scenes, excluded


def _target_grid(source: GeoBox, resolution: float | None) -> tuple[GeoBox, Alignment | None]:
    """Give the cube's grid, and how the files' pixels lie in it if they must be averaged."""
    from odc.geo.geobox import GeoBox

    if resolution is None or np.isclose(resolution, source.affine.a):
        return source, None
    if resolution < source.affine.a:
        raise GridMismatchError(
            f"native_resolution {resolution:g} is smaller than the files' pixel "
            f"({source.affine.a:g}); expected the true, larger pixel size of the coarse sensor."
        )
    a = source.affine
    rows, cols = (int(np.ceil(n * a.a / resolution - 1e-9)) for n in source.shape)
    shape = rows, cols
    transform = type(a)(resolution, 0.0, a.c, 0.0, -resolution, a.f)
    return GeoBox(shape, transform, source.crs), align_inside(source, shape, resolution)


def align_inside(source: GeoBox, shape: tuple[int, int], resolution: float) -> Alignment:
    """Relate a grid to the larger pixels of the same origin that it is averaged to.

    Parameters
    ----------
    source : odc.geo.geobox.GeoBox
        The grid of the files.
    shape : tuple of int
        Rows and columns of the larger pixels.
    resolution : float
        Their size.

    Returns
    -------
    Alignment
        The relation.
    """
    scale = source.affine.a / resolution
    rows, cols = (AxisMap(scale, 0.0, n) for n in shape)
    return Alignment(rows, cols, (int(source.shape[0]), int(source.shape[1])))


def _known_scenes(path: Path, spec: CubeSpec, *, overwrite: bool) -> dict[str, float]:
    """List the scenes of the store that is there, after checking that it may be extended."""
    if not path.exists() or overwrite:
        return {}
    ds = open_cube(path, chunks=None)
    check_same_structure(spec_of(ds), spec, str(path))
    if ds.attrs["biastf_product"] != spec.attrs["biastf_product"]:
        raise CubeStructureError(
            f"{path} was ingested with {ds.attrs['biastf_product']}; now asked for is "
            f"{spec.attrs['biastf_product']}. Use the same options, or rebuild the cube with "
            "--overwrite."
        )
    ids = json.loads(ds.attrs["biastf_scenes"])
    return dict(zip(ids, ds["clear_fraction"].values.tolist(), strict=True))


def _build(
    product: Product,
    scenes: list[Scene],
    spec: CubeSpec,
    aggregation: Alignment | None,
    source_box: GeoBox,
    path: Path,
    progress: Progress | None,
) -> dict[str, float]:
    import xarray as xr

    clear = np.full(len(scenes), np.nan, np.float32)
    times = to_days([s.date for s in scenes])
    fraction = xr.Variable(
        "time", clear, {"long_name": "clear fraction of the scene", "units": "1"}
    )
    template = build_template(spec, times, {"clear_fraction": fraction})
    write_template(template, spec, path)
    group = spec.layout.time
    for t in range(0, len(scenes), group):
        batch = scenes[t : t + group]
        opened = [_open(product, s, spec, source_box) for s in batch]
        counts = np.zeros(len(batch), np.int64)
        for tile in split_tiles(spec.shape, spec.layout.shards[1:]):
            blocks = [_load(ds, s, tile, spec, aggregation)
                      for ds, s in zip(opened, batch, strict=True)]  # fmt: skip
            stack = np.stack(blocks)
            valid = np.isfinite(stack).all(axis=1)
            counts += valid.sum(axis=(1, 2))
            data: dict[str, NDArray[Any]] = {b: stack[:, i] for i, b in enumerate(spec.bands)}
            data["clear"] = np.asarray(valid, np.uint8)
            write_window(path, slice(t, t + len(batch)), tile, data)
        clear[t : t + len(batch)] = counts / np.prod(spec.shape)
        for i, scene in enumerate(batch):
            if progress:
                progress(scene.id, t + i + 1, len(scenes))
    if not (clear > 0).any():
        raise ReflectanceRangeError(
            f"not one clear pixel in {len(scenes)} scenes of {product.name}. "
            "Check nodata, the valid range and the mask options."
        )
    _write_clear_fraction(path, clear)
    return dict(zip([s.id for s in scenes], clear.tolist(), strict=True))


def _open(product: Product, scene: Scene, spec: CubeSpec, source_box: GeoBox) -> xr.Dataset:
    """Open a scene as reflectance on the cube's pixels, cut or padded to its extent."""
    raw = product.open_scene(scene)
    geobox = geobox_of(raw, scene.id)
    reflectance = product.to_reflectance(raw)[list(spec.bands)]
    if geobox == source_box:
        return reflectance
    if not same_lattice(geobox, source_box):
        raise GridMismatchError(
            f"scene {scene.id} lies on {geobox.crs} {tuple(geobox.shape)} {geobox.affine[:6]}; the "
            f"cube on {source_box.crs} {tuple(source_box.shape)} {source_box.affine[:6]}. "
            "Bring all scenes of a folder to one CRS, pixel size and alignment."
        )
    box, cube = geobox.boundingbox, source_box.boundingbox
    if not (box.left < cube.right and box.right > cube.left
            and box.bottom < cube.top and box.top > cube.bottom):  # fmt: skip
        raise SceneError(
            f"scene {scene.id} covers {tuple(box)}, the cube {tuple(cube)}: they do not overlap. "
            "Move the scene out of the folder."
        )
    y, x = (source_box.coords[d].values for d in ("y", "x"))
    near = abs(source_box.affine.a) * ALIGNMENT_TOLERANCE
    return reflectance.reindex(y=y, x=x, method="nearest", tolerance=near)


def _load(
    ds: xr.Dataset, scene: Scene, tile: Tile, spec: CubeSpec, aggregation: Alignment | None
) -> NDArray[np.float32]:
    """Read one tile of a scene, shape (band, y, x)."""
    if aggregation is None:
        rows, cols = tile.slices
        part = ds.isel(y=rows, x=cols)
    else:
        part = ds
    try:
        loaded = part.compute()  # at once: the bands share the reading of their mask
    except OSError as error:
        raise SceneError(f"scene {scene.id} cannot be read: {error}.") from error
    block = np.stack([loaded[b].values for b in spec.bands])
    check_reflectance(block, f"scene {scene.id}")
    if aggregation is not None:
        rows, cols = tile.slices
        block = aggregate(block, aggregation.rows, aggregation.cols)[..., rows, cols]
    # A pixel is clear in every band or missing in every band.
    return np.where(np.isfinite(block).all(axis=0), block, np.float32(np.nan))


def _write_clear_fraction(path: Path, clear: NDArray[np.float32]) -> None:
    import zarr

    group = zarr.open_group(path, mode="r+")
    array = group["clear_fraction"]
    assert isinstance(array, zarr.Array)
    array[:] = clear
