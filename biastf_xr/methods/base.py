"""The one contract of every fusion method: subclass `Method`, `TwoSided` or `LearnedMethod`.

Whatever drives a method (the lazy graph, a cluster run, a test) hands it the same `Block` and
takes the same `Prediction`; the method never learns who asked.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo

from biastf_xr._files import copy_file
from biastf_xr._summary import Summary, Told
from biastf_xr.brackets import BracketRule, usable_dates
from biastf_xr.errors import CheckpointError, MethodError
from biastf_xr.methods._learning import files
from biastf_xr.methods._options import bound, check_fields, option, options_of, with_new_names
from biastf_xr.methods._sides import combine
from biastf_xr.methods._values import (
    Base,
    Block,
    Float,
    Prediction,
    Prepared,
    SceneView,
    SideMemo,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sized

    import numpy as np
    from numpy.typing import NDArray

    from biastf_xr._series import Smoothing
    from biastf_xr.cube._guards import CubePair

__all__ = [
    "Base",
    "Block",
    "ByBand",
    "FitRun",
    "Float",
    "LearnedMethod",
    "Method",
    "ModelCard",
    "NotNegative",
    "Positive",
    "Prediction",
    "Prepared",
    "SceneView",
    "Share",
    "SideMemo",
    "TwoSided",
    "bound",
    "option",
]

# Fields of a learned method that are no options, and options that change no result that matters.
_MODEL, _RUNNING = {"checkpoint", "sha256", "card"}, {"device", "precision"}


class Method:
    """A fusion method.

    Subclass it as a frozen dataclass whose fields are the options (`option` states which values
    they take), describe each under "Attributes", and write `fuse`.  A line in
    `biastf_xr.methods`, or the entry point "biastf_xr.methods" of a package, makes its name known.

    Attributes
    ----------
    name : str
        Its name in `fuse`, `evaluate` and configuration files.
    halo : int
        Fine pixels around a tile whose coarse change, interpolated to them, influences its result.
    fine_halo : int
        Fine pixels around a tile whose base images influence its result: so much more is read.
    coarse_halo : int
        Coarse pixels around a tile that influence its result, beyond the interpolation's own.
    needs_two_sides : bool
        Whether it cannot predict from one base date alone.
    smoothing : Smoothing or None
        How the coarse series is smoothed for it; None for as observed.
    uncertain : bool
        Whether its predictions come with their `Prediction.sigma`.
    presets : dict of dict
        Named sets of options, each with what it is for under "Presets" of the docstring.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        """Check the options."""
        if is_dataclass(self):
            check_fields(self)

    @property
    def name(self) -> str:
        """Return the name."""
        raise NotImplementedError

    @property
    def halo(self) -> int:
        """Return the halo of the interpolated change."""
        return 0

    @property
    def fine_halo(self) -> int:
        """Return the halo of the base images."""
        return 0

    @property
    def coarse_halo(self) -> int:
        """Return the coarse halo."""
        return 0

    @property
    def needs_two_sides(self) -> bool:
        """Return whether both base dates are needed."""
        return False

    @property
    def smoothing(self) -> Smoothing | None:
        """Return how the coarse series is smoothed."""
        return None

    @property
    def uncertain(self) -> bool:
        """Return whether predictions come with a standard deviation."""
        return False

    def bind(self, pair: CubePair) -> Self:
        """Refuse cubes the method cannot work on, or return it as it works on them.

        Called before anything else: what depends on the grids, halos for instance, stands after.

        Parameters
        ----------
        pair : CubePair
            The cubes.

        Returns
        -------
        Method
            The method for these cubes.
        """
        return self

    def prepare(self, scene: SceneView) -> dict[np.datetime64, Prepared]:
        """Look at the whole scene once, before the first tile.

        Parameters
        ----------
        scene : SceneView
            The scene.

        Returns
        -------
        dict
            By base date, what `Base.prepared` will hold; empty where nothing is needed.
        """
        return {}

    @abstractmethod
    def fuse(self, block: Block) -> Prediction:
        """Predict one tile for all target dates of a bracket, NumPy in and NumPy out.

        Parameters
        ----------
        block : Block
            The inputs.

        Returns
        -------
        Prediction
            The result, without halo.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return what a reader of the fused cube should know of the method.

        Returns
        -------
        dict
            JSON-serialisable parameters: by default the options.
        """
        return options_of(self)


class TwoSided(Method):
    """A method that predicts from each base date alone and weights the two predictions.

    Subclasses write `side` and `weight`; `fuse` follows, and no base date is computed twice.
    """

    @abstractmethod
    def side(self, block: Block, base: Base) -> Float:
        """Predict from one base date.

        Parameters
        ----------
        block : Block
            The inputs.
        base : Base
            The base date, one of the block's.

        Returns
        -------
        ndarray of float32
            Shape ``(time, band, y, x)`` without halo; NaN where it cannot be made.
        """
        raise NotImplementedError

    @abstractmethod
    def weight(self, block: Block) -> Float:
        """Weight the earlier side; called only where both sides exist.

        Parameters
        ----------
        block : Block
            The inputs.

        Returns
        -------
        ndarray of float32
            Broadcastable to ``(time, band, y, x)``.
        """
        raise NotImplementedError

    def fuse(self, block: Block) -> Prediction:
        """Predict; see `Method.fuse`.

        Parameters
        ----------
        block : Block
            The inputs.

        Returns
        -------
        Prediction
            The weighted sum where both sides exist, the one that exists elsewhere.
        """
        before, after = (
            None
            if base is None
            else block.memo.recall(base.day, block.tile, partial(self.side, block, base))
            for base in (block.before, block.after)
        )
        if before is None or after is None:
            return combine(before, after, None)
        return combine(before, after, self.weight(block))


@dataclass(frozen=True, kw_only=True)
class FitRun:
    """How a fit runs, whatever the method.

    Attributes
    ----------
    base_rule : BracketRule
        Which scenes are clear enough.
    path : pathlib.Path or None
        File to write; None for a temporary folder of this process.
    client : distributed.Client or None
        On whose workers networks are fitted; None for threads of this process.
    progress : callable or None
        Called with a note, how much is done, and of how much.
    """

    base_rule: BracketRule = BracketRule()
    path: str | Path | None = None
    client: Any = None
    progress: Callable[[str, int, int], None] | None = None


Number = TypeVar("Number")


def _one_per_band(value: Sized, info: ValidationInfo) -> Any:
    bands = info.data.get("bands", value)
    if len(value) != len(bands):
        raise ValueError(f"{len(value)} numbers for {len(bands)} bands")
    return value


def _all_different(value: tuple[str, ...]) -> tuple[str, ...]:
    if len({*value}) != len(value):
        raise ValueError("some are named twice")
    return value


# Types of a card's fields that say which numbers they take.
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ByBand = Annotated[tuple[Number, ...], AfterValidator(_one_per_band)]
Band = Annotated[str, Field(min_length=1, max_length=100)]
Bands = Annotated[tuple[Band, ...], Field(min_length=1), AfterValidator(_all_different)]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What made a fitted model; subclasses add what was learned, and the `days` it has seen.

    A file is a stranger's: when it is read, every field must be of the type that is declared here
    and in the subclass, and every number finite, or the model is refused.  `Positive`,
    `NotNegative`, `Share` and `ByBand` say more of numbers than ``float`` does.

    Attributes
    ----------
    bands : tuple of str
        Bands it holds for.
    ratio : float
        Coarse over fine pixel size.
    method : str
        Name of the method.
    versions : dict of str
        Versions of the libraries.
    format : int
        Version of this card.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False
    )

    bands: Bands
    ratio: Positive
    method: str
    versions: dict[str, str]
    format: Annotated[int, Field(ge=1)] = 1

    @property
    def arrays(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the arrays that the file holds beside the card, by name."""
        return {}


class LearnedMethod(Method, Told):
    """A method that is fitted: a reference to its file, small enough to travel to any worker.

    Subclasses are frozen dataclasses with the fields `checkpoint`, `sha256`, `card` and the
    options of predicting; they write `fit` and what `Method` or `TwoSided` asks for.  A line among
    the learned methods in `biastf_xr.methods`, or the entry point "biastf_xr.learned_methods" of
    a package, makes the name known.

    Attributes
    ----------
    checkpoint : pathlib.Path
        The model.
    sha256 : str
        Its hash.
    card : ModelCard
        What made it; `bands`, `ratio` and `days`, as 2021-04-01 and ascending, say what it was
        fitted on.
    options : type
        Dataclass of the options of the fit.
    cards : type
        Dataclass of its cards.
    stored : tuple of str
        Options of the fit, kept in ``card.settings``, that predictions follow too.
    at_once : bool
        Whether a fit takes seconds: `biastf_xr.fuse` then fits it by itself.
    """

    checkpoint: Path
    sha256: str
    card: Any

    options: ClassVar[type]
    cards: ClassVar[type]
    stored: ClassVar[tuple[str, ...]] = ()
    at_once: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, pair: CubePair, options: Any, run: FitRun) -> Self:
        """Fit on the clear dates of two cubes; end with `write`.

        Parameters
        ----------
        pair : CubePair
            The cubes.
        options : object
            An instance of `options`.
        run : FitRun
            How it runs.

        Returns
        -------
        LearnedMethod
            The fitted method.
        """
        raise NotImplementedError

    @classmethod
    def training_days(
        cls, pair: CubePair, options: Any, base_rule: BracketRule
    ) -> NDArray[np.datetime64]:
        """Return the days that a fit would learn from: by default those clear in both cubes.

        Parameters
        ----------
        pair : CubePair
            The cubes.
        options : object
            An instance of `options`.
        base_rule : BracketRule
            Which scenes are clear enough.

        Returns
        -------
        ndarray of datetime64[D]
            Ascending.
        """
        days = usable_dates(pair, base_rule)
        known: NDArray[np.datetime64] = days[pair.paired(days)]
        return known

    @classmethod
    def write(cls, run: FitRun, card: Any, arrays: Mapping[str, Any] | None = None) -> Self:
        """Write a model.

        Parameters
        ----------
        run : FitRun
            With the file to write.
        card : ModelCard
            What made it.
        arrays : dict of ndarray, optional
            What was learned, where it is more than a card should hold; of the shapes that
            `ModelCard.arrays` states.

        Returns
        -------
        LearnedMethod
            The fitted method.
        """
        path = files.target(run.path, card.method)
        files.write_model(path, card, arrays or {})
        return cls.load(path)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Self:
        """Load a fitted method.

        Parameters
        ----------
        path : str or pathlib.Path
            The file.
        **options
            Options of predicting; ``device`` and ``precision`` mean nothing to methods without
            networks.

        Returns
        -------
        LearnedMethod
            The method.
        """
        path = Path(path).resolve()
        card, sha256 = files.read_card(path, cls.cards)
        if card.method != cls.name:
            raise CheckpointError(
                f"{path} is a model of {card.method!r}, not of {cls.name!r}. Load it with "
                "biastf_xr.load_method(path)."
            )
        own = {f.name for f in fields(cls)} - _MODEL - {"name"}  # type: ignore[arg-type]
        options = with_new_names(cls, options, f"a model of {card.method!r}")
        free = {k: v for k, v in options.items() if k in own or k not in _RUNNING}
        if unknown := sorted(set(free) - own):
            raise MethodError(
                f"a model of {card.method!r} has no option {', '.join(unknown)}; it knows "
                f"{sorted(own)}."
            )
        names = {f.name: f.metadata.get("was") for f in fields(cls)}  # type: ignore[arg-type]
        read = {k: card.settings.get(k, card.settings.get(names[k])) for k in cls.stored}
        kept = {k: value for k, value in read.items() if value is not None}
        with files.blaming(path):  # what the card says of options is the file's fault
            made = cls(path, sha256, card, **kept)  # type: ignore[call-arg]
        return replace(made, **free)  # type: ignore[type-var]

    def save(self, path: str | Path) -> Self:
        """Copy the model to a place of your own, with the readable copy of its card.

        Parameters
        ----------
        path : str or pathlib.Path
            The file to write.

        Returns
        -------
        LearnedMethod
            The method that refers to it.
        """
        path = Path(path).resolve()
        copy_file(self.checkpoint, path)
        if (readable := files.card_path(self.checkpoint)).exists():
            copy_file(readable, files.card_path(path))
        moved: Self = replace(self, checkpoint=path)  # type: ignore[type-var]
        return moved

    def bind(self, pair: CubePair) -> Self:
        """Refuse cubes of other bands or another ratio of pixels; see `Method.bind`.

        Parameters
        ----------
        pair : CubePair
            The cubes.

        Returns
        -------
        LearnedMethod
            The method itself.
        """
        missing = [b for b in pair.bands if b not in self.card.bands]
        if missing:
            raise CheckpointError(
                f"the model has learned nothing of {missing}; it was fitted on "
                f"{list(self.card.bands)}. Select those bands or fit again."
            )
        files.check_ratio("the model", self.card.ratio, pair.alignment.ratio)
        return self

    def describe(self) -> dict[str, Any]:
        """Return its options, and of the model hash and dates; see `Method.describe`.

        Returns
        -------
        dict
            JSON-serialisable parameters.
        """
        own = {k: v for k, v in options_of(self).items() if k not in _MODEL | _RUNNING}
        return own | {"checkpoint_sha256": self.sha256, "trained_on": list(self.card.days)}

    def remarks(self) -> list[str]:
        """Return what a user should know right after the fit.

        Returns
        -------
        list of str
            Sentences.
        """
        return []

    def _summary(self) -> Summary:
        return self.summarise()

    def summarise(self) -> Summary:
        """Return what there is to know of the model.

        Returns
        -------
        Summary
            Facts, tables and notes.
        """
        days = self.card.days
        seen = f"{len(days)} dates: {', '.join(days[:6])}{' ...' if len(days) > 6 else ''}"
        facts = {
            "bands": ", ".join(self.card.bands),
            "fitted on": seen,
            "coarse over fine pixel": f"{self.card.ratio:.2f}",
            "checkpoint": self.sha256[:12],
        }
        return Summary(f"Fitted method {self.card.method}", facts)
