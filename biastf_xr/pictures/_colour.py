"""Reflectance as colours, and colours that everybody can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biastf_xr.errors import CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    Image = xr.Dataset | Mapping[str, NDArray[np.floating]]

TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("nir", "red", "green")

# Grey of a missing pixel.
MISSING = 0.85

# Colours of Okabe and Ito, distinct with every kind of colour vision.
BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
RED, PINK, YELLOW, BLACK = "#D55E00", "#CC79A7", "#F0E442", "#1A1A1A"

# Of every value of `status_flag`.
STATUS_COLOURS = {
    "observed": BLACK,
    "fused_two_sided": BLUE,
    "fused_before_only": SKY,
    "fused_after_only": GREEN,
    "fused_fallback": PINK,
    "fused_over_suspect": "#7F7F7F",
    "no_pair": ORANGE,
    "no_coarse": YELLOW,
    "failed": RED,
    "unwritten": "#D9D9D9",
}


def composite(
    image: Image, colours: Sequence[str], limits: tuple[float, float] | None = None
) -> NDArray[np.float64]:
    """Make a displayable image of one date.

    `image`: One date of a cube, dims ``(y, x)``, or arrays by band.
    `colours`: Bands for red, green and blue; with a single band the image is grey.
    `limits`: Reflectance shown as black and white; by default the 2nd and 98th percentile.
    Returned: Shape ``(y, x, 3)``, 0 to 1; missing pixels are light grey.
    """
    planes = np.stack([np.asarray(image[c], np.float64) for c in colours], axis=-1)
    low, high = limits or stretch(image, colours)
    shown = np.clip((planes - low) / (high - low), 0, 1)
    missing = ~np.isfinite(planes).all(axis=-1)
    shown[missing] = MISSING
    return shown


def stretch(image: Image, colours: Sequence[str]) -> tuple[float, float]:
    """Choose the reflectance range to display."""
    values = np.concatenate([np.asarray(image[c]).ravel() for c in colours])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (2, 98))
    return float(low), float(max(high, low + 1e-3))


def choose_colours(
    bands: Sequence[str], wanted: str | Sequence[str] | None = None
) -> tuple[str, ...]:
    """Choose three bands to show.

    `wanted`: True colour; false colour, where vegetation is red; bands for red, green and blue,
    or one for grey. By default false colour if there is near infrared.
    """
    if wanted is None:
        for colours in (FALSE_COLOUR, TRUE_COLOUR):
            if set(colours) <= set(bands):
                return colours
        return (bands[0],) * 3
    named = {"true": TRUE_COLOUR, "false": FALSE_COLOUR}
    asked = named.get(wanted, (wanted,)) if isinstance(wanted, str) else tuple(wanted)
    missing = sorted(set(asked) - set(bands))
    if missing or len(asked) not in (1, 3):
        raise CubeStructureError(
            f"colours {wanted!r} ask for the bands {list(asked)}; the cube has {list(bands)}. "
            "Expected 'true', 'false', three of its bands, or one."
        )
    return asked * 3 if len(asked) == 1 else asked


def describe_colours(colours: Sequence[str], limits: tuple[float, float]) -> str:
    """Return how reflectance is shown."""
    one = len(set(colours)) == 1
    bands = f"{colours[0]} in grey" if one else f"{', '.join(colours)} as red, green, blue"
    return f"{bands}; reflectance {limits[0]:.2f} to {limits[1]:.2f}"
