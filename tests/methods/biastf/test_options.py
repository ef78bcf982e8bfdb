"""The readings of BiaSTF as options: what goes in, how it is denoised, how sides are weighted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from checks import facts
from scipy.ndimage import gaussian_filter

import biastf_xr
from biastf_xr.errors import MethodError
from biastf_xr.fusion import FusionRule
from biastf_xr.grid import Alignment, AxisMap, Tile, Upsampler
from biastf_xr.methods._learning.channels import smooth_coarse, smooth_radius
from biastf_xr.methods.base import Base, Block, SideMemo
from biastf_xr.methods.biastf._network import INPUTS, NetworkShape, stack_channels
from biastf_xr.methods.biastf._samples import Samples
from biastf_xr.methods.biastf._sides import fit_error_law, learned_weight

DATES = ["2021-04-03", "2021-04-07", "2021-04-10"]


@pytest.fixture(scope="module")
def cloudy(make_pair):
    """Cubes with clouds over parts of both series, and no whole number of pixels anywhere."""
    fine, coarse = make_pair(shape=(43, 37), ratio=5, margin=2, seed=7)
    for band in fine.data_vars:
        fine[band][0, :9, 20:] = np.nan
        fine[band][2, 30:, 10:30] = np.nan
        coarse[band][6, 3:6, 2:5] = np.nan
        coarse[band][0, 5:, 5:] = np.nan
    return fine, coarse


FORMS = {
    "change+fine": {"inputs": "change+fine"},
    "change+fine+coarse": {"inputs": "change+fine+coarse", "denoise": 0.6},
    "all-changes": {"inputs": "all-changes", "weights": "learned", "weight_window": 1},
    "delivered": {"upsampling": "nearest", "denoise": 0.5, "weights": "learned"},
    "blocks": {"inputs": "change+fine", "filters": (32, 16, 8)},
}


@pytest.mark.parametrize("form", list(FORMS))
def test_no_option_makes_the_result_depend_on_the_tiles(cloudy, random_model, form):
    method = random_model(ratio=5.0, **FORMS[form])
    whole = biastf_xr.fuse(*cloudy, method, dates=DATES, tile=100).load()
    rule = FusionRule(dates_per_unit=2)
    for tile in (16, 29):
        cut = biastf_xr.fuse(*cloudy, method, dates=DATES, tile=tile, rule=rule).load()
        for band in ("red", "nir", "status_flag"):
            np.testing.assert_array_equal(cut[band], whole[band])


def test_the_halos_follow_from_what_goes_in(random_model):
    assert random_model().fine_halo == 0
    assert random_model(inputs="all-changes").fine_halo == 0
    assert random_model(inputs="change+fine").fine_halo == 7
    assert random_model(inputs="change+fine", filters=(32, 16, 8)).fine_halo == 10
    assert random_model(denoise=0.5).coarse_halo == 3
    assert random_model(denoise=0.5, weight_window=9).coarse_halo == 4


def test_the_fine_base_image_matters_where_it_goes_in(cloudy, random_model):
    fine, coarse = cloudy
    moved = fine.copy(deep=True)
    moved["red"][0, 20, 5] += 0.1
    for inputs, reaches in (("change", False), ("change+fine", True)):
        method = random_model(ratio=5.0, inputs=inputs, weights="equal")
        a, b = (
            biastf_xr.fuse(f, coarse, method, dates=["2021-04-03"])["red"][0].values
            for f in (fine, moved)
        )
        changed = np.argwhere(a != b) - (20, 5)
        assert (np.abs(changed).max() > 0) == reaches
        assert np.abs(changed).max() <= 7


@pytest.mark.parametrize("inputs", INPUTS)
def test_channels_are_the_images_that_the_option_names(inputs):
    rng = np.random.default_rng(0)
    change, fine, coarse = rng.normal(size=(3, 2, 3, 4, 4)).astype("f4")
    made = stack_channels(inputs, 1, change, fine, coarse)
    assert made.shape == (2, NetworkShape(inputs=inputs).channels(3), 4, 4)
    expected = {
        "change": [change[:, 1]],
        "change+fine": [change[:, 1], fine[:, 1]],
        "change+fine+coarse": [change[:, 1], fine[:, 1], coarse[:, 1]],
        "all-changes": [change[:, 0], change[:, 1], change[:, 2]],
    }[inputs]
    np.testing.assert_array_equal(made, np.stack(expected, 1))


def test_unknown_options_are_refused(random_model):
    with pytest.raises(MethodError, match=facts("inputs", "'fine'", "['change', 'change+fine'")):
        NetworkShape(inputs="fine")
    with pytest.raises(MethodError, match=facts("denoise", "-1", "0 to 5")):
        random_model(denoise=-1)
    with pytest.raises(
        MethodError, match=facts("weights", "'best'", "['change', 'time', 'equal', 'learned']")
    ):
        random_model(weights="best")
    model = random_model()
    silent = dataclasses.replace(model.card, laws={})
    with pytest.raises(MethodError, match=facts("random.safetensors", "weights='change'")):
        dataclasses.replace(model, card=silent, weights="learned")


# The coarse field.


def test_denoising_is_a_gaussian_that_leaves_gaps_out():
    image = np.random.default_rng(0).normal(size=(2, 20, 24)).astype("f4")
    made = smooth_coarse(image, 0.7)
    expected = gaussian_filter(
        image.astype("f8"), (0, 0.7, 0.7), mode="constant", radius=(0, 3, 3)
    ) / gaussian_filter(np.ones_like(image, "f8"), (0, 0.7, 0.7), mode="constant", radius=(0, 3, 3))
    assert smooth_radius(0.7) == 3
    np.testing.assert_allclose(made, expected, atol=1e-6)
    level = np.full((9, 9), 0.3, "f4")
    level[4, 4] = np.nan
    smooth = smooth_coarse(level, 0.7)
    assert np.isnan(smooth[4, 4])
    np.testing.assert_allclose(np.delete(smooth.ravel(), 40), 0.3, atol=1e-6)
    assert smooth_coarse(image, 0) is image


# The sides.


def block_of(change_before, change_after, day):
    alignment = Alignment(AxisMap(0.5, 0, 3), AxisMap(0.5, 0, 3), (6, 6))
    tile = Tile(0, 6, 0, 6)
    image = np.zeros((1, 3, 3), "f4")
    bases = [
        Base(np.datetime64(d), np.zeros((1, 6, 6), "f4"), image - np.float32(change))
        for d, change in (("2021-04-01", change_before), ("2021-04-17", change_after))
    ]
    return Block(
        ("red",), *bases, np.array([day], "datetime64[D]"), image[None],
        Upsampler(alignment, tile, Tile(0, 3, 0, 3)), tile, 0, 0, SideMemo(tile, (1, 1)),
        np.ones((1, 3, 3), "f4"),
    )  # fmt: skip


def test_learned_weights_are_inverse_expected_errors():
    law = (-9.0, 20.0, 0.1)
    weight = learned_weight(block_of(0.02, 0.08, "2021-04-05"), {"red": law}, 1)
    errors = [np.exp(law[0] + law[1] * c + law[2] * t) for c, t in ((0.02, 4), (0.08, 12))]
    expected = (1 / errors[0]) / (1 / errors[0] + 1 / errors[1])
    np.testing.assert_allclose(weight, expected, rtol=1e-5)
    np.testing.assert_allclose(
        learned_weight(block_of(0.05, 0.05, "2021-04-09"), {"red": law}, 3), 0.5, atol=1e-6
    )


def test_the_law_of_errors_is_found_again():
    rng = np.random.default_rng(1)
    count = 800
    size, days = rng.uniform(0, 0.1, count), rng.integers(1, 60, count)
    expected = np.exp(-10 + 25 * size + 0.02 * days)
    samples = Samples(
        change=np.ones((count, 1, 2, 2), "f4") * size[:, None, None, None].astype("f4"),
        bias=np.zeros((count, 1, 2, 2), "f4"),
        held_out=np.ones(count, bool),
        pairs=(),
        days=days,
    )
    errors = expected * rng.gamma(8, 1 / 8, count) / 0.02**2
    law = fit_error_law(samples, 0, errors, 0.02)
    np.testing.assert_allclose(law, (-10, 25, 0.02), rtol=0.1)
    flat = fit_error_law(samples, 0, np.where(days < 3, 4.0, np.nan), 0.02)
    assert flat[1] == pytest.approx(0, abs=1e-3)
    none = fit_error_law(samples, 0, np.full(count, np.nan), 0.02)
    assert none == (0.0, 0.0, 0.0)
