"""Pictures of cubes: what they show, in numbers where there are some."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from checks import facts
from matplotlib.image import imread
from PIL import Image

import biastf_xr
from biastf_xr import pictures
from biastf_xr.cube import STATUS
from biastf_xr.errors import CubeStructureError, TargetDateError
from biastf_xr.methods.interpolation import Direct
from biastf_xr.pictures._colour import STATUS_COLOURS, choose_colours, composite, stretch


@pytest.fixture(scope="module")
def pair(make_pair):
    return make_pair(bands=("green", "red", "nir"))


@pytest.fixture(scope="module")
def fused(pair):
    """Return a fused cube with an uncertainty, in memory."""
    made = biastf_xr.fuse(*pair, "linear").compute()
    made["nir_sigma"] = made["nir"] * 0 + 0.05
    made["nir_sigma"].attrs["standard_name"] = "surface_bidirectional_reflectance standard_error"
    return made


def drawn(figure, tmp_path):
    figure.savefig(tmp_path / "drawn.png")
    pixels = imread(tmp_path / "drawn.png")
    assert pixels[..., :3].std() > 0.05
    assert figure._repr_png_()[:4] == b"\x89PNG"
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def test_composite_shows_missing_pixels_as_grey(pair):
    fine = pair[0].copy(deep=True)
    fine["red"][1, 0, 0] = fine["nir"][1, 0, 0] = np.nan
    image = composite(fine.isel(time=1), ("nir", "red", "red"))
    assert image.shape == (24, 20, 3)
    assert (image[0, 0] == 0.85).all()
    assert image.min() >= 0
    assert image.max() <= 1
    assert stretch(fine * np.nan, ("nir",)) == (0.0, 1.0)


def test_colours_are_chosen_by_what_there_is():
    assert choose_colours(["blue", "green", "red", "nir"]) == ("nir", "red", "green")
    assert choose_colours(["blue", "green", "red"]) == ("red", "green", "blue")
    assert choose_colours(["nir"]) == ("nir", "nir", "nir")
    assert choose_colours(["blue", "green", "red", "nir"], "true") == ("red", "green", "blue")
    assert choose_colours(["blue", "nir"], "nir") == ("nir", "nir", "nir")
    for wrong in ("true", ["red"], ["nir", "blue"]):
        message = facts("['blue', 'nir']", "'true'", "'false'")
        with pytest.raises(CubeStructureError, match=message):
            choose_colours(["blue", "nir"], wrong)


def test_every_status_has_a_colour_of_its_own():
    assert set(STATUS_COLOURS) == set(STATUS)
    assert len(set(STATUS_COLOURS.values())) == len(STATUS)


def test_quicklook_shows_the_dates_asked_for(pair, tmp_path):
    titles = [a.get_title() for a in drawn(pictures.draw_quicklook(pair[0]), tmp_path)]
    assert titles == ["2021-04-01", "2021-04-09", "2021-04-17"]
    path = tmp_path / "new" / "one.png"
    one = pictures.draw_quicklook(pair[0].isel(time=1), path=path)
    assert [a.get_title() for a in one.axes] == ["2021-04-09"]
    assert imread(path).shape[0] > 100
    shown = pictures.draw_quicklook(pair[0], "2021-04-17", colours="nir", limits=(0, 0.5)).axes[0]
    expected = np.clip(pair[0]["nir"].isel(time=2).values.astype(float) / 0.5, 0, 1)
    np.testing.assert_allclose(shown.get_images()[0].get_array()[..., 0], expected, atol=1e-6)


def test_series_shows_the_pixel_its_uncertainty_and_its_scenes(fused, pair, tmp_path):
    fine, coarse = pair
    place = {"x": float(fine.x[3]) + 4, "y": float(fine.y[5]) - 3}
    (axis,) = drawn(pictures.draw_series(fused, **place, scenes=fine, coarse=coarse), tmp_path)
    lines = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
    np.testing.assert_array_equal(lines["daily cube"], fused["nir"][:, 5, 3])
    np.testing.assert_array_equal(lines["fine scenes"], fine["nir"][:, 5, 3])
    assert len(lines["observed"]) == 3
    assert len(lines["fused two sided"]) == 14
    (band,) = axis.collections
    spread = band.get_paths()[0].vertices[:, 1]
    assert spread.max() == pytest.approx(float(fused["nir"][:, 5, 3].max()) + 0.05, abs=1e-5)
    with pytest.raises(CubeStructureError, match=facts("'swir1'", "['green', 'red', 'nir']")):
        pictures.draw_series(fused, **place, band="swir1")


def test_status_is_counted_and_painted(fused, tmp_path):
    made = fused.copy(deep=True)
    made["status_flag"][0, :12] = STATUS["failed"]
    shares = pictures.count_status(made)
    assert list(shares.columns) == ["fused_two_sided", "observed", "failed"]
    assert shares.loc["2021-04-01"].to_dict() == {
        "fused_two_sided": 0, "observed": 0.5, "failed": 0.5,
    }  # fmt: skip
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    figure = pictures.draw_status(made, ["2021-04-01"])
    axes = drawn(figure, tmp_path)
    painted = axes[0].get_images()[0].get_array()
    assert not np.array_equal(painted[0, 0], painted[-1, 0])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(text.startswith("failed ") for text in legend)
    with pytest.raises(CubeStructureError, match=facts("status_flag", "nir")):
        pictures.draw_status(made[["nir"]])


def test_distances_are_days_and_none_is_no_distance(fused, tmp_path):
    axes = drawn(pictures.draw_distance(fused, "2021-04-04"), tmp_path)
    shown = [np.asarray(axis.get_images()[0].get_array()) for axis in axes]
    assert [np.unique(s).tolist() for s in shown] == [[3.0], [5.0], [0.0]]
    alone = fused.assign(base_after=fused["base_after"] * 0)
    after = pictures.draw_distance(alone, "2021-04-04").axes[1].get_images()[0].get_array()
    assert np.isnan(np.ma.filled(after, np.nan)).all()
    with pytest.raises(CubeStructureError, match=facts("base_after", "base_before", "coarse_gap")):
        pictures.draw_distance(fused[["nir"]], "2021-04-04")


def test_comparison_goes_from_base_to_base(fused, pair, tmp_path):
    axes = drawn(pictures.draw_comparison(fused, "2021-04-04", *pair), tmp_path)
    assert [axis.get_title() for axis in axes] == [
        "fine, 2021-04-01", "coarse, 2021-04-04", "fused, 2021-04-04", "fine, 2021-04-09",
        "uncertainty of nir",
    ]  # fmt: skip
    with pytest.raises(
        TargetDateError, match=facts("2022-01-01", "17", "2021-04-01", "2021-04-17")
    ):
        pictures.draw_comparison(fused, "2022-01-01", *pair)


def test_calendar_takes_cubes_and_stores(small_cubes, pair, tmp_path):
    path = tmp_path / "calendar.png"
    stores = pictures.draw_calendar(small_cubes, path=path)
    assert stores.axes[0].get_title() == "fine: fine.zarr"
    assert imread(path).shape[1] > 600
    cubes = pictures.draw_calendar({"Landsat": pair[0], "MODIS": pair[1]})
    assert [a.get_title() for a in cubes.axes[:2]] == ["Landsat", "MODIS"]
    image = cubes.axes[0].get_images()[0].get_array()
    assert np.flatnonzero(~np.isnan(np.ma.filled(image, np.nan)[0])).tolist() == [0, 8, 16]


def test_names_are_no_formulas(pair, tmp_path):
    titles = ["a_$\\frac$", "$b^$", "_c%_{"]
    figure = pictures.draw_calendar(dict.fromkeys(titles, pair[0]), path=tmp_path / "drawn.png")
    assert [axis.get_title() for axis in drawn(figure, tmp_path)[:3]] == titles


def test_animation_shows_every_day_beside_the_coarse_image(fused, pair, tmp_path):
    coarse = pair[1].isel(time=slice(1, None))
    made = pictures.animate(fused, coarse, limits=(0, 0.5))
    assert len(made.days) == 17
    assert made.frames.shape == (17, 24, 20 + 4 + 20, 3)
    assert (made.frames[0, :, :20] == round(0.85 * 255)).all()  # no coarse image that day
    near = coarse["nir"].isel(time=0).sel(y=fused.y, x=fused.x, method="nearest")
    expected = np.round(np.clip(near.values.astype(float) / 0.5, 0, 1) * 255)
    np.testing.assert_allclose(made.frames[1, :, :20, 0], expected, atol=1)
    with Image.open(made.save(tmp_path / "season.gif")) as picture:
        assert picture.n_frames == 17
        assert picture.size == (44 * 11, 24 * 11 + 16)
    html = made._repr_html_()
    assert len(html) < 60_000
    assert json.loads(re.search(r"days = (\[.*?\]);", html).group(1)) == list(made.days)
    assert not re.search(r"https?://", html)
    few = pictures.animate(fused, every=4, path=tmp_path / "few.gif")
    assert few.days == ("2021-04-01", "2021-04-05", "2021-04-09", "2021-04-13", "2021-04-17")
    assert (tmp_path / "few.gif").exists()


def test_transfer_of_the_coarse_change_has_learned_no_bias(pair, tmp_path):
    days = "2021-04-01", "2021-04-09"
    pair = tuple(ds.assign({b: 0.3 * ds[b] for b in ("green", "red", "nir")}) for ds in pair)
    predicted, observed = pictures.learned_bias(Direct(), *pair, *days)
    np.testing.assert_array_equal(predicted["nir"], 0)
    back = pictures.learned_bias(Direct(), *pair, *days[::-1])[1]
    np.testing.assert_allclose(observed["red"], -back["red"], atol=1e-6)
    axes = drawn(pictures.draw_bias(Direct(), *pair, *days, bands=["nir"]), tmp_path)
    assert axes[1].get_title() == "nothing to compare"


def test_bias_of_a_network_is_what_it_adds(pair, random_model, tmp_path):
    model = random_model(bands=("green", "red", "nir"))
    fine = pair[0].copy(deep=True)
    fine["red"][0, :2] = np.nan
    predicted, observed = pictures.learned_bias(model, fine, pair[1], "2021-04-01", "2021-04-09")
    assert np.isnan(predicted["red"][:2]).all()
    assert float(np.abs(predicted["nir"]).max()) > 1e-4
    axes = drawn(pictures.draw_bias(model, fine, pair[1], "2021-04-01", "2021-04-09"), tmp_path)
    known = np.isfinite(observed["nir"]).values
    like = np.corrcoef(observed["nir"].values[known], predicted["nir"].values[known])[0, 1]
    assert axes[5].get_title().startswith(f"r {like:.2f}")


def test_work_is_counted_by_worker(small_cubes, tmp_path):
    log = tmp_path / "run.jsonl"
    days = [f"2021-04-{d:02}" for d in range(2, 10)]
    report = biastf_xr.write_fused(
        *small_cubes, tmp_path / "f.zarr", "nearest", dates=days, tile=48, log=log
    )
    counted = pictures.count_units(log)
    assert counted["units"].sum() == report.units
    assert counted["Mpx"].sum() * 1e6 == pytest.approx(report.pixels)
    assert {"read", "infer", "write"} <= set(counted.columns)
    drawn(pictures.draw_work(log, path=tmp_path / "work.png"), tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(CubeStructureError, match=facts("empty.jsonl")):
        pictures.count_units(tmp_path / "empty.jsonl")


def test_pictures_load_matplotlib_with_the_first_and_never_pyplot():
    code = (
        "import sys, biastf_xr.pictures; a = 'matplotlib' in sys.modules; "
        "import biastf_xr.pictures._canvas; print(a, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
