"""What a fitted model tells of itself, in a notebook and on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._summary import Summary

if TYPE_CHECKING:
    from biastf_xr.methods.biastf._checkpoint import Card
    from biastf_xr.methods.plus._model import PlusCard


def summarise_plus(card: PlusCard, sha256: str) -> Summary:
    """Return what a model of the variant "plus" has learned."""
    import pandas as pd

    by_band = {
        "response of the coarse sensor": card.response,
        "noise of a coarse observation": card.noise,
        "change not shared": card.spread,
    }
    by_sides = {
        "trust in the coarse images": card.trust,
        "dates of the uncertainty": card.calibrated,
        "observed coverage of 68 %": card.coverage,
    }
    frames = {
        "by band": pd.DataFrame(by_band, index=pd.Index(card.bands, name="band"), dtype=float),
        "by number of base dates; a trust of 0 is interpolation in time": pd.DataFrame(
            by_sides
        ).rename_axis("base dates"),
    }
    return Summary(
        f"Fitted method {card.method}",
        {
            **_common(card, sha256),
            "options": ", ".join(f"{k} {v}" for k, v in card.rule.items()),
        },
        frames,
    )


def summarise_networks(card: Card, sha256: str, about: dict[str, Any]) -> Summary:
    """Return what networks were fitted, on what, and how well."""
    import pandas as pd

    rows = {
        name: {
            "epochs": len(losses),
            "training loss": float(losses[-1][0]) if losses else np.nan,
            "least held-out loss": float(min(held for _, held in losses)) if losses else np.nan,
        }
        for name, losses in card.history.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("network")
    return Summary(
        f"Fitted method {card.method}",
        {
            **_common(card, sha256),
            "pairs of dates": len(card.pairs),
            "network": f"filters {_dashed(card.filters)}, kernels {_dashed(card.kernels)}, "
            f"input {card.inputs}",
            **({"settings": ", ".join(f"{k} {v}" for k, v in about.items())} if about else {}),
            **({"refined from": card.start["sha256"][:12]} if card.start else {}),
        },
        {"loss by network; 1 is nothing learned": table},
        tuple(f"{name}: {note}" for name, note in card.notes.items()),
    )


def _common(card: Card | PlusCard, sha256: str) -> dict[str, Any]:
    days = card.days
    return {
        "bands": ", ".join(card.bands),
        "fitted on": f"{len(days)} dates: {', '.join(days[:6])}{' ...' if len(days) > 6 else ''}",
        "coarse over fine pixel": f"{card.ratio:.2f}",
        "checkpoint": sha256[:12],
    }


def _dashed(numbers: Any) -> str:
    return "-".join(str(n) for n in numbers)
