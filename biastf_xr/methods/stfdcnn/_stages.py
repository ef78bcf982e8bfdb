"""The two stages of STFDCNN over one block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.methods._learning.channels import fill_for_network, standardise
from biastf_xr.methods.stfdcnn._grids import covering, cut, downsample, fine_of, upsample
from biastf_xr.methods.stfdcnn._modulation import fuse_stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biastf_xr.grid import Tile, Upsampling
    from biastf_xr.methods._learning.card import Card
    from biastf_xr.methods.base import Base, Block, Float
    from biastf_xr.methods.stfdcnn._networks import HighPass


@dataclass(frozen=True)
class BaseImages:
    """What a base date gives to both stages.

    `middle`, `fine`: The known image, shape ``(band, y, x)``, at the middle resolution and on
    the block's tile.
    `middle_transitional`, `fine_transitional`: What the networks make for the date, with the
    margin of the weights' window.
    `clear`: Where both sensors saw it, on the block's tile.
    """

    middle: Float
    middle_transitional: Float
    fine: Float
    fine_transitional: Float
    clear: NDArray[np.bool_]


class Stages:
    """The two stages over one block.

    `block`: The inputs, with the method's halos.
    `factor`: Fine pixels, a side, in a pixel of the middle resolution.
    `window`: Side of the window of the weights.
    """

    def __init__(
        self, block: Block, networks: dict[str, Any], card: Card, *, factor: int, window: int,
        highpass: HighPass, upsampling: Upsampling,
    ) -> None:  # fmt: skip
        self.block, self.networks, self.card, self.factor = block, networks, card, factor
        self.window, self.highpass, self.upsampling = window, highpass, upsampling
        half, reach = window // 2, card.halo
        self.held = block.tile.padded(block.halo)
        self.held_fine = block.tile.padded(block.fine_halo)
        # Fine pixels of the second stage's transitional images; middle pixels under them with
        # the second network's margin; those of the first stage's.
        self.fine = block.tile.padded(half)
        self.middle = covering(self.fine.padded(reach), self.factor, 1)
        self.wide = self.middle.padded(half)

    def predict(self, coarse: Float, before: BaseImages, after: BaseImages) -> Float:
        """Return the fine image of a target date.

        `coarse`: Its coarse image, shape ``(band, h, w)``.
        """
        form, window = self.highpass, self.window
        middle = fuse_stage(
            (before.middle, after.middle),
            (
                before.middle_transitional,
                self._mapped(self._on_fine(coarse)[0]),
                after.middle_transitional,
            ),
            form=form,
            window=window,
        )
        return fuse_stage(
            (before.fine, after.fine),
            (before.fine_transitional, self._sharpened(middle), after.fine_transitional),
            form=form,
            window=window,
        )

    def base(self, base: Base) -> BaseImages:
        """Make the images of a base date; where it is masked, its coarse image stands in."""
        coarse, seen = self._on_fine(base.coarse)
        filled = np.where(np.isfinite(base.fine), base.fine, cut(coarse, self.held, self.held_fine))
        middle = downsample(
            cut(filled, self.held_fine, fine_of(self.middle, self.factor)), self.factor
        )
        fine = cut(base.fine, self.held_fine, self.block.tile)
        clear: NDArray[np.bool_] = np.isfinite(fine).all(axis=0) & cut(
            seen, self.held, self.block.tile
        )
        known = cut(filled, self.held_fine, self.block.tile)
        return BaseImages(middle, self._mapped(coarse), known, self._sharpened(middle), clear)

    def _on_fine(self, coarse: Float) -> tuple[Float, NDArray[np.bool_]]:
        """Return a coarse image on the fine grid, filled, and where it was seen."""
        how, upsampler = self.upsampling, self.block.upsample
        seen = upsampler(coarse, how)
        filled = fill_for_network(seen, coarse, upsampler, how)
        return filled, np.asarray(np.isfinite(seen).all(axis=0))

    def _mapped(self, filled: Float) -> Float:
        """Return what the first network makes of a coarse image on the fine grid."""
        window = self.wide.padded(self.card.halo)
        given = downsample(cut(filled, self.held, fine_of(window, self.factor)), self.factor)
        return self._run("nlm", given, self.wide)

    def _sharpened(self, middle: Float) -> Float:
        """Return what the second network makes of an image of the middle resolution."""
        wide = self.fine.padded(self.card.halo)
        return self._run("sr", upsample(middle, self.middle, wide, self.factor), self.fine)

    def _run(self, stage: str, images: Float, window: Tile) -> Float:
        """Add what the networks of a stage give to their input (band, y, x) over a window."""
        from biastf_xr.methods._learning.inference import apply_network

        card, margin = self.card, self.card.halo
        core = images[:, margin : images.shape[1] - margin, margin : images.shape[2] - margin]
        made = core.copy()
        bands = self.block.bands
        groups = (
            {"all": [bands.index(b) for b in card.bands]}
            if card.all_bands
            else {band: [i] for i, band in enumerate(bands)}
        )
        for name, places in groups.items():
            key = f"{name}.{stage}"
            given = standardise(images[places], card.standards(key))[None]
            residual = apply_network(
                self.networks[key], given, origin=(window.y0, window.x0), margin=margin
            )
            made[places] += residual[0] * np.float32(card.scales[key][1])
        return made
