"""What the terminal shows of a fitted method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biastf_xr.steps.terminal import facts

if TYPE_CHECKING:
    from pathlib import Path


def show_model(path: Path) -> dict[str, Any]:
    """Print what made a model.

    Parameters
    ----------
    path : pathlib.Path
        The checkpoint.

    Returns
    -------
    dict
        What was printed, by name.
    """
    from biastf_xr.methods import name_of_model

    told = _plus_facts(path) if name_of_model(path) == "biastf-plus" else _network_facts(path)
    facts(str(path), told)
    return told


def _network_facts(path: Path) -> dict[str, Any]:
    from biastf_xr.methods.biastf.checkpoint import read_card

    card, sha256 = read_card(path)
    held = {b: min([1.0, *(loss[1] for loss in h)]) for b, h in card.history.items()}
    return {
        "method": card.method,
        "bands": ", ".join(card.bands),
        "ratio": f"{card.ratio:.2f}",
        "network": f"filters {card.filters}, kernels {card.kernels}",
        "inputs": card.inputs,
        "trained on": ", ".join(card.days),
        "pairs": len(card.pairs),
        "held-out loss": ", ".join(f"{b} {v:.2f}" for b, v in held.items())
        + " (1 is nothing learned)",
        **({"refined from": card.start["sha256"]} if card.start else {}),
        **({"notes": "; ".join(f"{k}: {v}" for k, v in card.notes.items())} if card.notes else {}),
        "seed": card.seed,
        "versions": ", ".join(f"{k} {v}" for k, v in card.versions.items()),
        "sha256": sha256,
    }


def _plus_facts(path: Path) -> dict[str, Any]:
    from biastf_xr.methods.plus.model import read_model

    card, sha256 = read_model(path)

    def by_band(values: tuple[float, ...]) -> str:
        return ", ".join(f"{b} {v:.4g}" for b, v in zip(card.bands, values, strict=True))

    return {
        "method": card.method,
        "bands": ", ".join(card.bands),
        "ratio": f"{card.ratio:.2f}",
        "options": ", ".join(f"{k} {v}" for k, v in card.rule.items()),
        "response of the coarse sensor": by_band(card.response),
        "noise of a coarse observation": by_band(card.noise),
        "change the fine sensor does not share": by_band(card.spread),
        "trust in the coarse images": ", ".join(
            f"{v:.2f} ({k} base date{'s' if k == 'two' else ''})" for k, v in card.trust.items()
        )
        + " (0 is interpolation in time)",
        "uncertainty fitted on": ", ".join(
            f"{n} dates ({k} base date{'s' if k == 'two' else ''})"
            for k, n in card.calibrated.items()
        ),
        "trained on": ", ".join(card.days),
        "versions": ", ".join(f"{k} {v}" for k, v in card.versions.items()),
        "sha256": sha256,
    }
