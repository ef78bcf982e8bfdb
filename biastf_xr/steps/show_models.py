"""What the terminal shows of a fitted method."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from biastf_xr.steps.terminal import console, facts, frame_table

if TYPE_CHECKING:
    from pathlib import Path


def show_model(path: Path) -> dict[str, Any]:
    """Print what made a model, and what it has learned."""
    from biastf_xr.methods import load_method

    model: Any = load_method(path)
    card, summary = model.card, model.summarise()
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    about = {"method": card.method, **summary.facts, "versions": versions, "sha256": model.sha256}
    facts(str(path), about)
    for caption, frame in summary.tables.items():
        frame_table(caption, frame)
    for note in summary.notes:
        console.print(note, markup=False, highlight=False)
    return {"sha256": model.sha256, **asdict(card)}
