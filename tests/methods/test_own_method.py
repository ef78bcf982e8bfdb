"""A method that a stranger adds: one file, known by the entry point of its package."""

from __future__ import annotations

import json

import numpy as np
import pytest

UNTRAINED = '''\
"""Part of the coarse change."""

from dataclasses import dataclass

import numpy as np

from biastf_xr.methods.base import TwoSided, option


@dataclass(frozen=True, kw_only=True)
class Toy(TwoSided):
    """Add a share of the coarse change to each base image.

    Attributes
    ----------
    share : float
        Share of the change.
    favour : {"both", "earlier"}
        Which base date counts.
    """

    name: str = "toy"
    share: float = option(0.5, least=0, most=1)
    favour: str = option("both", choices=("both", "earlier"))

    def side(self, block, base):
        change = block.upsample(block.coarse - base.coarse, "bilinear")[..., *block.core]
        return base.fine[..., *block.fine_core] + np.float32(self.share) * change

    def weight(self, block):
        return np.float32(1 if self.favour == "earlier" else 0.5)
'''

LEARNED = '''\
"""A share of the coarse change that is learned."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from biastf_xr.methods.base import LearnedMethod, ModelCard, TwoSided, option


@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    """Options of the fit.

    Attributes
    ----------
    most : float
        Largest share.
    """

    most: float = option(2.0, above=0)


@dataclass(frozen=True, kw_only=True)
class ToyCard(ModelCard):
    share: float
    days: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class ToyLearned(LearnedMethod, TwoSided):
    """Add the share of the coarse change that known dates tell."""

    checkpoint: Path
    sha256: str
    card: ToyCard = field(repr=False, hash=False)
    name: str = "toy-learned"

    options: ClassVar[type] = ToyOptions
    cards: ClassVar[type] = ToyCard
    at_once: ClassVar[bool] = True

    @classmethod
    def fit(cls, pair, options, run):
        days = cls.training_days(pair, options, run.base_rule)
        means = [
            np.array([np.nanmean(cube[pair.bands[0]].sel(time=days[[0, -1]]), axis=(1, 2))])
            for cube in (pair.fine, pair.coarse)
        ]
        steps = [float(m[0, 1] - m[0, 0]) for m in means]
        share = min(max(steps[0] / steps[1], 0.0), options.most)
        card = ToyCard(bands=pair.bands, ratio=pair.alignment.ratio, method=cls.name,
                       versions={}, share=share, days=tuple(map(str, days)))
        return cls.write(run, card)

    def side(self, block, base):
        change = block.upsample(block.coarse - base.coarse, "bilinear")[..., *block.core]
        return base.fine[..., *block.fine_core] + np.float32(self.card.share) * change

    def weight(self, block):
        return np.float32(0.5)
'''

SCRIPT = """
import json, sys
import biastf_xr
from biastf_xr.methods import METHODS, get_method
name, fine, coarse, folder = sys.argv[1:]
fine, coarse = biastf_xr.open_cube(fine), biastf_xr.open_cube(coarse)
found = {"known": name in METHODS}
if name == "toy":
    method = get_method(name, share=0.25)
else:
    fitted = biastf_xr.fit(fine, coarse, name, most=1.5).save(folder + "/toy.safetensors")
    method = biastf_xr.load_method(folder + "/toy.safetensors")
    found |= {"same": method == fitted, "share": method.card.share, "text": repr(method)}
day = ["2021-04-20"]
one = biastf_xr.fuse(fine, coarse, method, dates=day).load()
two = biastf_xr.fuse(fine, coarse, name, dates=day).load()
found["means"] = [float(image["nir"].mean()) for image in (one, two)]
found["described"] = json.loads(one.attrs["biastf_method"])
found["scores"] = list(biastf_xr.evaluate(fine, coarse, name, dates=["2021-04-17"]).summary().index)
print(json.dumps(found))
"""


@pytest.fixture
def run(install):
    """Install both methods as their package would; return what runs Python beside them."""
    modules = {"toy_method": UNTRAINED, "toy_learned": LEARNED}
    methods = {"toy": "toy_method:Toy"}, {"toy-learned": "toy_learned:ToyLearned"}
    return install(modules, methods=methods[0], learned_methods=methods[1])


@pytest.mark.parametrize("name", ["toy", "toy-learned"])
def test_a_method_of_ones_own_is_fitted_fused_and_scored(run, small_cubes, tmp_path, name):
    cubes = str(small_cubes.fine), str(small_cubes.coarse)
    found = json.loads(run("-c", SCRIPT, name, *cubes, str(tmp_path)).splitlines()[-1])
    assert found["known"]
    assert name in found["scores"]
    assert found["described"]["method"] == name
    assert np.isfinite(found["means"]).all()
    if name == "toy":
        assert found["described"]["share"] == 0.25
        assert found["means"][0] != found["means"][1]
    else:
        assert found["same"]
        assert 0 <= found["share"] <= 1.5
        assert "toy-learned" in found["text"]
        assert found["described"]["trained_on"]


def test_help_init_reference_and_configuration_know_it(run, small_cubes, small_scenes, tmp_path):
    told = " ".join(run("-m", "biastf_xr", "fuse", "--help").split())
    assert "toy, biastf-plus" in told
    assert "toy-learned" in told
    scenes = "--fine-folder", str(small_scenes.landsat), "--coarse-folder", str(small_scenes.modis)
    run("-m", "biastf_xr", "init", "own.toml", *scenes)
    assert "toy-learned" in (tmp_path / "own.toml").read_text()
    page = run("-c", "import reference_pages as r; print(r._method_section('toy'))")
    assert "Add a share of the coarse change" in page
    assert "| `share` |" in page
    assert "| `favour` |" in page
    page = run("-c", "import reference_pages as r; print(r._method_section('toy-learned'))")
    assert "| `most` |" in page
    flags = ["--fine", str(small_cubes.fine), "--coarse", str(small_cubes.coarse), "--dry-run",
             "--method", "toy", "--output", "fused.zarr"]  # fmt: skip
    wrong = run("-m", "biastf_xr", "fuse", *flags, "--set", "method.options.shar=1", fails=True)
    assert "shar" in wrong
    assert "'share'" in wrong
    run("-m", "biastf_xr", "fuse", *flags, "--set", "method.options.share=1")
