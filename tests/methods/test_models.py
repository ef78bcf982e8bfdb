"""Models that strangers wrote: a number, a type or a shape that is none is refused by name."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import facts, some
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save
from typer.testing import CliRunner

import biastf_xr
from biastf_xr.cli._app import app
from biastf_xr.cube import STATUS
from biastf_xr.errors import CheckpointError
from biastf_xr.methods import LEARNED, load_method
from biastf_xr.methods._learning.card import Layers
from biastf_xr.methods._learning.rules import SampleRule, TrainRule
from biastf_xr.methods.biastf import NetworkShape

CANARY = "canary-in-a-card"
FEW = {"samples": SampleRule(patch=8, count=12), "train": TrainRule(epochs=1)}
OPTIONS = {
    "biastf-plus": {},
    "biastf": FEW | {"network": NetworkShape(filters=(4, 3, 2), inputs="change+fine")},
    "stfdcnn": FEW | {"filters": (4, 3), "kernels": (3, 3, 3), "factor": 2},
}


@dataclass(repr=False)
class Model:
    """A sound model, taken apart, and the cubes it fits."""

    path: Path
    card: dict
    arrays: dict
    cubes: tuple

    def write(self, folder, *, card=None, arrays=None, name="odd.safetensors"):
        """Write it with another card, or its text, or other arrays."""
        text = card if isinstance(card, str) else json.dumps(self.card if card is None else card)
        path = Path(folder) / name
        data = save(self.arrays if arrays is None else arrays, metadata={"card": text})
        path.write_bytes(data)
        return path


@pytest.fixture(scope="module")
def models(make_pair, tmp_path_factory):
    """Fit every learned method once."""
    cubes = make_pair(shape=(24, 20), fine_days=(0, 3, 6, 9), coarse_days=range(13))
    found = {}
    for name in LEARNED:
        path = tmp_path_factory.mktemp("models") / f"{name}.safetensors"
        biastf_xr.fit(*cubes, name, path=path, **OPTIONS[name])
        with safe_open(path, framework="np") as file:
            card = json.loads(file.metadata()["card"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        found[name] = Model(path, card, arrays, cubes)
    return found


@pytest.fixture(params=list(LEARNED))
def model(models, request):
    return models[request.param]


def fused(cubes, method):
    return biastf_xr.fuse(*cubes, method, dates=["2021-04-03", "2021-04-12"]).load()


def is_right_or_flagged(made):
    """Check that a fused cube has no number that is none, and nothing missing without a flag."""
    bands = [name for name in made if made[name].dtype == np.float32]
    predicted = ~np.isin(made["status_flag"], (STATUS["no_pair"], STATUS["no_coarse"]))
    for name in some(bands):
        assert (np.isfinite(made[name].values) == predicted).all(), name


def leaves(value, where=()):
    """List the places of a card, tables and lists among them."""
    yield where
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*where, key))


def changed(value, where, change):
    """Return a card with one place changed."""
    if not where:
        return change(value)
    inner = changed(value[where[0]], where[1:], change)
    if isinstance(value, dict):
        return {**value, where[0]: inner}
    return [*value[: where[0]], inner, *value[where[0] + 1 :]]


ODD = [
    None, True, False, 0, -1, 3, 0.5, -0.5, 1e39, 1e400, -1e400, 1e-320, float("nan"), 10**400,
    "", "x", "9999-99-99", "\ud800", "\x1b[31m" + CANARY, "../../etc", "a" * 10_000,
    [], {}, [[]], [None], {"": {}}, {"red": 1}, [1.0, 2.0], ["nir"], ["red", ["nir"]],
]  # fmt: skip


def odd_for(number, _):
    return ODD[number]


CHANGES = st.sampled_from([
    *(partial(odd_for, n) for n in range(len(ODD))),
    lambda v: [v],
    lambda v: {"a": v},
    lambda v: [*v, *v] if isinstance(v, list) else v,
    lambda v: v[:-1] if isinstance(v, list | str) else v,
    lambda v: {**v, "more": 1.0} if isinstance(v, dict) else v,
    lambda v: dict([*v.items()][1:]) if isinstance(v, dict) else v,
    lambda v: -v if isinstance(v, int | float) else v,
])  # fmt: skip


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", LEARNED)
def test_any_card_is_refused_by_name_or_serves(models, name, tmp_path, data):
    model = models[name]
    places = [*leaves(model.card)]
    where = data.draw(st.sampled_from(places), "where")
    card = changed(model.card, where, data.draw(CHANGES, "change"))
    path = model.write(tmp_path, card=card)
    method, refused = attempt(load_method, path)
    if method is None:
        assert path.name in refused
        assert len(refused) < 2000
        return
    assert str(method.summarise())
    made, refused = attempt(fused, model.cubes, method)
    if made is not None:
        is_right_or_flagged(made)


def attempt(do, *given):
    """Return what is made and nothing, or nothing and how the model was refused."""
    try:
        return do(*given), ""
    except CheckpointError as error:
        return None, str(error)


def test_every_number_of_a_card_that_is_none_is_refused(model, tmp_path):
    numbers = [
        where for where in leaves(model.card)
        if isinstance(at(model.card, where), int | float)
    ]  # fmt: skip
    for where in some(numbers):
        for text in ("NaN", "Infinity", "-1e400", "1" * 400, "1e39"):
            card = json.dumps(changed(model.card, where, lambda _: CANARY))
            path = model.write(tmp_path, card=card.replace(f'"{CANARY}"', text))
            with pytest.raises(CheckpointError, match=facts("odd.safetensors")):
                load_method(path)


def at(value, where):
    for key in where:
        value = value[key]
    return value


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000, '{"a":' * 100_000, "[]", "null", "true", "1", "1e400", '"text"', "{}", "",
        "{", '{"bands": NaN}', '{"method": []}', '{"method": {"a": 1}}', '{"method": "\\ud800"}',
        '{"format": true, "method": "biastf"}', '{"format": 1e400}', '{"format": 99}',
        '{"format": 99, "versions": []}', '{"method": "' + "m" * 100_000 + '"}',
    ],
)  # fmt: skip
def test_any_text_of_a_card_is_refused_by_name(models, text, tmp_path):
    path = models["biastf"].write(tmp_path, card=text)
    with pytest.raises(CheckpointError, match=facts("odd.safetensors")) as refused:
        load_method(path)
    assert len(str(refused.value)) < 2000


def test_files_that_are_no_models_are_refused(models, tmp_path):
    sound = models["biastf"].path.read_bytes()
    huge = (100 * 10**6).to_bytes(8, "little")
    texts = {
        "empty": b"",
        "short": sound[:5],
        "cut": sound[: len(sound) // 2],
        "longer": sound + b"more",
        "lying": (2**63).to_bytes(8, "little") + sound[8:],
        "endless": huge + b'{"__metadata__":{"card":"' + b"[" * (100 * 10**6 - 28) + b'"}}',
        "no card": save({"a": np.zeros(1, np.float32)}),
        "zip": b"PK\x03\x04" + bytes(100),
    }
    for name, data in texts.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=facts(path.name)):
            load_method(path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("pipe", "folder", "missing", "n" * 300):
        with pytest.raises(CheckpointError, match=facts(f"{name}.safetensors")):
            load_method(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("name", ["biastf", "stfdcnn"])
def test_weights_that_are_no_numbers_are_refused_before_they_are_used(models, name, tmp_path):
    model = models[name]
    key = min(model.arrays)
    weights = model.arrays[key]
    for value in (np.nan, np.inf, -np.inf):
        odd = weights.copy()
        odd.flat[-1] = value
        path = model.write(tmp_path, arrays=model.arrays | {key: odd})
        with pytest.raises(CheckpointError, match=facts("odd.safetensors", key, "NaN")):
            load_method(path)
    others = {
        "shape": model.arrays | {key: weights[..., :1]},
        "more": model.arrays | {"more.0.weight": weights},
        "less": {k: v for k, v in model.arrays.items() if k != key},
        "wide": model.arrays | {key: np.full(weights.shape, 1e300)},
        "none": {},
    }
    for arrays in others.values():
        with pytest.raises(CheckpointError, match=facts("odd.safetensors")):
            load_method(model.write(tmp_path, arrays=arrays))


def test_the_arrays_a_card_declares_are_those_of_torch():
    layers = Layers((2, 4, 3, 1), (5, 3, 3))
    built = {name: tuple(value.shape) for name, value in layers.build().state_dict().items()}
    assert layers.shapes() == built
    assert isinstance(layers.build()[0], torch.nn.Conv2d)


def test_options_kept_in_a_card_are_checked_as_those_of_a_person(models, tmp_path):
    odd = {"weight_window": 10**9 + 1, "weights": "none", "denoise": -1, "upsampling": []}
    for key, value in odd.items():
        card = changed(models["biastf"].card, ("settings",), lambda s, k=key, v=value: {**s, k: v})
        path = models["biastf"].write(tmp_path, card=card)
        with pytest.raises(CheckpointError, match=facts("odd.safetensors", key)):
            load_method(path)
    for value in (10**9, 0, "2", None, [2]):
        card = changed(models["stfdcnn"].card, ("settings", "factor"), lambda _, v=value: v)
        path = models["stfdcnn"].write(tmp_path, card=card)
        if value is None:
            assert load_method(path).factor == 2
            continue
        with pytest.raises(CheckpointError, match=facts("odd.safetensors", "factor")):
            load_method(path)


def test_every_door_refuses_a_damaged_model_by_name(models, small_cubes, tmp_path):
    model = models["biastf"]
    key = min(model.arrays)
    damaged = [
        model.write(tmp_path, card="[" * 100_000, name="deep.safetensors"),
        model.write(tmp_path, card=model.card | {"bands": [["red"]]}, name="bands.safetensors"),
        model.write(
            tmp_path,
            arrays=model.arrays | {key: model.arrays[key] * np.nan},
            name="n.safetensors",
        ),
    ]
    cubes = "--fine", small_cubes.fine, "--coarse", small_cubes.coarse
    out = "--output", tmp_path / "fused.zarr"
    days = "--set", "fuse.start=2021-04-15", "--set", "fuse.end=2021-04-15"
    for path in damaged:
        doors = (
            ("info", path),
            ("plan", *cubes, *out, *days, "--method", path),
            ("fuse", *cubes, *out, *days, "--method", path),
            ("fuse", *cubes, *out, *days, "--method", path, "--dry-run"),
            ("train", *cubes, "--method", "biastf", "--checkpoint", tmp_path / "new.safetensors",
             "--set", f"method.options.start={path}"),
        )  # fmt: skip
        for words in doors:
            with pytest.raises(CheckpointError, match=facts(path.name)):
                CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert not (tmp_path / "fused.zarr").exists()
    assert not (tmp_path / "new.safetensors").exists()


def test_a_sound_card_survives_its_file_to_the_last_bit(models):
    for name, model in models.items():
        method = load_method(model.path)
        again = json.loads(json.dumps(method.card.__dict__))
        assert again == model.card, name
        is_right_or_flagged(fused(model.cubes, method))
