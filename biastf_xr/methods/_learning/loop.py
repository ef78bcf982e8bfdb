"""Optimise one network: early stopping, mixed precision, and state that outlives a kill."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from biastf_xr._files import open_regular, own_folder, replacing
from biastf_xr.errors import CheckpointError, MethodError
from biastf_xr.methods._learning.card import Layers, channels_last
from biastf_xr.methods._learning.files import hash_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from biastf_xr.methods._learning.rules import TrainRule
    from biastf_xr.methods.base import Float

# Called after every epoch with the network's name, the epoch, and the two losses relative to an
# answer of zero everywhere.
TrainProgress = Callable[[str, int, float, float], None]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What the loss is multiplied by in fp16. Losses are about 1: torch's own 65536 makes the gradients
# of the first steps infinite, and these steps are left out.
LOSS_SCALE = 1024.0

# A target whose root mean square is below this is nothing but zero.
NOTHING = 1e-8


@dataclass(frozen=True)
class FitJob:
    """One network to fit; travels to a worker.

    `name`: Name of the network.
    `inputs`: Shape ``(N, K, C, Y, X)``, standardised, no NaN: K equivalent views of every
    patch, of which one is drawn at every step.
    `targets`: Shape ``(N, K, D, y, x)``, without the network's margin; NaN where not clear.
    `held_out`: Shape ``(N,)``: kept for early stopping.
    `seed`: Seed of weights, order and augmentation.
    `start`: Weights to begin with, by name of the parameter.
    `state`: File that keeps the state after every epoch; a fit of the same job goes on from it.
    """

    name: str
    layers: Layers
    inputs: Float
    targets: Float
    held_out: NDArray[np.bool_]
    rule: TrainRule
    seed: int
    start: dict[str, NDArray[Any]] | None = None
    state: Path | None = None

    def key(self) -> str:
        """Return a hash of all that the result depends on."""
        described = {"layers": asdict(self.layers), "rule": asdict(self.rule), "seed": self.seed}
        head = json.dumps(described | {"torch": torch.__version__}).encode()
        arrays = self.inputs, self.targets, self.held_out, *(self.start or {}).values()
        return hash_arrays(arrays, head)


@dataclass
class FittedNetwork:
    """A fitted network.

    `weights`: By name of the parameter; those of the lowest hold-out loss.
    `history`: Training and hold-out loss after every epoch, as a fraction of that of answering
    zero.
    `errors`: Shape ``(N,)``: mean squared error of every patch held out, NaN of the others,
    standardised.
    `constant`: Whether there was nothing to learn: targets or inputs are zero throughout.
    """

    weights: dict[str, NDArray[Any]]
    history: list[tuple[float, float]]
    errors: NDArray[np.float64]
    constant: bool = False


@dataclass
class _Progress:
    """What changes from epoch to epoch; all of it is kept."""

    epoch: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_loss: float = 1.0
    waited: int = 0
    history: list[tuple[float, float]] = field(default_factory=list)


def run_job(job: FitJob, progress: TrainProgress | None = None) -> FittedNetwork:
    """Fit a network.

    Mean squared error over clear pixels, Adam, random flips, transposes and views.  The weights
    kept are those of the lowest hold-out loss, those at the start included.  The same job gives
    the same bytes on every processor with the same kernels, also when it was interrupted.
    """
    if _nothing_to_learn(job):
        weights = {n: v.numpy() for n, v in job.layers.build(job.seed).state_dict().items()}
        if job.start is not None:
            weights = dict(job.start)
        return FittedNetwork(weights, [], np.full(len(job.inputs), np.nan), constant=True)
    with _deterministic(job.rule.device):
        return _Run(job).finish(progress)


def _nothing_to_learn(job: FitJob) -> bool:
    changes = max(float(np.abs(job.inputs).max()), 0.0) > NOTHING
    return not changes or float(np.nanmax(np.abs(job.targets), initial=0.0)) <= NOTHING


def _deterministic(device: str) -> Any:
    on_gpu = device != "cpu"
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=on_gpu, allow_tf32=False
    )


class _Run:
    """One job under way."""

    def __init__(self, job: FitJob) -> None:
        self.job, rule = job, job.rule
        self.network = job.layers.build(job.seed)
        if job.start is not None:
            _begin_with(self.network, job.start, job.name)
        self.network = channels_last(self.network.to(rule.device))
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rule.learning_rate)
        half = rule.precision == "fp16"
        self.scaler = torch.amp.GradScaler(
            torch.device(rule.device).type, init_scale=LOSS_SCALE, enabled=half
        )
        self.generator = torch.Generator().manual_seed(job.seed + 1)
        self.at = _Progress(best=_copied(self.network))
        held = torch.from_numpy(job.held_out)
        x, y = torch.from_numpy(job.inputs), torch.from_numpy(job.targets)
        self.x, self.y = x[~held], y[~held]
        self.x_held, self.y_held = (v[held].to(rule.device) for v in (x, y))
        self.floors = [max(_mean_square(v), 1e-12) for v in (self.y, self.y_held)]

    def finish(self, progress: TrainProgress | None) -> FittedNetwork:
        """Train to the end, from where an interrupted run of the same job came."""
        job, rule, at = self.job, self.job.rule, self.at
        key = job.key() if job.state else ""
        if job.state and (kept := read_state(job.state, key)):
            self._restore(kept)
        elif job.start is not None:
            at.best_loss = self._held_loss() / self.floors[1]
        while at.epoch < rule.epochs and at.waited < rule.patience:
            self._epoch()
            if job.state:
                write_state(job.state, key, self._kept())
            if progress:
                progress(job.name, at.epoch, *at.history[-1])
        self.network.load_state_dict(at.best)
        errors = np.full(len(job.inputs), np.nan)
        errors[job.held_out] = self._held_errors()
        weights = {n: v.cpu().contiguous().numpy() for n, v in at.best.items()}
        return FittedNetwork(weights, at.history, errors)

    def _epoch(self) -> None:
        at = self.at
        fitted = self._pass()
        loss = self._held_loss() / self.floors[1]
        if not np.isfinite(fitted):
            raise MethodError(
                f"band {self.job.name}: the training loss became {fitted} in epoch "
                f"{at.epoch + 1}. Lower the learning rate (now {self.job.rule.learning_rate:g})."
            )
        at.epoch += 1
        at.history.append((fitted / self.floors[0], loss))
        if loss < at.best_loss:
            at.best_loss, at.best, at.waited = loss, _copied(self.network), 0
        else:
            at.waited += 1

    def _pass(self) -> float:
        """Go over the samples once; give the mean loss."""
        rule, generator = self.job.rule, self.generator
        self.network.train()
        order = torch.randperm(len(self.x), generator=generator)
        total = 0.0
        for start in range(0, len(order), rule.batch):
            index = order[start : start + rule.batch]
            views = torch.randint(0, self.x.shape[1], (len(index),), generator=generator)
            x, y = _augment(self.x[index, views], self.y[index, views], generator)
            x = x.to(rule.device).contiguous(memory_format=torch.channels_last)
            self.optimiser.zero_grad(set_to_none=True)
            loss = _loss(self._forward(x), y.to(rule.device))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.step(self.optimiser)
            self.scaler.update()
            total += float(loss.detach()) * len(index)
        return total / len(order)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        rule = self.job.rule
        kind, dtype = torch.device(rule.device).type, DTYPES[rule.precision]
        with torch.autocast(kind, dtype=dtype, enabled=rule.precision != "fp32"):
            out: torch.Tensor = self.network(x)
        return out.float()

    def _held_loss(self) -> float:
        """Return the mean squared error of the patches held out, over all their views."""
        errors, counts = self._held_sums()
        return float(errors.sum() / max(counts.sum(), 1))

    def _held_errors(self) -> NDArray[np.float64]:
        errors, counts = self._held_sums()
        made: NDArray[np.float64] = errors.sum(1) / np.maximum(counts.sum(1), 1)
        return made

    def _held_sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sum of squares and number of clear values, by patch and view."""
        self.network.eval()
        batch, views = self.job.rule.batch, self.x_held.shape[1]
        errors, counts = np.zeros((2, len(self.x_held), views))
        with torch.inference_mode():
            for start in range(0, len(self.x_held), batch):
                part = slice(start, start + batch)
                for view in range(views):
                    x = self.x_held[part, view].contiguous(memory_format=torch.channels_last)
                    error = _errors(self._forward(x), self.y_held[part, view])
                    errors[part, view] = error.flatten(1).sum(1).double().cpu().numpy()
                    clear = ~self.y_held[part, view].isnan()
                    counts[part, view] = clear.flatten(1).sum(1).cpu().numpy()
        return errors, counts

    def _kept(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "progress": copy.copy(self.at.__dict__),
        }

    def _restore(self, kept: dict[str, Any]) -> None:
        self.network.load_state_dict(kept["network"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.scaler.load_state_dict(kept["scaler"])
        self.generator.set_state(kept["generator"])
        self.at.__dict__.update(kept["progress"])


def _begin_with(network: nn.Sequential, start: dict[str, NDArray[Any]], name: str) -> None:
    """Take the weights of another model."""
    wanted = {n: tuple(v.shape) for n, v in network.state_dict().items()}
    found = {n: v.shape for n, v in start.items()}
    if wanted != found:
        raise CheckpointError(
            f"the model to start from has other layers for {name}: {found}, expected {wanted}. "
            "Fit with its `network` settings, or without a start."
        )
    network.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in start.items()})


def write_state(path: Path, key: str, state: dict[str, Any]) -> None:
    """Keep the state of a fit; what was there is replaced at once or not at all."""
    own_folder(path.parent)
    with replacing(path) as partial:
        torch.save({"key": key, "state": state}, partial)


def read_state(path: Path, key: str) -> dict[str, Any] | None:
    """Read the state of the same fit; None where there is none."""
    try:
        with open_regular(path, own=True) as file:
            kept = torch.load(file, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    if not isinstance(kept, dict) or kept.get("key") != key:
        return None
    state: dict[str, Any] = kept["state"]
    return state


def _copied(network: nn.Sequential) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _mean_square(y: torch.Tensor) -> float:
    return float(y[~y.isnan()].square().mean())


def _errors(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return squared errors, zero where the target is not clear."""
    return torch.where(target.isnan(), torch.zeros_like(output), output - target).square()


def _loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return _errors(output, target).sum() / (~target.isnan()).sum().clamp(min=1)


def _augment(
    x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flip and transpose at random; one draw a batch."""
    flips = torch.randint(0, 2, (3,), generator=generator).tolist()
    dims = [d for d, flip in zip((-2, -1), flips, strict=False) if flip]
    if dims:
        x, y = x.flip(dims), y.flip(dims)
    if flips[2] and x.shape[-2] == x.shape[-1]:
        x, y = x.transpose(-1, -2), y.transpose(-1, -2)
    return x, y
