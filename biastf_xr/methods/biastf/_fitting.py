"""What every fit does around its training: the state it keeps, the card's data, a warm start."""

from __future__ import annotations

import atexit
import datetime as dt
import json
import shutil
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from biastf_xr._summary import Summary, Told
from biastf_xr.errors import CheckpointError, MethodError
from biastf_xr.grid import describe
from biastf_xr.methods._model_summary import summarise_networks
from biastf_xr.methods.biastf._checkpoint import (
    PRECISIONS,
    Card,
    read_card,
    read_weights,
    write_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from biastf_xr.cube._guards import CubePair
    from biastf_xr.methods.biastf._checkpoint import Fitted

# A model may serve another grid if its ratio of pixel sizes differs by no more than this.
RATIO_TOLERANCE = 0.05

# What a fitted method tells of itself beside its card.
SETTINGS = ("weights", "highpass", "window", "upsampling", "denoise", "precision", "device")


class KeptModel(Told):
    """A fitted method that refers to its checkpoint: what all of them do with it.

    `name`: Name of the method.
    """

    name: str
    checkpoint: Path
    sha256: str
    card: Card

    def _summary(self) -> Summary:
        about = {name: getattr(self, name) for name in SETTINGS if hasattr(self, name)}
        return summarise_networks(self.card, self.sha256, about)

    def save(self, path: str | Path) -> Self:
        """Copy the checkpoint to a place of your own, with the readable copy of its card."""
        path = Path(path).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.checkpoint, path)
        if card_path(self.checkpoint).exists():
            shutil.copyfile(card_path(self.checkpoint), card_path(path))
        moved: Self = replace(self, checkpoint=path)  # type: ignore[type-var]
        return moved

    def plot_history(self, path: str | Path) -> Path:
        """Draw the losses of the fit, network by network."""
        from biastf_xr.methods.training._curves import plot_history

        return plot_history(self.card.history, Path(path), f"{self.name}: loss")

    def bind(self, pair: CubePair) -> Self:
        """Refuse cubes the model was not made for; see `Method.bind`."""
        missing = [b for b in pair.bands if b not in self.card.bands]
        if missing:
            raise CheckpointError(
                f"the model has no network for {missing}; it was fitted on "
                f"{list(self.card.bands)}. Select those bands or fit again."
            )
        if self.card.all_bands and len(pair.bands) < len(self.card.bands):
            raise CheckpointError(
                f"the model looks at all of {list(self.card.bands)} at once, and the cubes have "
                f"only {list(pair.bands)}. Add the others, or fit again."
            )
        ratio = pair.alignment.ratio
        if abs(ratio / self.card.ratio - 1) > RATIO_TOLERANCE:
            raise CheckpointError(
                f"the model was fitted at a ratio of coarse to fine pixel of "
                f"{self.card.ratio:.2f}, these cubes have {ratio:.2f}. Fit it on them."
            )
        return self


def check_kind(path: Path, card: Card, method: str) -> None:
    """Check that a checkpoint is of a method."""
    if card.method != method:
        raise CheckpointError(
            f"{path} is a model of {card.method!r}, not of {method!r}. Load it with "
            "biastf_xr.load_method(path)."
        )


def check_precision(precision: str, device: str) -> None:
    """Check the numbers of the convolutions."""
    if precision not in PRECISIONS:
        raise MethodError(f"unknown precision {precision!r}; expected one of {list(PRECISIONS)}.")
    if precision == "fp16" and device == "cpu":
        raise MethodError(
            "precision 'fp16' runs on CUDA devices only, and device is 'cpu'. Choose "
            "precision='bf16', or device='cuda'."
        )


@dataclass
class Workplace:
    """Where a fit writes.

    `checkpoint`: The model to write.
    `states`: Folder of what is done so far; None where it is not kept.
    `started`: When the fit began, seconds of a monotonic clock.
    """

    checkpoint: Path
    states: Path | None
    started: float = field(default_factory=time.monotonic)

    def write(self, card: Card, models: Mapping[str, Fitted]) -> None:
        """Write the model, and beside it a copy of its card to read, with how long the fit took.

        The duration is not in the model itself: the same fit gives the same bytes.
        """
        sha256 = write_checkpoint(self.checkpoint, card, models)
        told = {"sha256": sha256, "seconds": round(time.monotonic() - self.started, 1)}
        text = json.dumps(told | card.__dict__, indent=1, default=str)
        card_path(self.checkpoint).write_text(text)


def card_path(checkpoint: Path) -> Path:
    """Return where the readable copy of a model's card is."""
    return checkpoint.with_name(f"{checkpoint.name}.json")


@contextmanager
def workplace(path: str | Path | None, name: str, *, resume: bool) -> Iterator[Workplace]:
    """Return a fit its place; the state kept there is removed when the fit is complete.

    `path`: The model to write; None for a temporary folder of this process.
    `resume`: Whether state is kept, and an interrupted fit goes on from it.
    """
    target = Path(path).resolve() if path else _temporary_folder() / f"{name}.safetensors"
    states = target.with_name(f".{target.name}.fit")
    if not resume:
        shutil.rmtree(states, ignore_errors=True)
    yield Workplace(target, states if resume and path else None)
    shutil.rmtree(states, ignore_errors=True)


def describe_data(pair: CubePair) -> dict[str, Any]:
    """Describe the cubes that a model is fitted on.

    Returned: The fine grid in words, its extent in degrees, and first, last and number of days.
    """
    box = pair.geobox.geographic_extent.boundingbox
    days, coarse = pair.fine_days, pair.coarse_days
    return {
        "grid": describe(pair.geobox),
        "extent": [round(float(v), 6) for v in (box.left, box.bottom, box.right, box.top)],
        "fine_days": [str(days[0]), str(days[-1]), len(days)],
        "coarse_days": [str(coarse[0]), str(coarse[-1]), len(coarse)],
    }


@dataclass(frozen=True)
class WarmStart:
    """A model to begin with.

    `weights`: By network, the parameters as arrays.
    `told`: What the new card says of it.
    """

    card: Card
    weights: dict[str, dict[str, Any]]
    told: dict[str, Any]


def read_start(
    path: str | Path, pair: CubePair, *, method: str, data: dict[str, Any], wanted: dict[str, Any]
) -> WarmStart:
    """Read the model that a fit begins with.

    `wanted`: Fields that its card must have with these values, for instance ``filters``.
    """
    path = Path(path).resolve()
    card, sha256 = read_card(path)
    expected = {"method": method, "bands": tuple(pair.bands)} | wanted
    other = {k: (getattr(card, k), v) for k, v in expected.items() if getattr(card, k) != v}
    if other:
        says = "; ".join(f"{k} {found!r}, expected {v!r}" for k, (found, v) in other.items())
        raise CheckpointError(
            f"{path} cannot be refined here: {says}. Fit with its settings, or without a start."
        )
    if abs(pair.alignment.ratio / card.ratio - 1) > RATIO_TOLERANCE:
        raise CheckpointError(
            f"{path} was fitted at a ratio of coarse to fine pixel of {card.ratio:.2f}, these "
            f"cubes have {pair.alignment.ratio:.2f}. Fit without a start."
        )
    _, states = read_weights(str(path), sha256)
    weights = {
        network: {name: value.numpy() for name, value in state.items()}
        for network, state in states.items()
    }
    apart = _apart(card.data.get("extent"), data["extent"])
    days = [] if apart else list(card.days)
    return WarmStart(card, weights, {"sha256": sha256, "days": days, "data": card.data})


def note_constant(name: str) -> str:
    """Warn of a network that had nothing to learn.

    It is left at its start, so that the other bands can be used: without change there is no bias
    of change, and the prediction is that of the method without network.
    """
    note = "constant over all samples: nothing learned"
    warnings.warn(
        f"{name} is {note}; it is predicted as without a network. Check the band's values, or "
        "leave it out of the cubes.",
        stacklevel=3,
    )
    return note


def _apart(a: list[float] | None, b: list[float]) -> bool:
    """Return whether two extents have no point in common; False where one is not known."""
    if a is None:
        return False
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="biastf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def plain(rule: Any) -> dict[str, Any]:
    """Return the fields of a rule as JSON has them."""
    return {k: str(v) if isinstance(v, dt.date) else v for k, v in asdict(rule).items()}


def drawn_data(held_out: Any, held_days: tuple[str, ...], sha256: str) -> dict[str, Any]:
    """Describe the samples of a fit."""
    return {
        "samples": len(held_out),
        "held_out": int(held_out.sum()),
        "held_out_days": list(held_days),
        "samples_sha256": sha256,
    }
