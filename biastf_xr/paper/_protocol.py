"""What the paper did on its own data sets, as far as it is known, and what is a reading of it.

References
----------
Li Y., Li J., He L., Chen J., Plaza A., Sci. China Inf. Sci. 63, 140302, 2020,
doi 10.1007/s11432-019-2805-y.
Emelyanova I.V. et al., Remote Sens. Environ. 133, 2013, doi 10.1016/j.rse.2013.02.007 (the sets).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from biastf_xr.errors import ConfigError
from biastf_xr.methods import LEARNED, METHODS
from biastf_xr.paper._inputs import CoarsePixels
from biastf_xr.paper._published import TARGETS, check_dataset
from biastf_xr.paper.benchmark_sets import known_set

if TYPE_CHECKING:
    from collections.abc import Mapping

Training = Literal["flanking", "earlier", "others"]

# Rows and columns that authors cut out of the sets to be rid of fill at the borders: first row,
# first column, rows, columns.
CROPS = {"cia": (20, 100, 1792, 1280), "lgc": (40, 32, 2560, 3072)}

READINGS = (
    "Dates: ordinals of pairs are counted along the dates of the download.",
    "Columns: the published order ESTARFM, FSDAF, STFDCNN is inferred; BiaSTF is certain.",
    "Base dates: the pairs before and after the target; of one-pair methods the one before.",
    "Training: a learned method is fitted again for every target; on what is an option.",
    "Pixels: fill (negative numbers) is left out, not set to 0; the paper's extent is unknown.",
    "MODIS: averaged to its own 500 m pixels, or as delivered on the 25 m grid, as an option.",
    "ERGAS: with h/l = 1/20 (25 m, 500 m). SSIM: one window, the whole image, data range 1.",
    "RMSE, CC and SSIM: the mean of the values of the bands.",
)


@dataclass(frozen=True, kw_only=True)
class PaperProtocol:
    """What to predict, from what, with which methods.

    `methods`: Names; all by default.
    `targets`: Ordinals of the pairs to predict, from 1; those of the paper by default.
    `training`: Pairs that a learned method is fitted on: the two beside the target, all before
    it, or all but the target. Not published; the default is the reading that needs no more than
    the other methods have.
    `one_pair`: Methods that use the earlier pair only. Not published; this reading of
    FSDAF follows its results on the dates around the flood.
    `coarse`: MODIS at its own pixel size, or on the Landsat grid as delivered.
    `crop`: Whether to cut out the part that other authors use; the whole frame by default.
    `ratio`: Fine over coarse pixel size in ERGAS. Not published; 25 m over 500 m fits best.
    `options`: Options by method: of `get_method`, or of `fit` for a learned one.
    """

    dataset: str
    methods: tuple[str, ...] = METHODS
    targets: tuple[int, ...] = ()
    training: Training = "flanking"
    one_pair: tuple[str, ...] = ("fsdaf",)
    coarse: CoarsePixels = "native"
    crop: bool = False
    ratio: float = 1 / 20
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_dataset(self.dataset)
        if not self.targets:
            object.__setattr__(self, "targets", TARGETS[self.dataset])
        for name, value, known in (
            ("training", self.training, get_args(Training)),
            ("coarse", self.coarse, get_args(CoarsePixels)),
        ):
            if value not in known:
                raise ConfigError(f"{name} is {value!r}; expected one of {list(known)}.")
        if not self.methods:
            raise ConfigError(f"no method to run; expected some of {list(METHODS)}.")
        for name in (*self.methods, *self.options, *self.one_pair):
            if name not in METHODS:
                raise ConfigError(f"no method {name!r}; expected some of {list(METHODS)}.")
        count = len(known_set(self.dataset).dates)
        for target in self.targets:
            if not 1 < target < count:
                raise ConfigError(
                    f"target {target} of {self.dataset} has not a pair on both sides; expected 2 "
                    f"to {count - 1}, the paper has {TARGETS[self.dataset]}."
                )

    def day(self, pair: int) -> str:
        """Return the date of a pair."""
        return known_set(self.dataset).dates[pair - 1]

    def bases(self, target: int, method: str) -> tuple[str, ...]:
        """Return the dates whose fine images a method may use for a target."""
        pairs = (target - 1,) if method in self.one_pair else (target - 1, target + 1)
        return tuple(self.day(pair) for pair in pairs)

    def trained_on(self, target: int) -> tuple[str, ...]:
        """Return the dates that a learned method is fitted on for a target.

        `target`: Ordinal of the target, which is never among them.
        """
        days = known_set(self.dataset).dates
        if self.training == "earlier":
            return tuple(days[: target - 1])
        if self.training == "others":
            return tuple(d for d in days if d != self.day(target))
        return self.day(target - 1), self.day(target + 1)

    def needed(self, target: int, method: str) -> tuple[str, ...]:
        """Return the dates whose images of both sensors a prediction and its score need."""
        days = {self.day(pair) for pair in (target - 1, target, target + 1)}
        return tuple(sorted(days | set(self.trained_on(target) if method in LEARNED else ())))


@dataclass(frozen=True)
class Cell:
    """One method on one target.

    `pair`: Ordinal of the target.
    """

    pair: int
    method: str

    def __str__(self) -> str:
        return f"{self.pair:02d}_{self.method}"
