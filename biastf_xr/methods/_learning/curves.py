"""Loss curves of a fit, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr._files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def plot_history(
    history: Mapping[str, Sequence[tuple[float, float]]], path: Path, title: str = ""
) -> Path:
    """Draw the losses of every network over the epochs.

    `history`: By network, training and hold-out loss after every epoch, as a fraction of that
    of answering zero.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for n, (name, losses) in enumerate(history.items()):
        epochs = range(1, len(losses) + 1)
        color = f"C{n % 10}"
        axes.plot(epochs, [held for _, held in losses], color=color, marker=".", label=name)
        axes.plot(epochs, [fitted for fitted, _ in losses], color=color, ls=":")
    axes.axhline(1, color="0.6", lw=0.8)
    axes.set(xlabel="epoch", ylabel="loss (1: nothing learned)")
    axes.set_title(title, parse_math=False)
    if history:
        axes.legend(title="solid: held out; dotted: trained on", fontsize="small")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120)
    return path
