"""Tell reflectance from what is none: fill values without a tag, saturation, numbers unscaled.

Every value is looked at, in the pass that finds the missing pixels.  What cannot be reflectance is
taken for missing; where more than one pixel in ten thousand is of that kind the image is refused,
because then something is misunderstood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._spec import VALID_MAX, VALID_MIN
from biastf_xr.errors import ReflectanceRangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# Reflectance lies between these.  At the ends themselves lies what products clip to, and what
# Landsat's scale makes of the number 0.
LOWEST, HIGHEST = VALID_MIN + 1e-6, VALID_MAX - 1e-6
# Shadows may fall below, snow and glare rise above, but not as far as this.
FAR_BELOW, FAR_ABOVE = -0.5, 2.0
# More than this share of the pixels, and at least two of them, are no accident.
SHARE, FEW = 1e-4, 2
# A median above this is of numbers that were not scaled.
UNSCALED = 2.0
# No land or water is darker than this in every band over a whole window; a product's smallest
# value or a second factor of 1e-4 is.
SCALED_TWICE, ENOUGH = 1e-3, 100
# Rows and columns of a window that are looked at for a second factor.
SAMPLED = 128


@dataclass(frozen=True)
class Spike:
    """What makes an image unusable.

    `value`: The most frequent value that is no reflectance.
    `share`: Of the pixels that are not missing, how many have such a value.
    `alike`: Whether it is this value, and not different ones.
    `band`: Index of the band; None: it is that of every band at once.
    `at`: Row and column of a pixel that has it.
    """

    value: float
    share: float
    alike: bool
    band: int | None
    at: tuple[int, int]

    @property
    def unscaled(self) -> bool:
        """Return whether most of the image is far out, by different values: the scale is wrong."""
        return self.share > 0.5 and not self.alike and abs(self.value) > UNSCALED


def find_fill(
    values: NDArray[np.float32], blanks: Sequence[float] = ()
) -> tuple[NDArray[np.bool_], Spike | None]:
    """Return where an image is reflectance in every band, and what makes it unusable.

    `values`: Shape ``(band, y, x)``; NaN and infinity are missing.
    `blanks`: Values that a pixel has in every band at once only where it was not measured.
    """
    inside = values > LOWEST
    inside &= values < HIGHEST
    clear: NDArray[np.bool_] = np.asarray(inside.all(axis=0))
    odd = np.flatnonzero(~clear & np.isfinite(values[0]))
    pixels = values.reshape(len(values), -1)[:, odd]
    seen = np.isfinite(pixels).all(axis=0)
    found = None
    if seen.any():
        total = int(np.count_nonzero(clear) + np.count_nonzero(seen))
        found = _outside(pixels[:, seen], odd[seen], total, values.shape[-1])
    if len(blanks):
        same = clear & (values[0] == values[-1])
        same[same] = (values[:, same] == values[0, same]).all(axis=0)
        same[same] = np.isin(values[0, same], np.array(blanks, np.float32))
        count = int(np.count_nonzero(same))
        if found is None and count >= FEW and count > SHARE * np.count_nonzero(clear):
            found = _blank(values[0], same, int(np.count_nonzero(clear)))
        clear &= ~same
    return clear, found


def _blank(band: NDArray[np.float32], same: NDArray[np.bool_], total: int) -> Spike:
    """Describe pixels that have one value in every band."""
    numbers, times = np.unique(band[same], return_counts=True)
    value = numbers[np.argmax(times)]
    row, col = np.argwhere(same & (band == value))[0]
    return Spike(float(value), int(times.max()) / total, True, None, (int(row), int(col)))


def _outside(pixels: Any, where: Any, total: int, width: int) -> Spike | None:
    """Tell an accident or a tail from fill among pixels that are no reflectance in some band.

    `pixels`: Shape ``(band, n)``.
    `where`: Their positions in the image, row by row.
    `total`: Pixels of the image that are not missing.
    """
    low, high = pixels <= LOWEST, pixels >= HIGHEST
    far = ((pixels < FAR_BELOW) | (pixels > FAR_ABOVE)).any(axis=0)
    for some in (far, low.any(axis=0), high.any(axis=0)):
        count = int(np.count_nonzero(some))
        if count < FEW or count <= SHARE * total:
            continue
        out = pixels[:, some][(low | high)[:, some]]
        numbers, times = np.unique(out, return_counts=True)
        value = numbers[np.argmax(times)]
        having = (pixels == value).any(axis=0) & some
        alike = int(np.count_nonzero(having))
        # A tail of bright snow has many values; what is clipped, saturated or fill has one.
        is_spike = alike >= FEW and alike > SHARE * total and 2 * alike >= count
        if some is far and not is_spike:
            value, having = np.median(out), some
        if some is far or is_spike:
            n = int(np.flatnonzero(having)[0])
            band = int(np.flatnonzero(low[:, n] | high[:, n])[0])
            if is_spike:
                band = int(np.flatnonzero(pixels[:, n] == value)[0])
            share = (alike if is_spike else count) / total
            at = divmod(int(where[n]), width)
            return Spike(float(value), share, bool(is_spike), band, at)
    return None


def check_image(
    values: NDArray[np.float32],
    what: str,
    bands: Sequence[str],
    remedy: Callable[[Spike], str],
    blanks: Sequence[float] = (),
) -> NDArray[np.bool_]:
    """Return where an image is reflectance in every band; refuse one that is none.

    `values`, `blanks`: As of `find_fill`.
    `what`: What it is, for the message.
    `remedy`: What to do about fill, for the message.
    """
    clear, spike = find_fill(values, blanks)
    if spike is not None and spike.unscaled:
        raise ReflectanceRangeError(
            f"{what}: median value {spike.value:g} is not surface reflectance (0 to 1). Give the "
            "product's scale, for instance factor = 1e-4."
        )
    if spike is not None:
        raise ReflectanceRangeError(f"{what}: {_told(spike, bands)} {remedy(spike)}")
    return clear


def check_scale(values: NDArray[np.float32], what: str) -> None:
    """Refuse images in which hardly a value is above the smallest that numbers can mean.

    `values`: Shape ``(..., y, x)``: of every band, as one of water alone is as dark.
    """
    down, right = (max(1, n // SAMPLED) for n in values.shape[-2:])
    some = values[..., ::down, ::right]
    finite = some[np.isfinite(some)]
    if finite.size >= ENOUGH and np.count_nonzero(finite >= SCALED_TWICE) < 0.01 * finite.size:
        raise ReflectanceRangeError(
            f"{what}: 99 % of the values are below {SCALED_TWICE:g} (median "
            f"{float(np.median(finite)):g}); they look scaled already. Expected the archive's "
            "digital numbers; for a folder of reflectance give factor = 1."
        )


def _told(spike: Spike, bands: Sequence[str]) -> str:
    """Say what is wrong with an image."""
    share = f"{100 * spike.share:.3g} % of its pixels"
    if spike.band is None:
        return f"{share} are {spike.value:g} in every band at once, as no measurement is."
    band, limits = bands[spike.band], f"{VALID_MIN:g} to {VALID_MAX:g}"
    if spike.alike:
        return f"{share} are {spike.value:g} in band {band}; reflectance is {limits}."
    return (
        f"{share} are far from reflectance, {limits}; the median of these is {spike.value:g} in "
        f"band {band}."
    )
