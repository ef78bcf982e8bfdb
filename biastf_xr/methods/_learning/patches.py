"""Patches of the cubes, drawn from many dates and places without reading whole images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from biastf_xr.cube._guards import images_of
from biastf_xr.errors import MissingPairError
from biastf_xr.grid import Tile, Upsampler, read_padded
from biastf_xr.methods._learning.dates import Group, split_dates
from biastf_xr.methods._learning.files import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.methods._learning.rules import SampleRule
    from biastf_xr.methods.base import Float

T = TypeVar("T")

# Windows of this side, the chunks of a cube, are read at once for all their patches, and so many
# windows are held: a base date takes part in many pairs.
BLOCK, HELD_WINDOWS = 256, 32

# Places tried for every patch wanted, and classes of change of equal width.
TRIES, CLASSES = 20, 5

# One patch to learn from and one held out, which tells whether anything was learned.
LEAST_PATCHES = 2


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """What was drawn; a method adds the arrays that it learns from.

    `held_out`: Shape ``(N,)``: kept for early stopping.
    `pairs`: The pairs of days used.
    `held_days`: Dates that only patches held out are of.
    `arrays`: Names of all arrays, in the order of the hash.
    """

    held_out: NDArray[np.bool_]
    pairs: tuple[tuple[str, str], ...]
    held_days: tuple[str, ...] = ()
    arrays: ClassVar[tuple[str, ...]]

    @classmethod
    def of(cls, drawn: Sequence[tuple[Site, dict[str, Float]]], **own: Any) -> Self:
        """Stack what was made of every patch, by name."""
        sites = [site for site, _ in drawn]
        parts = {name: np.stack([made[name] for _, made in drawn]) for name in drawn[0][1]}
        return cls(
            held_out=np.array([site.held_out for site in sites]),
            pairs=tuple(sorted({(str(s.days[0]), str(s.days[-1])) for s in sites})),
            held_days=held_days(sites),
            **parts,
            **own,
        )

    def sha256(self) -> str:
        """Return a hash of all values."""
        arrays = (getattr(self, name) for name in self.arrays)
        return hash_arrays(array for array in arrays if array is not None)


@dataclass(frozen=True)
class Site:
    """Where and when a patch is.

    `tile`: Its place on the fine grid, without halo.
    `held_out`: Whether it is kept for early stopping.
    """

    days: Group
    tile: Tile
    held_out: bool


@dataclass(frozen=True)
class Patch:
    """What both sensors saw at a site.

    `fine`: Shape ``(day, band, y, x)`` with the reader's `fine_halo`; NaN where masked or
    outside.
    `coarse`: Shape ``(day, band, h, w)`` on the coarse grid; NaN where missing.
    `upsample`: Brings `coarse` to the tile with the reader's `halo`.
    """

    site: Site
    fine: Float
    coarse: Float
    upsample: Upsampler


class PatchReader:
    """Reads patches window by window; a few windows are held, never a whole image.

    `patch`: Side of a patch.
    `halo`, `fine_halo`: Fine pixels around it of what `Patch.upsample` gives, and of the fine
    images.
    `coarse_halo`: Coarse pixels around what the interpolation touches.
    """

    def __init__(
        self, pair: CubePair, patch: int, halo: int, fine_halo: int = 0, coarse_halo: int = 1
    ) -> None:
        self.pair, self.patch, self.halo = pair, patch, halo
        self.fine_halo, self.coarse_halo = fine_halo, coarse_halo
        self._window = lru_cache(HELD_WINDOWS)(self._load)

    def read(self, site: Site) -> Patch:
        """Read a patch."""
        padded = site.tile.padded(self.fine_halo)
        block = self._block(site.tile)
        whole = block.padded(self.fine_halo)
        rows, cols = padded.within(whole)
        fine = np.stack([self._fine(day, whole)[:, rows, cols] for day in site.days])
        return Patch(site, fine, self.coarse(site), self._upsampler(site))

    def coarse(self, site: Site) -> Float:
        """Read the coarse images of a patch alone."""
        whole = self.pair.alignment.coarse_tile(
            self._block(site.tile).padded(self.halo), margin=self.coarse_halo
        )
        rows, cols = self._upsampler(site).coarse.within(whole)
        return np.stack([self._window("coarse", d, whole)[:, rows, cols] for d in site.days])

    def order(self, site: Site) -> tuple[int, int, Group]:
        """Return the place of a site in an order that reads every window but once or twice."""
        return site.tile.y0 // BLOCK, site.tile.x0 // BLOCK, site.days

    def _block(self, tile: Tile) -> Tile:
        y, x = (n // BLOCK * BLOCK for n in (tile.y0, tile.x0))
        bottom, right = (
            min(start + BLOCK + self.patch, size)
            for start, size in zip((y, x), self.pair.alignment.shape, strict=True)
        )
        return Tile(y, bottom, x, right)

    def _upsampler(self, site: Site) -> Upsampler:
        padded = site.tile.padded(self.halo)
        window = self.pair.alignment.coarse_tile(padded, margin=self.coarse_halo)
        return Upsampler(self.pair.alignment, padded, window)

    def _fine(self, day: np.datetime64, window: Tile) -> Float:
        shape = self.pair.alignment.shape
        inside = window.clipped(shape)
        image = self._window("fine", day, inside)
        return read_padded(lambda t: image[:, *t.within(inside)], window, shape)

    def _load(self, which: str, day: np.datetime64, window: Tile) -> Float:
        """Load a window of one date."""
        cube = self.pair.fine if which == "fine" else self.pair.coarse
        rows, cols = window.slices
        place = int(images_of(cube, [day])[0])
        part = cube[list(self.pair.bands)].isel(time=place, y=rows, x=cols).load()
        return np.stack([np.asarray(part[band].values, np.float32) for band in self.pair.bands])


def draw_patches(
    reader: PatchReader,
    groups: Sequence[Group],
    rule: SampleRule,
    make: Callable[[Patch], T | None],
    *,
    seed: int,
) -> list[tuple[Site, T]]:
    """Draw patches over all groups of dates and all of the area.

    `make`: Makes of a patch what is learned from, or None where too little of it is clear.
    """
    rng = np.random.default_rng(seed)
    strata = _strata(reader, groups, rule, rng)
    taken = _fill(reader, strata, make)
    if len(taken) < LEAST_PATCHES:
        raise MissingPairError(
            f"too few clear pixels to train on: {len(taken)} patches of {reader.patch} px are at "
            f"least {rule.min_clear:.0%} clear in both cubes, over {len(groups)} groups of dates; "
            f"at least {LEAST_PATCHES} are needed, {rule.count} were asked for. Lower `min_clear` "
            "or `patch`, load a model fitted on another region or year (biastf_xr.load_method), "
            "or use method='direct'."
        )
    held = [site.held_out for site, _ in taken]
    if all(held) or not any(held):
        # Too few blocks for the draw to hit both sides: keep every fifth patch, one at least.
        fifth = min(4, len(taken) - 1)
        return [
            (Site(site.days, site.tile, n % 5 == fifth), made)
            for n, (site, made) in enumerate(taken)
        ]
    return taken


def held_days(sites: Sequence[Site]) -> tuple[str, ...]:
    """List the dates that only patches held out are of."""
    seen = [{day for s in sites if s.held_out == held for day in s.days} for held in (True, False)]
    return tuple(sorted(str(day) for day in seen[0] - seen[1]))


def lay_cells(shape: tuple[int, int], patch: int) -> list[Tile]:
    """Lay patches over the scene, each overlapping the next by half."""
    step = max(patch // 2, 1)
    ys, xs = (range(0, n - patch + 1, step) for n in shape)
    return [Tile(y, y + patch, x, x + patch) for y in ys for x in xs]


def split_cells(
    cells: Sequence[Tile], shape: tuple[int, int], rule: SampleRule, rng: np.random.Generator
) -> tuple[list[Tile], NDArray[np.bool_]]:
    """Hold out whole blocks of patches; what straddles the line is on neither side.

    `rule`: How much is held out, in blocks of what size.
    """
    side = (cells[0].y1 - cells[0].y0) * rule.hold_out_block
    rows, cols = (-(-n // side) for n in shape)
    count = max(1, round(rule.hold_out * rows * cols))
    held = (np.argsort(rng.permutation(rows * cols)) < count).reshape(rows, cols)
    kept, flags = [], []
    for cell in cells:
        y = slice(cell.y0 // side, (cell.y1 - 1) // side + 1)
        x = slice(cell.x0 // side, (cell.x1 - 1) // side + 1)
        if held[y, x].all() or not held[y, x].any():
            kept.append(cell)
            flags.append(bool(held[y, x].all()))
    return kept, np.array(flags)


Stratum = tuple[list[Site], int]


def _strata(
    reader: PatchReader, groups: Sequence[Group], rule: SampleRule, rng: np.random.Generator
) -> list[Stratum]:
    """List places to try, and how many patches to take of them; the same number from each list."""
    shape = reader.pair.alignment.shape
    cells, flags = split_cells(lay_cells(shape, reader.patch), shape, rule, rng)
    kept, others = split_dates(groups, rule.hold_out_dates, rng)
    held = max(1, round(rule.hold_out * rule.count))
    strata: list[Stratum] = []
    for flag, dates, count in ((False, kept, rule.count - held), (True, others, held)):
        places = [cell for cell, is_held in zip(cells, flags, strict=True) if is_held == flag]
        if not places or count < 1:
            continue
        quota = -(-count // len(dates))
        lists = []
        for group in dates:
            chosen = rng.permutation(len(places))[: TRIES * quota]
            lists.append([Site(group, places[n], flag) for n in chosen])
        if rule.balance == "change" and len(groups[0]) > 1:
            lists = _by_change(reader, [site for sites in lists for site in sites], rng)
        quota = -(-count // len(lists))
        strata += [(sites, quota) for sites in lists]
    return strata


def _by_change(
    reader: PatchReader, sites: list[Site], rng: np.random.Generator
) -> list[list[Site]]:
    """Sort sites into classes of coarse change, of equal width between its 2 and 98 % quantiles."""
    sizes = np.full(len(sites), np.nan)
    for n in sorted(range(len(sites)), key=lambda n: reader.order(sites[n])):
        images = reader.coarse(sites[n])
        change = np.abs(images[-1] - images[0])
        if np.isfinite(change).any():
            sizes[n] = np.nanmean(change)
    if not np.isfinite(sizes).any():
        return [sites]
    low, high = np.nanquantile(sizes, (0.02, 0.98))
    edges = np.linspace(low, high, CLASSES + 1)[1:-1]
    classes = np.digitize(sizes, edges)
    shuffled = rng.permutation(len(sites))
    lists = [[sites[n] for n in shuffled if classes[n] == k] for k in range(CLASSES)]
    return [part for part in lists if part]


def _fill(
    reader: PatchReader, strata: Sequence[Stratum], make: Callable[[Patch], T | None]
) -> list[tuple[Site, T]]:
    """Try places until every list has given its number or is used up."""
    taken: list[list[tuple[Site, T]]] = [[] for _ in strata]
    at = [0] * len(strata)
    while True:
        batch: list[tuple[int, Site]] = []
        for n, (sites, quota) in enumerate(strata):
            more = sites[at[n] : at[n] + quota - len(taken[n])]
            at[n] += len(more)
            batch += [(n, site) for site in more]
        if not batch:
            return [item for items in taken for item in items]
        for n, site in sorted(batch, key=lambda item: reader.order(item[1])):
            made = make(reader.read(site))
            if made is not None:
                taken[n].append((site, made))
