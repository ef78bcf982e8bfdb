"""Fit-FC: regression between coarse dates, spatial filtering, residuals (Wang & Atkinson 2018)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from biastf_xr.errors import MethodError
from biastf_xr.grid import AxisMap
from biastf_xr.methods._options import bound, option
from biastf_xr.methods._shared import shared
from biastf_xr.methods._sides import Weights, inside_grid
from biastf_xr.methods._similar import (
    UNITS,
    WindowMethod,
    WindowUnit,
    gather,
    most_similar,
    share_weights,
    window_distances,
    window_mean,
    window_reach,
)

if TYPE_CHECKING:
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.grid import Upsampling
    from biastf_xr.methods.base import Base, Block, Float

# Coarse reflectance that varies less than this (standard deviation) in a window fits no line.
_FLAT = 1e-6


@dataclass(frozen=True, kw_only=True)
class FitFC(WindowMethod):
    """Fit a line between the coarse images of two dates locally, and apply it to the fine one.

    Per band and base date ``k``: in a window around every pixel ``C = a C_k + c`` is fitted by
    least squares; ``a F_k + c`` is the fitted fine image; what the line leaves of C, averaged over
    coarse pixels and interpolated by cubic convolution, is added.  The sum is then averaged over
    the spectrally most similar pixels of a window, which takes away the blocks of the coarse grid.
    Missing pixels are left out of the fit and of the averages.

    One base date is enough; of two, each predicts alone and the predictions are weighted.

    Cost: the search visits ``window**2`` pixels with 6 operations per band, once per base date;
    each band and target date then costs ``2 similar`` operations and some 40 for the fit.

    Attributes
    ----------
    regression_window : int
        Side of the window of the fit, odd.
    regression_unit : {"coarse", "fine"}
        Whether it counts coarse pixels, and the fit is made on the coarse grid, as the author's
        program does; or fine pixels, and it is made on interpolated coarse images.
    cubic : float
        Parameter of the cubic convolution: -0.5 is MATLAB's, -0.75 OpenCV's.
    coarse_pixel : float or None
        Fine pixels over which residuals are averaged when the fit is made on the fine grid; by
        default the ratio of the pixel sizes.
    residual_blocks : {"placed", "stretched"}
        Whether averaged residuals are interpolated between the true centres of their blocks, or
        the image of blocks is stretched over the scene, as libraries that resize images do where
        the scene is not a whole number of blocks.  For a fit made on the fine grid.
    reach, fit_reach, block : int, int, tuple
        Sizes on the grids; `bind` sets them.

    References
    ----------
    Wang Q., Atkinson P.M., Remote Sens. Environ. 204, 2018, 31-42,
    doi 10.1016/j.rse.2017.10.046.  Where coarse reflectance does not vary in the window the line
    is ``a = 1, c = 0``, and its residual carries the whole change.
    """

    name: str = "fitfc"
    window: int = shared("window", default=41)
    window_unit: WindowUnit = shared("window_unit")
    similar: int = shared("similar")
    distance: float | None = shared("distance")
    regression_window: int = option(3, odd=True, least=3)
    regression_unit: WindowUnit = option("coarse", choices=UNITS)
    cubic: float = option(-0.5, preset="imagefusion")
    coarse_pixel: float | None = option(None, above=0)
    residual_blocks: Literal["placed", "stretched"] = option(
        "placed", choices=("placed", "stretched"), preset="imagefusion"
    )
    weights: Weights = shared("weights")
    weight_window: int = shared("weight_window")
    upsampling: Upsampling = shared("upsampling")
    fit_reach: int = bound(0)
    blocks: tuple[AxisMap, AxisMap] | None = bound(None)
    reach: int = bound(0)

    presets: ClassVar = {
        "imagefusion": {
            "window": 51, "similar": 10, "regression_window": 51, "regression_unit": "fine",
            "cubic": -0.75, "residual_blocks": "stretched",
        },
    }  # fmt: skip

    @property
    def halo(self) -> int:
        """Return the halo of interpolated coarse images: window, fit and residual blocks."""
        if self.blocks is None:
            return self.reach
        return self.reach + self.fit_reach + 3 * int(np.ceil(1 / self.blocks[0].scale))

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo: the fit and cubic convolution, or the weights' window."""
        fit = self.regression_window // 2 + 2 if self.blocks is None else 0
        return max(fit, self.weight_window // 2)

    def bind(self, pair: CubePair) -> Self:
        """Size the windows; see `Method.bind`."""
        sized, alignment = super().bind(pair), pair.alignment
        if self.regression_unit == "coarse":
            side = self.regression_window
            if alignment.ratio < 1.5:
                raise MethodError(
                    f"{self.name}: coarse images lie on the fine grid (ratio {alignment.ratio:.2f})"
                    f", where a window of {side} coarse pixels holds a single observation. Ingest "
                    "them with their `native_resolution`, or choose regression_unit='fine' with a "
                    "regression_window of at least two true coarse pixels, and coarse_pixel."
                )
            if side > min(alignment.coarse_shape):
                raise MethodError(
                    f"{self.name}: regression_window is {side} coarse pixels, the coarse grid has "
                    f"only {alignment.coarse_shape}. Choose a smaller odd number."
                )
            return replace(sized, fit_reach=0, blocks=None)
        fit = window_reach(self.regression_window, "fine", pair, f"{self.name}, regression")
        size = self.coarse_pixel or alignment.ratio
        axes = [AxisMap(1 / size, 0.0, max(round(n / size), 1)) for n in alignment.shape]
        return replace(sized, fit_reach=fit, blocks=(axes[0], axes[1]))

    def side(self, block: Block, base: Base) -> Float:
        """Predict from one base date; see `TwoSided.side`.

        Returned: Shape ``(time, band, y, x)``; NaN where the base image or the fit is missing.
        """
        side = 2 * self.reach + 1
        gone = np.asarray(~np.isfinite(base.fine).all(axis=0))
        image = np.where(gone, np.float32(np.nan), base.fine)
        found = most_similar(image, side, self.similar, scale=1.0, squared=True)
        distance = window_distances(side) / (self.distance or side / 2)
        near: Float = (1 / (1 + distance)).astype(np.float32)
        shape = block.days.size, len(block.bands), *block.tile.shape
        out = np.empty(shape, np.float32)
        fit = self._fit_coarse if self.blocks is None else self._fit_fine
        core = gone[block.fine_core]
        weights, shared = np.zeros(found.place.shape, np.float32), None
        for b in range(shape[1]):
            then = base.coarse[b]
            if self.blocks is not None:
                then = block.upsample(then, self.upsampling)
            for t in range(shape[0]):
                gain, rest = fit(block, then, block.coarse[t, b])
                fitted = gain * image[b] + rest
                usable = np.isfinite(fitted)
                if shared is None or not np.array_equal(usable, shared):
                    share_weights(found, near, usable, self.reach, weights)
                    shared = usable
                fitted = np.where(usable, fitted, np.float32(0))
                gather(fitted, self.reach, found, weights, out[t, b])
                out[t, b][core | ~usable[block.fine_core]] = np.nan
        return out

    def _fit_coarse(self, block: Block, then: Float, now: Float) -> tuple[Float, Float]:
        """Fit on the coarse grid; give slope, and intercept plus residual, on the fine one.

        Shape ``(y + 2 reach, x + 2 reach)``.
        """
        reach = self.regression_window // 2
        edge = [(reach, reach)] * 2
        x, y = (np.pad(v, edge, constant_values=np.nan) for v in (then, now))
        slope, rest = _line_fit(x, y, reach)
        residual = now - (slope * then + rest)
        up = block.upsample
        cubic = _cubic_up(
            residual, up.alignment.rows, up.alignment.cols, (up.coarse.y0, up.coarse.x0),
            (up.fine.y0, up.fine.y1), (up.fine.x0, up.fine.x1), self.cubic,
        )  # fmt: skip
        # Windows reach over coarse gaps, but nothing is made where the coarse image is missing.
        cubic[np.isnan(up(residual))] = np.nan
        return up(slope, "nearest"), up(rest, "nearest") + cubic

    def _fit_fine(self, block: Block, then: Float, now: Float) -> tuple[Float, Float]:
        """Fit on the fine grid, to interpolated coarse images; see `_fit_coarse`."""
        if self.blocks is None:
            raise MethodError(f"{self.name} is not bound to cubes.")
        shape = block.upsample.alignment.shape
        now = block.upsample(now, self.upsampling)
        now = np.where(inside_grid(block.upsample.fine, shape), now, np.float32(np.nan))
        slope, rest = _line_fit(then, now, self.fit_reach)
        inner = slice(self.fit_reach, -self.fit_reach)
        residual = now[inner, inner] - (slope * then[inner, inner] + rest)
        trim = block.halo - self.reach - self.fit_reach
        y0, x0 = (v - self.reach - trim for v in (block.tile.y0, block.tile.x0))
        averaged, first = _block_mean(residual, *self.blocks, (y0, x0), shape)
        rows, cols = (n + 2 * self.reach for n in block.tile.shape)
        axes = self.blocks
        if self.residual_blocks == "stretched":
            pairs = zip(axes, shape, strict=True)
            axes = tuple(AxisMap(a.size / n, 0.0, a.size) for a, n in pairs)  # type: ignore[assignment]
        smooth = _cubic_up(
            averaged, *axes, first,
            (y0 + trim, y0 + trim + rows), (x0 + trim, x0 + trim + cols), self.cubic,
        )  # fmt: skip
        keep = slice(trim, trim + rows), slice(trim, trim + cols)
        smooth[np.isnan(residual[keep])] = np.nan
        return slope[keep], rest[keep] + smooth


def _line_fit(x: Float, y: Float, reach: int) -> tuple[Float, Float]:
    """Fit ``y = slope x + rest`` by least squares in a window around every pixel.

    `x`, `y`: Shape ``(rows + 2 reach, cols + 2 reach)``; NaN is left out.
    `slope`, `rest`: Shape ``(rows, cols)``; 1 and 0 where x does not vary; NaN where nothing is
    seen.
    """
    seen = np.asarray(np.isfinite(x) & np.isfinite(y))
    p, q = (np.where(seen, v, np.float32(0)).astype(np.float64) for v in (x, y))
    means = [window_mean(v, seen, reach) for v in (p, q, p * p, p * q)]
    variance = means[2] - means[0] ** 2
    varies = variance > _FLAT**2
    slope = np.where(varies, (means[3] - means[0] * means[1]) / np.where(varies, variance, 1), 1.0)
    rest = np.where(varies, means[1] - slope * means[0], 0.0)
    known = np.isfinite(means[0])
    slope, rest = (np.where(known, v, np.nan).astype(np.float32) for v in (slope, rest))
    return slope, rest


def _block_mean(
    values: Float, rows: AxisMap, cols: AxisMap, origin: tuple[int, int], shape: tuple[int, int]
) -> tuple[Float, tuple[int, int]]:
    """Average fine pixels over blocks of the whole grid, by area.

    `values`: Shape ``(Y, X)``; NaN is left out.
    `origin`: Row and column of the first pixel on the whole grid; it may lie outside.
    `shape`: Rows and columns of the whole grid; pixels outside are left out.
    `means`: Of every block that `values` cover, one the grid ends in included; NaN where none
    is seen.
    """
    parts, first = [], []
    for axis, start, count, size in zip((rows, cols), origin, values.shape, shape, strict=True):
        low = max(int(np.ceil(max(start, 0) * axis.scale - 1e-9)), 0)
        end = min(start + count, size)
        high = axis.size if end == size else min(int(end * axis.scale + 1e-9), axis.size)
        edges = (start + np.arange(count + 1)) * axis.scale
        block = np.arange(low, high)[:, None]
        inside = np.minimum(edges[1:], block + 1) - np.maximum(edges[:-1], block)
        parts.append(np.clip(inside, 0, None))
        first.append(low)
    seen = np.isfinite(values)
    total = parts[0] @ np.where(seen, values, 0.0).astype(np.float64) @ parts[1].T
    weight = parts[0] @ seen.astype(np.float64) @ parts[1].T
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Float = np.where(weight > 0, total / weight, np.nan).astype(np.float32)
    return means, (first[0], first[1])


def _cubic_up(
    values: Float,
    rows: AxisMap,
    cols: AxisMap,
    first: tuple[int, int],
    y: tuple[int, int],
    x: tuple[int, int],
    a: float,
) -> Float:
    """Interpolate coarse values to fine pixels by cubic convolution, edges repeated (Keys 1981).

    `values`: Shape ``(h, w)``; NaN counts as 0.
    `rows`, `cols`: Where fine pixels lie on the coarse axes.
    `first`: Row and column of the first value on the whole coarse grid.
    """
    taps = []
    for axis, start, span, size in zip((rows, cols), first, (y, x), values.shape, strict=True):
        position = axis.position(np.arange(*span))
        low = np.floor(position).astype(int)
        offset = np.arange(-1, 3)
        d = np.abs(position[:, None] - (low[:, None] + offset))
        kernel = np.where(
            d <= 1,
            ((a + 2) * d - (a + 3)) * d * d + 1,
            np.where(d < 2, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a, 0.0),
        )
        place = np.clip(low[:, None] + offset, 0, axis.size - 1) - start
        matrix = np.zeros((len(position), size))
        inside = (place >= 0) & (place < size)
        np.add.at(matrix, (np.nonzero(inside)[0], place[inside]), kernel[inside])
        taps.append(matrix)
    known = np.where(np.isfinite(values), values, 0.0).astype(np.float64)
    result: Float = (taps[0] @ known @ taps[1].T).astype(np.float32)
    return result
