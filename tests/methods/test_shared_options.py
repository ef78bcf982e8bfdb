"""Options that several methods share: one name, one meaning, one place in the reference."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import sys
from functools import partial
from pathlib import Path

import pytest
from checks import facts

from biastf_xr.errors import MethodError
from biastf_xr.methods import LEARNED, METHODS, get_method, load_method, method_class, option_names
from biastf_xr.methods._shared import SharedOptions
from biastf_xr.sources import PRODUCTS, product_class

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))
import reference_pages

SHARED = {f.name for f in dataclasses.fields(SharedOptions)}
SCHEMAS = {n: method_class(n).options if n in LEARNED else method_class(n) for n in METHODS}


def test_an_option_of_a_shared_name_is_the_shared_one():
    for name, schema in SCHEMAS.items():
        for f in dataclasses.fields(schema):
            assert (f.name in SHARED) == bool(f.metadata.get("shared")), (name, f.name)
    users = {option: [n for n in METHODS if option in option_names(n)] for option in SHARED}
    assert min(map(len, users.values())) > 1


def test_every_option_of_every_method_and_product_is_explained_once():
    configuration = reference_pages.configuration_page()
    page = reference_pages.methods_sections()
    explained = re.findall(r"^(?:\| |- )`(.+?)`(?:, | \|)", page, re.MULTILINE)
    for option in SHARED:
        assert explained.count(option) == 1, option
    for name in METHODS:
        section = reference_pages._method_section(name)
        for option in {key.partition(".")[0] for key in option_names(name)}:
            assert f"`{option}`" in section, (name, option)
    for key in (k for name in METHODS for k in option_names(name) if "." in k):
        assert f"`{key.partition('.')[2]}`" in configuration, key


def test_what_only_a_preset_sets_is_explained_with_the_preset():
    section = reference_pages._method_section("estarfm")
    presets = section[section.index("`preset = ") :]
    assert "- `few`: What is added" in presets
    assert "| `few`" not in section


def test_a_product_explains_its_options_or_shares_them():
    page = reference_pages.configuration_page()
    explained = re.findall(r"`(\w+)`(?=[^|\n]*\|[^\n]*\|[^\n]*\|)", page)
    for option in reference_pages.PRODUCT_OPTIONS:
        assert explained.count(option) == 1, option
    for product in map(product_class, PRODUCTS):
        section = reference_pages.product_section(product.name)
        if like := re.search(r"Options: those of `([\w-]+)`", section):
            section += reference_pages.product_section(like[1])
        for f in dataclasses.fields(product):
            assert f"`{f.name}`" in section, (product.name, f.name)


def test_the_earlier_name_of_a_window_is_read_and_a_cube_keeps_it(random_model):
    model = random_model()
    for make in (partial(get_method, "direct"), partial(load_method, model.checkpoint)):
        with pytest.warns(DeprecationWarning, match=facts("window", "weight_window")):
            old = make(window=5)
        new = make(weight_window=5)
        assert old == new
        assert new.weight_window == 5
        record = new.describe()
        assert record["window"] == 5  # as cubes that are there were made with
        assert "weight_window" not in record


def test_a_model_with_the_earlier_name_is_read(random_model, tmp_path):
    from safetensors.torch import load_file, save_file

    model = random_model()
    old = model.card.__dict__ | {"settings": {"weights": "time", "window": 7}}
    path = tmp_path / "old.safetensors"
    save_file(load_file(model.checkpoint), path, metadata={"card": json.dumps(old)})
    read = load_method(path)
    assert (read.weights, read.weight_window) == ("time", 7)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_number_is_no_value_of_an_option_that_is_one(name):
    schema = SCHEMAS[name]
    numbers = [
        f.name for f in dataclasses.fields(schema)
        if isinstance(f.default, int | float) and not isinstance(f.default, bool)
    ]  # fmt: skip
    odd = [float("nan"), float("inf"), -float("inf"), 1e39, 10**400, True]
    for option, value in itertools.product(numbers, odd):
        with pytest.raises(MethodError, match=facts(option, "expected")):
            schema(**{option: value})
