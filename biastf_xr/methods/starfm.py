"""STARFM: the change of similar pixels nearby, weighted by what they tell (Gao et al. 2006)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from biastf_xr.methods._compiled import compiled
from biastf_xr.methods._options import bound, option
from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import Weights, from_both
from biastf_xr.methods._similar import (
    DN,
    SLACK,
    WindowMethod,
    WindowUnit,
    known_of,
    row_order,
    scene_deviation,
    similarity_threshold,
    window_distances,
    window_offsets,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.base import Base, Block, Float, Prediction, Prepared, SceneView

# Target dates that go through the window together, and pixels of a run: what a row of the window
# needs of them stays in the cache.
_DATES, _RUN = 4, 512


@dataclass(frozen=True, kw_only=True)
class STARFM(WindowMethod):
    """Transfer the coarse change of similar pixels in a window, spatially and spectrally weighted.

    For every band and pair ``k`` of a fine and a coarse image, the pixels ``i`` of a window around
    the centre ``c`` that look like it on the base date are candidates.  Those that carry more
    reliable information than the centre are kept, by their spectral difference ``S = |F_k - C_k|``
    and temporal difference ``T = |C_k - C|``.  The prediction is the mean of ``F_k + C - C_k``
    weighted by ``1 / (S T D)`` with ``D = 1 + distance / (window / 2)``.

    Cost: ``window**2`` pixels are visited per pixel, band, pair and target date, with some 20
    operations each; the comparison with the centre is shared by up to four dates.

    Attributes
    ----------
    pairs : {1, 2}
        1: each base date predicts alone, and the two predictions are weighted by `weights`.  2: the
        candidates of both base dates share one normalisation, as in the paper; its RMSE is larger
        on every set of `benchmarks/accuracy.py` with two base dates.  Where only one is there both
        are the same.
    classes : float
        A candidate differs from the centre by less than ``2 std / classes`` of the base image,
        the standard deviation over the whole scene.
    similarity : {"band", "all"}
        Whether candidates are sought in the band predicted, or must be similar in all bands.
    filtering : {"loose", "strict"}
        Whether a candidate must have a small spectral or temporal difference, as NASA's program
        asks, or both, as the paper does.
    weighting : {"product", "log"}
        ``(S + offset) (T + offset) D``, or ``ln(S / offset + 2) ln(T / offset + 2) D``.
    temporal_weight : {"two-pair", "always"}
        Whether T takes part in the weight with two pairs only, or always.
    uncertainty_fine, uncertainty_coarse : float
        Standard errors of the two sensors' reflectance.
    offset : float
        Reflectance added to S and T so that none weighs without end.  The published programs add
        1 to digital numbers of reflectance x 10000; added to reflectance itself it would make
        both differences count for nothing.
    copy_on_zero : bool
        Whether a pixel whose S or T is zero decides alone, as the paper argues.
    reach : int
        Fine pixels from the centre to the window's edge; `bind` sets it.

    Notes
    -----
    The published programs use windows of 31 and 51.

    With ``pairs=2`` and ``filtering="strict"`` every candidate may fail, the centre included; the
    mean over the pairs of ``F_k + C - C_k`` stands there, and `status_flag` is 8.

    References
    ----------
    Gao F., Masek J., Schwaller M., Hall F., IEEE Trans. Geosci. Remote Sens. 44, 2006, 2207-2218,
    doi 10.1109/TGRS.2006.872081, eqs. 7-16.  The paper takes the larger of the two pairs'
    differences at the centre for the filter, which loosens it; as in NASA's program the smaller is
    taken here.
    """

    name: str = "starfm"
    pairs: Literal[1, 2] = option(1, choices=(1, 2))
    window: int = shared("window")
    window_unit: WindowUnit = shared("window_unit")
    classes: float = option(40.0, above=0)
    threshold: float | None = shared("threshold")
    similarity: Literal["band", "all"] = option("band", choices=("band", "all"))
    filtering: Literal["loose", "strict"] = option("loose", choices=("loose", "strict"))
    weighting: Literal["product", "log"] = option("product", choices=("product", "log"), rare=True)
    temporal_weight: Literal["two-pair", "always"] = option(
        "two-pair", choices=("two-pair", "always"), rare=True
    )
    uncertainty_fine: float = option(0.005, least=0)
    uncertainty_coarse: float = option(0.005, least=0)
    offset: float = option(DN, above=0, rare=True)
    copy_on_zero: bool = option(True, preset="imagefusion")
    weights: Weights = shared("weights")
    weight_window: int = shared("weight_window")
    upsampling: Upsampling = shared("upsampling")
    reach: int = bound(0)

    presets: ClassVar = {"imagefusion": {"copy_on_zero": False}}

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the reach of the weights' window."""
        return self.weight_window // 2

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Take the standard deviation of every base image; see `Method.prepare`."""
        return scene_deviation(scene)

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`."""
        if self.pairs == 1 or block.before is None or block.after is None:
            return super().fuse(block)
        return from_both(*self._predict(block, block.sides))

    def side(self, block: Block, base: Base) -> Float:
        """Predict from one pair; see `TwoSided.side`."""
        return self._predict(block, (base,))[0]

    def _predict(self, block: Block, bases: tuple[Base, ...]) -> tuple[Float, NDArray[np.bool_]]:
        """Predict all dates from one or two pairs; tell where a band had no candidate."""
        count, bands = block.days.size, len(block.bands)
        values = np.empty((count, bands, *block.tile.shape), np.float32)
        alone = np.zeros((count, *block.tile.shape), np.bool_)
        limits = np.stack([
            similarity_threshold(known_of(b), self.classes, self.threshold) for b in bases
        ]).astype(np.float32) + np.float32(SLACK)  # fmt: skip
        level = known_of(bases[0]).scene["mean"].astype(np.float32)
        fine, then = [], []
        for base in bases:
            coarse = block.upsample(base.coarse, self.upsampling)
            missing = ~(np.isfinite(base.fine).all(axis=0) & np.isfinite(coarse).all(axis=0))
            fine.append(np.where(missing, np.float32(np.nan), base.fine))
            then.append(coarse)
        gone = ~block.seen(self.upsampling)
        groups = [range(bands)] if self.similarity == "all" else [[b] for b in range(bands)]
        for group in groups:
            f, c = (np.stack([v[list(group)] for v in images]) for images in (fine, then))
            for t in range(0, count, _DATES):
                now = block.upsample(block.coarse[t : t + _DATES, list(group)], self.upsampling)
                holes = gone[t : t + _DATES]
                if holes.any():
                    now = np.where(holes[:, None], np.float32(np.nan), now)
                part = limits[:, list(group)], level[list(group)]
                values[t : t + _DATES, list(group)], empty = self._window(f, c, now, *part)
                alone[t : t + _DATES] |= empty.any(axis=1)
        return values, alone

    def _window(
        self, fine: Float, then: Float, now: Float, limits: Float, level: Float
    ) -> tuple[Float, NDArray[np.bool_]]:
        """Run the window over some bands and dates.

        Base images ``(pair, band, Y, X)`` and coarse images ``(time, band, Y, X)`` with margin.
        """
        pairs, bands = fine.shape[:2]
        spectral = np.abs(then - fine)
        change = now[:, None] - then
        temporal = np.abs(change)
        offset = np.float32(self.offset)
        weighs_time = pairs == 2 or self.temporal_weight == "always"
        differs = (spectral + offset) / offset
        product = (
            differs * ((temporal + offset) / offset)
            if weighs_time
            else np.broadcast_to(differs, temporal.shape)
        )
        known = np.isfinite(product) & np.isfinite(fine)
        errors = (
            np.hypot(self.uncertainty_fine, self.uncertainty_coarse),
            np.sqrt(2) * self.uncertainty_coarse,
        )
        small = product < np.float32(np.hypot(*errors) / self.offset * (1 - 2e-3))
        if self.weighting == "log":
            product = np.log(spectral / offset + 2)
            if weighs_time:
                product = product * np.log(temporal / offset + 2)
        # Weight without the distance; negative: exactly 1; 0: missing.
        with np.errstate(invalid="ignore"):
            weight = np.where(small, np.float32(-1), 1 / product)
        weight = np.where(known, weight, np.float32(0)).astype(np.float32)
        # Sums are of small numbers: the prediction above the level of the scene.
        moved = np.where(known, fine + change - level[:, None, None], np.float32(0))
        slack = errors[0] + SLACK, errors[1] + SLACK
        side = 2 * self.reach + 1
        offsets, order = window_offsets(side), row_order(side)
        nearness = (1 / (1 + 2 * window_distances(side) / side))[order]
        shape = len(now), bands, fine.shape[2] - side + 1, fine.shape[3] - side + 1
        out, empty = np.empty(shape, np.float32), np.zeros(shape, np.bool_)
        _borrow(
            fine, spectral, temporal, weight, moved, offsets[order], self.reach,
            nearness.astype(np.float32), limits, np.float32(slack[0]), np.float32(slack[1]),
            level, self.similarity == "all", self.filtering == "strict", self.copy_on_zero,
            out, empty,
        )  # fmt: skip
        return out, empty


@compiled
def _compare(
    image: Any, row: Any, here: Any, other: Any, there: Any, n: Any, limits: Any, alike: Any
) -> None:  # pragma: no cover
    """Set 1 where a run of pixels is similar to the one elsewhere in all bands, else 0."""
    zero, one = np.float32(0), np.float32(1)
    for b in range(image.shape[0]):
        centre, line = image[b, row, here : here + n], image[b, other, there : there + n]
        limit = limits[b]
        if b == 0:
            for x in range(n):
                alike[x] = one if abs(line[x] - centre[x]) < limit else zero
        else:
            for x in range(n):
                same = one if abs(line[x] - centre[x]) < limit else zero
                alike[x] *= same


@compiled
def _borrow(  # noqa: C901, PLR0912, PLR0915
    fine: Any, spectral: Any, temporal: Any, weight: Any, moved: Any, offsets: Any, reach: Any,
    nearness: Any, limits: Any, slack_s: Any, slack_t: Any, level: Any, all_bands: Any,
    strict: Any, copy: Any, out: Any, empty: Any,
) -> None:  # pragma: no cover  # fmt: skip
    pairs, bands = fine.shape[:2]
    dates, _, rows, cols = out.shape
    zero = np.float32(0)
    one = np.float32(1)
    places = offsets.shape[0]
    # Two pixels of the window go together: their sums are loaded and stored once.  1 for a similar
    # pixel, and for one whose spectral difference is small as well.
    alike, chosen = np.zeros((2, _RUN), np.float32), np.zeros((2, _RUN), np.float32)
    # Those taken whatever their temporal difference, and those taken if it is small.
    surely, perhaps = (np.zeros((2, _RUN), np.float32), chosen) if strict else (chosen, alike)
    low_1, low_2, high_1, high_2 = surely[0], surely[1], perhaps[0], perhaps[1]
    most_s = np.empty((bands, _RUN), np.float32)
    most_t = np.empty((dates, bands, _RUN), np.float32)
    total = np.empty((dates, bands, _RUN), np.float32)
    norm = np.empty((dates, bands, _RUN), np.float32)
    for x0 in range(0, cols, _RUN):
        n = min(_RUN, cols - x0)
        here = x0 + reach
        for y in range(rows):
            row = y + reach
            total[:], norm[:] = zero, zero
            for b in range(bands):
                for x in range(n):
                    s = spectral[0, b, row, here + x]
                    for k in range(1, pairs):
                        s = min(s, spectral[k, b, row, here + x])
                    most_s[b, x] = s + slack_s
                for d in range(dates):
                    for x in range(n):
                        t = temporal[d, 0, b, row, here + x]
                        for k in range(1, pairs):
                            t = min(t, temporal[d, k, b, row, here + x])
                        most_t[d, b, x] = t + slack_t
            for k in range(pairs):
                for o in range(0, places, 2):
                    p = min(o + 1, places - 1)
                    row_1, col_1 = row + offsets[o, 0], here + offsets[o, 1]
                    row_2, col_2 = row + offsets[p, 0], here + offsets[p, 1]
                    near_1, near_2 = nearness[o], nearness[p]
                    if all_bands:
                        _compare(fine[k], row, here, row_1, col_1, n, limits[k], alike[0])
                        _compare(fine[k], row, here, row_2, col_2, n, limits[k], alike[1])
                    for b in range(bands):
                        if not all_bands:
                            image, limit = fine[k, b : b + 1], limits[k, b : b + 1]
                            _compare(image, row, here, row_1, col_1, n, limit, alike[0])
                            _compare(image, row, here, row_2, col_2, n, limit, alike[1])
                        if p == o:
                            alike[1] = zero
                        for j in range(2):
                            r, c = (row_1, col_1) if j == 0 else (row_2, col_2)
                            line, limit_s = spectral[k, b, r, c : c + n], most_s[b]
                            one_of, kept = alike[j], chosen[j]
                            for x in range(n):
                                small = one if line[x] < limit_s[x] else zero
                                kept[x] = one_of[x] * small
                        for d in range(dates):
                            times_1 = temporal[d, k, b, row_1, col_1 : col_1 + n]
                            times_2 = temporal[d, k, b, row_2, col_2 : col_2 + n]
                            weights_1 = weight[d, k, b, row_1, col_1 : col_1 + n]
                            weights_2 = weight[d, k, b, row_2, col_2 : col_2 + n]
                            values_1 = moved[d, k, b, row_1, col_1 : col_1 + n]
                            values_2 = moved[d, k, b, row_2, col_2 : col_2 + n]
                            limit_t, sum_w, sum_v = most_t[d, b], norm[d, b], total[d, b]
                            for x in range(n):  # loads stand before choices: SIMD needs that
                                limit = limit_t[x]
                                low, high, w, v = low_1[x], high_1[x], weights_1[x], values_1[x]
                                lower, higher = low_2[x], high_2[x]
                                w_2, v_2 = weights_2[x], values_2[x]
                                small = one if times_1[x] < limit else zero
                                small_2 = one if times_2[x] < limit else zero
                                near = near_1 * w
                                near = near if w >= zero else one
                                nearer = near_2 * w_2
                                nearer = nearer if w_2 >= zero else one
                                share = (low + (high - low) * small) * near
                                share_2 = (lower + (higher - lower) * small_2) * nearer
                                sum_w[x] += share + share_2
                                sum_v[x] += share * v + share_2 * v_2
            for d in range(dates):
                for b in range(bands):
                    for x in range(n):
                        plain, exact, exacts, known = zero, zero, 0, True
                        for k in range(pairs):
                            value = moved[d, k, b, row, here + x]
                            known = known and weight[d, k, b, row, here + x] != zero
                            plain += value
                            s, t = spectral[k, b, row, here + x], temporal[d, k, b, row, here + x]
                            if min(s, t) < SLACK:
                                exact += value
                                exacts += 1
                        if not known:
                            out[d, b, y, x0 + x] = np.float32(np.nan)
                        elif copy and exacts > 0:
                            out[d, b, y, x0 + x] = level[b] + exact / np.float32(exacts)
                        elif norm[d, b, x] > zero:
                            out[d, b, y, x0 + x] = level[b] + total[d, b, x] / norm[d, b, x]
                        else:
                            out[d, b, y, x0 + x] = level[b] + plain / np.float32(pairs)
                            empty[d, b, y, x0 + x] = True
