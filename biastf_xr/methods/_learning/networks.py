"""Methods of networks: what their fits share around the training, and the models they leave."""

from __future__ import annotations

import datetime as dt
import time
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from biastf_xr._files import remove, write_text
from biastf_xr._outside import json_text
from biastf_xr.errors import CheckpointError, MethodError
from biastf_xr.grid import describe
from biastf_xr.methods._learning import files
from biastf_xr.methods._learning.card import (
    Card,
    Data,
    ErrorLaw,
    Precision,
    Start,
    library_versions,
    read_weights,
)
from biastf_xr.methods._learning.rules import SampleRule, TrainRule
from biastf_xr.methods._options import check_fields
from biastf_xr.methods._shared import shared
from biastf_xr.methods.base import LearnedMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from biastf_xr._summary import Summary
    from biastf_xr.brackets import BracketRule
    from biastf_xr.cube._guards import CubePair
    from biastf_xr.methods._learning.loop import FitJob, FittedNetwork, TrainProgress
    from biastf_xr.methods._learning.patches import SampleSet
    from biastf_xr.methods.base import FitRun

Channels = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of every fit of networks; a method adds its own.

    Attributes
    ----------
    samples : SampleRule
        Which dates are learned from, and how patches are drawn; a table of its own.
    train : TrainRule
        How the networks are trained; a table of its own.
    """

    samples: SampleRule = SampleRule()
    train: TrainRule = TrainRule()
    seed: int = shared("seed")
    start: str | Path | None = shared("start")
    resume: bool = shared("resume")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Begin:
    """What a network begins with: its scales, and the weights of a warm start.

    `scales`: Of what goes in and of what comes out, reflectance.
    `channels`: Offset and scale of every image that goes in, where it is not the change alone.
    `weights`: By name of the parameter; none where it begins without.
    """

    scales: tuple[float, float]
    channels: Channels = field(default_factory=list)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def standards(self) -> Channels:
        """Return offset and scale of every image that goes in."""
        return self.channels or [(0.0, self.scales[0])]


class NetworkMethod(LearnedMethod):
    """A fitted method that runs networks.

    `device`: Where they run; looked for only when the first tile is fused.
    `precision`: Numbers of the convolutions.
    """

    card: Card
    device: str
    precision: Precision
    cards: ClassVar[type] = Card

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision == "fp16" and self.device == "cpu":
            raise MethodError(
                "precision 'fp16' runs on CUDA devices only, and device is 'cpu'. Choose "
                "precision='bf16', or device='cuda'."
            )
        layers = {name: self.card.layers(name).channels for name in self.card.scales}
        found = {name: (channels[0], channels[-1]) for name, channels in layers.items()}
        if found != (wanted := self.wiring()):
            raise MethodError(
                f"{self.checkpoint} has networks with so many images in and out: {found}; its "
                f"bands {list(self.card.bands)} need {wanted}. Fit the model again."
            )

    def wiring(self) -> dict[str, tuple[int, int]]:
        """Return how many images go into every network that predictions need, and come out."""
        raise NotImplementedError

    @classmethod
    def training_days(
        cls, pair: CubePair, options: NetworkOptions, base_rule: BracketRule
    ) -> NDArray[np.datetime64]:
        """Return the days that a fit would learn from."""
        from biastf_xr.methods._learning.dates import training_days

        return np.array(training_days(pair, options.samples, base_rule), "datetime64[D]")

    def networks(self) -> dict[str, Any]:
        """Return the networks, laid out for the device; loaded once per process."""
        from biastf_xr.methods._learning.inference import load_networks

        return load_networks(str(self.checkpoint), self.sha256, self.device, self.precision)

    def bind(self, pair: CubePair) -> Self:
        """Refuse cubes the model was not made for; see `Method.bind`."""
        super().bind(pair)
        if self.card.all_bands and len(pair.bands) < len(self.card.bands):
            raise CheckpointError(
                f"the model looks at all of {list(self.card.bands)} at once, and the cubes have "
                f"only {list(pair.bands)}. Add the others, or fit again."
            )
        return self

    def describe(self) -> dict[str, Any]:
        """Describe; see `Method.describe`."""
        return super().describe() | {"precision": self.precision}

    def plot_history(self, path: str | Path) -> Path:
        """Draw the losses of the fit, network by network."""
        from biastf_xr.methods._learning.curves import plot_history

        return plot_history(self.card.history, Path(path), f"{self.name}: loss")

    def summarise(self) -> Summary:
        """Return what networks were fitted, on what, and how well."""
        import pandas as pd

        summary, card = super().summarise(), self.card
        rows = {
            name: {
                "epochs": len(losses),
                "training loss": float(losses[-1][0]) if losses else np.nan,
                "least held-out loss": float(min(held for _, held in losses)) if losses else np.nan,
            }
            for name, losses in card.history.items()
        }
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("network")
        filters, kernels = ("-".join(map(str, n)) for n in (card.filters, card.kernels))
        about = {name: getattr(self, name) for name in (*self.stored, "precision", "device")}
        summary.facts.update({
            "pairs of dates": len(card.pairs),
            "network": f"filters {filters}, kernels {kernels}, input {card.inputs}",
            "settings": ", ".join(f"{k} {v}" for k, v in about.items()),
            **({"refined from": card.start.get("sha256", "")[:12]} if card.start else {}),
        })  # fmt: skip
        notes = tuple(f"{name}: {note}" for name, note in card.notes.items())
        tables = {"loss by network; 1 is nothing learned": table}
        return type(summary)(summary.title, summary.facts, tables, notes)


def write_networks(path: Path, card: Card, weights: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a model of networks; return its hash.

    `weights`: By network, the parameters by name.
    """
    arrays = {
        f"{network}.{name}": np.ascontiguousarray(value)
        for network, parameters in weights.items()
        for name, value in parameters.items()
    }
    return files.write_model(path, card, arrays)


class NetworkFit:
    """A fit of networks under way: what it begins with and where it writes.

    `shape`: Fields of the card that a warm start must share, for instance ``filters``.
    """

    def __init__(
        self,
        method: type[NetworkMethod],
        pair: CubePair,
        options: NetworkOptions,
        run: FitRun,
        shape: dict[str, Any],
    ) -> None:
        self.method, self.pair, self.options, self.run = method, pair, options, run
        self.shape, self.data = shape, _describe_data(pair)
        self.started = time.monotonic()
        self.begun: dict[str, Begin] = {}
        self.start = None if options.start is None else self._read_start(Path(options.start))
        self.path = files.target(run.path, str(method.name))
        self.states = self.path.with_name(f".{self.path.name}.fit")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the state of the fit beside its file until it is complete."""
        if not self.options.resume:
            remove(self.states)
        yield
        remove(self.states)

    def begin(self, name: str, fresh: Callable[[], Begin]) -> Begin:
        """Return what a network begins with: that of the model the fit starts from, or afresh."""
        if self.start is None:
            begin = fresh()
        else:
            card, weights = self.start.card, self.start.weights[name]
            begin = Begin(card.scales[name], card.channels.get(name, []), weights)
        self.begun[name] = begin
        return begin

    def job_options(self, name: str) -> dict[str, Any]:
        """Return what the job of a network that has begun has whatever the method."""
        kept = self.options.resume and self.run.path
        return {
            "name": name,
            "rule": self.options.train,
            "seed": self.options.seed + 1000 * [*self.begun].index(name),
            "start": self.begun[name].weights or None,
            "state": self.states / f"{name}.pt" if kept else None,
        }

    def train(self, jobs: Sequence[FitJob]) -> dict[str, FittedNetwork]:
        """Train networks, none of which waits for another."""
        from biastf_xr.methods._learning.pool import run_jobs

        return run_jobs(jobs, client=self.run.client, progress=self._progress(len(jobs)))

    def write(
        self, models: Mapping[str, FittedNetwork], drawn: SampleSet, *,
        laws: Mapping[str, ErrorLaw] | None = None, **settings: Any,
    ) -> Any:  # fmt: skip
        """Write the model, and beside it a copy of its card to read; return the method.

        How long the fit took is in the copy alone: the same fit gives the same bytes.

        `settings`: What predictions need beside the options that the method stores.
        """
        options, pair = self.options, self.pair
        card = Card(
            method=str(self.method.name),
            bands=pair.bands,
            ratio=pair.alignment.ratio,
            resolution=float(pair.geobox.affine.a),
            **({"bias": True} | self.shape),
            scales={name: begin.scales for name, begin in self.begun.items()},
            channels={n: begin.channels for n, begin in self.begun.items() if begin.channels},
            laws=dict(laws or {}),
            pairs=drawn.pairs,
            settings={name: getattr(options, name) for name in self.method.stored}
            | settings
            | {
                "samples": _plain(options.samples),
                "train": _plain(options.train),
                "base_rule": _plain(self.run.base_rule),
            },
            history={name: m.history for name, m in models.items()},
            seed=options.seed,
            versions=library_versions(),
            data={
                **self.data,
                "samples": len(drawn.held_out),
                "held_out": int(drawn.held_out.sum()),
                "held_out_days": tuple(drawn.held_days),
                "samples_sha256": drawn.sha256(),
            },
            start=self.start.about if self.start else {},
            notes={name: _note_constant(name) for name, m in models.items() if m.constant},
        )
        sha256 = write_networks(self.path, card, {name: m.weights for name, m in models.items()})
        took = {"sha256": sha256, "seconds": round(time.monotonic() - self.started, 1)}
        text = json_text(took | card.__dict__, indent=1)
        write_text(files.card_path(self.path), text)
        return self.method.load(self.path, device=options.train.device)

    def _progress(self, count: int) -> TrainProgress | None:
        """Return what turns the epochs of every network into how much of the fit is done."""
        progress = self.run.progress
        if progress is None:
            return None
        done: dict[str, int] = {}

        def report(name: str, epoch: int, fitted: float, held: float) -> None:
            done[name] = epoch
            note = f"{name}: loss {fitted:.2f}, held out {held:.2f} (1 is nothing learned)"
            progress(note, sum(done.values()), count * self.options.train.epochs)

        return report

    def _read_start(self, path: Path) -> _Start:
        """Read the model that the fit begins with."""
        path = path.resolve()
        model = self.method.load(path)
        card, sha256 = model.card, model.sha256
        expected = {"bands": tuple(self.pair.bands)} | self.shape
        other = {k: (getattr(card, k), v) for k, v in expected.items() if getattr(card, k) != v}
        if other:
            says = "; ".join(f"{k} {found!r}, expected {v!r}" for k, (found, v) in other.items())
            raise CheckpointError(
                f"{path} cannot be refined here: {says}. Fit with its settings, or without a start."
            )
        try:
            files.check_ratio(str(path), card.ratio, self.pair.alignment.ratio)
        except CheckpointError as error:
            raise CheckpointError(f"{error} Or fit without a start.") from error
        _, states = read_weights(str(path), sha256)
        weights = {
            network: {name: value.numpy() for name, value in state.items()}
            for network, state in states.items()
        }
        days = () if _apart(card.data.get("extent"), self.data["extent"]) else card.days
        return _Start(card, weights, {"sha256": sha256, "days": days, "data": card.data})


@dataclass(frozen=True)
class _Start:
    """A model to begin with.

    `weights`: By network, the parameters as arrays.
    `about`: What the new card says of it.
    """

    card: Card
    weights: dict[str, dict[str, Any]]
    about: Start


def _describe_data(pair: CubePair) -> Data:
    """Describe the cubes that a model is fitted on."""
    box = pair.geobox.geographic_extent.boundingbox
    days, coarse = pair.fine_days, pair.coarse_days
    return {
        "grid": describe(pair.geobox),
        "extent": (
            round(float(box.left), 6),
            round(float(box.bottom), 6),
            round(float(box.right), 6),
            round(float(box.top), 6),
        ),
        "fine_days": (str(days[0]), str(days[-1]), len(days)),
        "coarse_days": (str(coarse[0]), str(coarse[-1]), len(coarse)),
    }


def _note_constant(name: str) -> str:
    """Warn of a network that had nothing to learn.

    It is left at its start, so that the other bands can be used: without change there is no bias
    of change, and the prediction is that of the method without network.
    """
    note = "constant over all samples: nothing learned"
    warnings.warn(
        f"network {name} is {note}; it is predicted as without a network. Check the band's values, "
        "or leave it out of the cubes.",
        stacklevel=3,
    )
    return note


def _apart(a: Sequence[float] | None, b: Sequence[float]) -> bool:
    """Return whether two extents have no point in common; False where one is not known."""
    if a is None:
        return False
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def _plain(rule: Any) -> dict[str, Any]:
    """Return the fields of a rule as JSON has them."""
    return {k: str(v) if isinstance(v, dt.date) else v for k, v in asdict(rule).items()}
