"""What every fit does around its training: the state it keeps, the card's data, a warm start."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biastf_xr.errors import CheckpointError
from biastf_xr.grid import describe
from biastf_xr.methods.biastf.checkpoint import Card, read_card, read_weights, write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from biastf_xr.cube.guards import CubePair
    from biastf_xr.methods.biastf.checkpoint import Fitted

# A model may serve another grid if its ratio of pixel sizes differs by no more than this.
RATIO_TOLERANCE = 0.05


@dataclass
class Workplace:
    """Where a fit writes.

    Attributes
    ----------
    checkpoint : pathlib.Path
        The model to write.
    states : pathlib.Path or None
        Folder of what is done so far; None where it is not kept.
    started : float
        When the fit began, seconds of a monotonic clock.
    """

    checkpoint: Path
    states: Path | None
    started: float = field(default_factory=time.monotonic)

    def write(self, card: Card, models: Mapping[str, Fitted]) -> None:
        """Write the model, and beside it a copy of its card to read, with how long the fit took.

        The duration is not in the model itself: the same fit gives the same bytes.

        Parameters
        ----------
        card : Card
            What made it.
        models : mapping of str to Fitted
            The networks.
        """
        sha256 = write_checkpoint(self.checkpoint, card, models)
        told = {"sha256": sha256, "seconds": round(time.monotonic() - self.started, 1)}
        text = json.dumps(told | card.__dict__, indent=1, default=str)
        card_path(self.checkpoint).write_text(text)


def card_path(checkpoint: Path) -> Path:
    """Give where the readable copy of a model's card is.

    Parameters
    ----------
    checkpoint : pathlib.Path
        The model.

    Returns
    -------
    pathlib.Path
        A JSON file beside it.
    """
    return checkpoint.with_name(f"{checkpoint.name}.json")


@contextmanager
def workplace(path: str | Path | None, name: str, *, resume: bool) -> Iterator[Workplace]:
    """Give a fit its place; the state kept there is removed when the fit is complete.

    Parameters
    ----------
    path : str or pathlib.Path or None
        The model to write; None for a temporary folder of this process.
    name : str
        Name of the method.
    resume : bool
        Whether state is kept, and an interrupted fit goes on from it.

    Yields
    ------
    Workplace
        The place.
    """
    target = Path(path).resolve() if path else _temporary_folder() / f"{name}.safetensors"
    states = target.with_name(f".{target.name}.fit")
    if not resume:
        shutil.rmtree(states, ignore_errors=True)
    yield Workplace(target, states if resume and path else None)
    shutil.rmtree(states, ignore_errors=True)


def describe_data(pair: CubePair) -> dict[str, Any]:
    """Describe the cubes that a model is fitted on.

    Parameters
    ----------
    pair : CubePair
        The cubes.

    Returns
    -------
    dict
        The fine grid in words, its extent in degrees, and first, last and number of days.
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

    Attributes
    ----------
    card : Card
        What made it.
    weights : dict
        By network, the parameters as arrays.
    told : dict
        What the new card says of it.
    """

    card: Card
    weights: dict[str, dict[str, Any]]
    told: dict[str, Any]


def read_start(
    path: str | Path, pair: CubePair, *, method: str, data: dict[str, Any], wanted: dict[str, Any]
) -> WarmStart:
    """Read the model that a fit begins with.

    Parameters
    ----------
    path : str or pathlib.Path
        The checkpoint.
    pair : CubePair
        The cubes of the fit.
    method : str
        Name of the method.
    data : dict
        As from `describe_data`.
    wanted : dict
        Fields that its card must have with these values, for instance ``filters``.

    Returns
    -------
    WarmStart
        The model.

    Raises
    ------
    CheckpointError
        If it is of other bands, inputs, layers or ratio of pixel sizes.
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

    Parameters
    ----------
    name : str
        The network.

    Returns
    -------
    str
        For the card.
    """
    note = "constant over all samples: nothing learned"
    warnings.warn(
        f"{name} is {note}; it is predicted as without a network. Check the band's values, or "
        "leave it out of the cubes.",
        stacklevel=3,
    )
    return note


def copy_model(checkpoint: Path, path: str | Path) -> Path:
    """Copy a model with the readable copy of its card.

    Parameters
    ----------
    checkpoint : pathlib.Path
        The model.
    path : str or pathlib.Path
        Where to.

    Returns
    -------
    pathlib.Path
        The copy.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(checkpoint, path)
    if card_path(checkpoint).exists():
        shutil.copyfile(card_path(checkpoint), card_path(path))
    return path


def _apart(a: list[float] | None, b: list[float]) -> bool:
    """Tell whether two extents have no point in common; False where one is not known."""
    if a is None:
        return False
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="biastf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
