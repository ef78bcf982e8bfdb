"""What the terminal shows of a fitted method."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from biastf_xr.steps.terminal import console, facts, frame_table

if TYPE_CHECKING:
    from pathlib import Path

    from biastf_xr._summary import Summary


def show_model(path: Path) -> dict[str, Any]:
    """Print what made a model, and what it has learned."""
    card, sha256, summary = _read(path)
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    told = {"method": card.method, **summary.facts, "versions": versions, "sha256": sha256}
    facts(str(path), told)
    for caption, frame in summary.tables.items():
        frame_table(caption, frame)
    for note in summary.notes:
        console.print(note, markup=False, highlight=False)
    return {"sha256": sha256, **asdict(card)}


def _read(path: Path) -> tuple[Any, str, Summary]:
    from biastf_xr.methods import name_of_model
    from biastf_xr.methods._model_summary import summarise_networks, summarise_plus

    if name_of_model(path) == "biastf-plus":
        from biastf_xr.methods.plus._model import read_model

        plus, sha256 = read_model(path)
        return plus, sha256, summarise_plus(plus, sha256)
    from biastf_xr.methods.biastf._checkpoint import read_card

    card, sha256 = read_card(path)
    return card, sha256, summarise_networks(card, sha256, {})
