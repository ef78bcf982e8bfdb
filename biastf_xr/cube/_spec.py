"""What a cube is: the one description that templates, guards, readers and writers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from biastf_xr.errors import ConfigError, CubeStructureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from odc.geo.geobox import GeoBox

# Called as work goes on, with what was done last, the number done and the number in all.
Progress = Callable[[str, int, int], None]

CubeKind = Literal["fine", "coarse", "fused"]

# The band names that products map to, in spectral order.
BAND_ORDER = ("blue", "green", "red", "nir", "swir1", "swir2")

STRUCTURE_VERSION = 2

# What else a cube has beside its layers: coordinates, and the groups of its ledgers.
BESIDE = ("time", "y", "x", "spatial_ref", "clear_fraction", "scenes", "pair_flag",
          "suspect_fraction", "before", "after", "ingest", "fusion", "pair_quality")  # fmt: skip

# Attribute of a cube of composites: the first and last day that an image stands for, counted from
# its own.
SPAN = "biastf_span"

# The most bytes that a shard may have, unpacked: 8192 x 8192 pixels of float32.
SHARD_BYTES = 1 << 28

# Slots of one-dimensional arrays along time in a chunk: they grow in place, day by day.
TIME_CHUNK = 4096
TIME_UNITS = "seconds since 1970-01-01"

# Values of `status_flag` in a fused cube, CF flag_values and flag_meanings.
STATUS: dict[str, int] = {
    "unwritten": 0,
    "fused_two_sided": 1,
    "fused_before_only": 2,
    "fused_after_only": 3,
    "observed": 4,
    "no_pair": 5,
    "no_coarse": 6,
    "failed": 7,
    "fused_fallback": 8,
    "fused_over_suspect": 9,
}

# Those that come with a value in the bands.
MADE = tuple(name for name in STATUS if name.startswith(("observed", "fused")))

# Values of `screen` in a fine cube: what the other dates say of a clear observation.
SCREEN: dict[str, int] = {
    "not_screened": 0,
    "agrees": 1,
    "suspected_cloud": 2,
    "suspected_shadow": 3,
    "suspected_event": 4,
    "unconfirmed": 5,
}

# From this value on an observation is left out.
SUSPECT = SCREEN["suspected_cloud"]

SCREEN_ATTRS: dict[str, Any] = {
    "long_name": "what the other dates say of a clear observation",
    "flag_values": list(SCREEN.values()),
    "flag_meanings": " ".join(SCREEN),
    "comment": f"fusion leaves out what has {SUSPECT} or more",
}

# Values of `pair_flag`, along the days of a fine cube.
PAIR_FLAG: dict[str, int] = {
    "unchecked": 0,
    "good": 1,
    "shifted": 2,
    "low_correlation": 3,
    "too_few_pixels": 4,
}

# CF names of reflectance, and of its uncertainty.
REFLECTANCE, STANDARD_ERROR = "surface_bidirectional_reflectance", "standard_error"

# Reflectance that a cube may hold: the valid range of Landsat Collection 2 Level 2.
VALID_MIN, VALID_MAX = -0.2, 1.6

# `coarse_gap` where no coarse observation was within reach.
NO_COARSE_GAP = 255


class Variable(NamedTuple):
    """A stored variable: its attributes, and its value where nothing was written, in its type."""

    attrs: dict[str, Any]
    fill: Any


@dataclass(frozen=True)
class Layout:
    """Chunk and shard sizes of a stored cube.

    Attributes
    ----------
    time, y, x : int
        Shape of a chunk: the unit of reading and compression.
    shard_y, shard_x : int
        Rows and columns of a shard: the unit of writing, a whole multiple of the chunk.  A shard
        spans `time` dates.
    """

    time: int
    y: int
    x: int
    shard_y: int
    shard_x: int

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Return the chunk shape."""
        return self.time, self.y, self.x

    @property
    def shards(self) -> tuple[int, int, int]:
        """Return the shard shape."""
        return self.time, self.shard_y, self.shard_x

    def tiles(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return how many rows and columns of shards cover a cube.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns of its pixels.

        Returns
        -------
        tuple of int
            Rows and columns of shards.
        """
        return -(-shape[0] // self.shard_y), -(-shape[1] // self.shard_x)

    @classmethod
    def build(
        cls, kind: CubeKind, shape: tuple[int, int], *, chunk: int = 256, shard: int = 1024
    ) -> Layout:
        """Choose a layout for a cube.

        Fine and fused cubes hold one date a shard, so that a date is written as whole files.
        Coarse cubes are hundreds of times smaller and read as series: 16 dates a chunk, in shards
        of at most 512 pixels, so that those of six bands fit in memory.

        Parameters
        ----------
        kind : {"fine", "coarse", "fused"}
            What the cube holds.
        shape : tuple of int
            Rows and columns.
        chunk, shard : int
            Largest chunk and shard size in pixels; smaller cubes get smaller ones.

        Returns
        -------
        Layout
            The layout.
        """
        if kind == "coarse":
            chunk, shard, time = min(chunk, 128), min(shard, 512), 16
        else:
            time = 1
        sizes = [min(chunk, shard, n) for n in shape]
        shards = [
            min(shard // c, -(-n // c)) * c if c < n else c
            for n, c in zip(shape, sizes, strict=True)
        ]
        if time * shards[0] * shards[1] * 4 > SHARD_BYTES:
            raise ConfigError(
                f"shards of {time} days and {shards[0]} x {shards[1]} pixels would have more than "
                f"{SHARD_BYTES} bytes. State a smaller one, for instance `fuse.tile = 1024`."
            )
        return cls(time, sizes[0], sizes[1], shards[0], shards[1])


@dataclass(frozen=True)
class CubeSpec:
    """Structure of a cube.

    Attributes
    ----------
    kind : {"fine", "coarse", "fused"}
        What the cube holds.
    bands : tuple of str
        Band names, one data variable each, float32 surface reflectance, NaN where missing.
    geobox : odc.geo.geobox.GeoBox
        The grid.
    layout : Layout
        Chunks and shards.
    attrs : dict
        Attributes of the whole cube beyond those every cube has.
    extras : mapping of str to dict
        Further uint8 layers of fine and coarse cubes, as `biastf_xr.sources.base.Product.extras`.
    uncertain : bool
        Whether a fused cube has the standard deviation of the error of every band.
    """

    kind: CubeKind
    bands: tuple[str, ...]
    geobox: GeoBox
    layout: Layout
    attrs: dict[str, Any] = field(default_factory=dict)
    extras: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    uncertain: bool = False

    def __post_init__(self) -> None:
        taken = {*self.masks, *self.sigmas, *BESIDE}
        for band in self.bands:
            lost = not band.isprintable() or {"/", "\\"} & {*band} or band[:1] in ("", ".")
            if lost or band in taken or self.bands.count(band) > 1:
                raise CubeStructureError(
                    f"a band is named {band!r}; expected a name without slashes and control "
                    f"characters that nothing else in the cube has, as {', '.join(sorted(taken))}. "
                    "Name it otherwise, in the option `layers` of the sensor."
                )

    @property
    def sigmas(self) -> dict[str, dict[str, Any]]:
        """Return the float32 companions of the bands, with their attributes; NaN where missing."""
        if not self.uncertain:
            return {}
        return {
            sigma_of(band): {
                "long_name": f"standard deviation of the error of {band} surface reflectance; "
                "0 where observed",
                "standard_name": f"{REFLECTANCE} {STANDARD_ERROR}",
                "units": "1",
            }
            for band in self.bands
        }

    @property
    def variables(self) -> dict[str, Variable]:
        """Return every variable along time: bands, their companions, masks and flags."""
        missing, found = np.float32(np.nan), {}
        for band in self.bands:
            own = [*self.masks, *([sigma_of(band)] if self.uncertain else [])]
            found[band] = Variable(band_attrs(band, own), missing)
        for name, attrs in self.sigmas.items():
            found[name] = Variable(attrs, missing)
        for name, attrs in self.masks.items():
            shown = {k: v for k, v in attrs.items() if not k.startswith("_")}
            kind = np.dtype(attrs.get("_dtype", "uint8")).type
            found[name] = Variable(shown, kind(attrs.get("_fill", 0)))
        return found

    @property
    def shape(self) -> tuple[int, int]:
        """Return the rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    @property
    def masks(self) -> dict[str, dict[str, Any]]:
        """Return the integer companions of the bands, with their attributes.

        Keys with an underscore are for the encoding: ``_fill`` is the value where nothing was
        written (0), ``_dtype`` the type (uint8).
        """
        if self.kind == "fused":
            values = list(STATUS.values())
            return {
                "status_flag": {
                    "long_name": "how the pixel was made",
                    "flag_values": values,
                    "flag_meanings": " ".join(STATUS),
                },
                "coarse_gap": {
                    "long_name": "days to the nearest clear coarse observation used; "
                    f"{NO_COARSE_GAP} where there is none",
                    "units": "days",
                },
                **{
                    f"base_{side}": {
                        "long_name": f"days to the fine scene {side} that the pixel was made from; "
                        "0 where there is none",
                        "units": "days",
                        "_dtype": "uint16",
                    }
                    for side in ("before", "after")
                },
            }
        return {
            "clear": {
                "long_name": "clear observation in every band",
                "flag_values": [0, 1],
                "flag_meanings": "missing_or_masked clear",
            },
            "source": {
                "long_name": "which of the day's scenes the pixel is from",
                "comment": "n is the n-th scene in the coordinate `scenes`; 0 is none",
            },
            **({"screen": SCREEN_ATTRS} if self.kind == "fine" else {}),
            **self.extras,
        }


def band_attrs(band: str, companions: list[str]) -> dict[str, Any]:
    """Return the CF attributes of a band variable."""
    return {
        "long_name": f"{band} surface reflectance",
        "standard_name": REFLECTANCE,
        "units": "1",
        "valid_min": VALID_MIN,
        "valid_max": VALID_MAX,
        "ancillary_variables": " ".join(companions),
    }


def sigma_of(band: str) -> str:
    """Return the name of the variable with the standard deviation of a band's error."""
    return f"{band}_sigma"


def sort_bands(names: Iterable[str]) -> tuple[str, ...]:
    """Put bands in their one order: by colour in spectral order, then the others by name."""
    known = {band: i for i, band in enumerate(BAND_ORDER)}
    return tuple(sorted(names, key=lambda b: (known.get(b, len(known)), b)))
