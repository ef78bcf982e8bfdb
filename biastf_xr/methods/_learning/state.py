"""The state of a fit under way, kept in a file after every epoch."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path


def write_state(path: Path, key: str, state: dict[str, Any]) -> None:
    """Keep a state; what was there is replaced at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    torch.save({"key": key, "state": state}, partial)
    partial.replace(path)


def read_state(path: Path, key: str) -> dict[str, Any] | None:
    """Read the state of a job."""
    try:
        kept = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    if not isinstance(kept, dict) or kept.get("key") != key:
        return None
    state: dict[str, Any] = kept["state"]
    return state
