"""MOD09GA GeoTIFFs: names, bands, valid range, state bits on the grid of twice the pixel."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from checks import facts

from biastf_xr.errors import GridMismatchError, SceneError
from biastf_xr.sources import build_product

COLOURS = ("blue", "green", "red", "nir", "swir1", "swir2")
NUMBERS = (3, 4, 1, 2, 6, 7)
SHAPE = (4, 16)
CORNER = (100_000.0, 4_000_000.0)
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"


def tiff(path, values, *, size=500.0, corner=CORNER):
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype, crs=SINUSOIDAL,
        transform=Affine(size, 0, corner[0], 0, -size, corner[1]),
    ) as file:  # fmt: skip
        file.write(values, 1)


def write_scene(
    folder, *, day="2021091", product="MOD09GA", tail="000000_aid0001", state=0, dn=None,
    state_corner=CORNER,
):  # fmt: skip
    """Write the bands and the state; band number n holds the number 1000 * n."""
    for n in range(1, 8):
        values = np.full(SHAPE, 1000 * n, np.int16) if dn is None else dn
        tiff(folder / f"{product}.061_sur_refl_b0{n}_1_doy{day}{tail}.tif", values)
    half = np.broadcast_to(state, (SHAPE[0] // 2 + 1, SHAPE[1] // 2 + 1)).astype(np.uint16)
    path = folder / f"{product}.061_state_1km_1_doy{day}{tail}.tif"
    tiff(path, half, size=1000.0, corner=state_corner)


def reflectance(folder, **options):
    product = build_product("mod09ga", **options)
    (scene,) = product.find_scenes(folder)
    return product.to_reflectance(product.open_scene(scene)).compute()


def test_bands_are_ordered_by_colour(tmp_path):
    write_scene(tmp_path)
    ds = reflectance(tmp_path)
    assert tuple(ds.data_vars) == (*COLOURS, "view_zenith", "obs_coverage")
    assert (ds["view_zenith"] == 255).all()  # the layer was not ordered
    assert build_product("mod09ga").bands == COLOURS
    for colour, number in zip(COLOURS, NUMBERS, strict=True):
        assert ds[colour].dtype == np.float32
        np.testing.assert_allclose(ds[colour], number / 10, rtol=1e-6)


def test_values_outside_the_valid_range_are_missing(tmp_path):
    dn = np.zeros(SHAPE, np.int16)
    dn[0, :6] = (-28672, -101, -100, 0, 15999, 16000)
    write_scene(tmp_path, dn=dn)
    got = reflectance(tmp_path)["red"].to_numpy()[0, :6]
    np.testing.assert_allclose(got, [np.nan, np.nan, -0.01, 0, 1.5999, np.nan], rtol=1e-6)


@pytest.mark.parametrize("shift", [0, 1])
def test_state_is_taken_from_the_pixel_that_contains_the_centre(tmp_path, shift):
    state = np.zeros((SHAPE[0] // 2 + 1, SHAPE[1] // 2 + 1), np.uint16)
    state[1, 2] = 1
    corner = (CORNER[0] - 500 * shift, CORNER[1] + 500 * shift)
    write_scene(tmp_path, state=state, state_corner=corner)
    missing = np.isnan(reflectance(tmp_path)["nir"].to_numpy())
    want = np.zeros(SHAPE, bool)
    want[2 - shift : 4 - shift, 4 - shift : 6 - shift] = True
    np.testing.assert_array_equal(missing, want)


def test_pixels_without_a_state_are_masked(tmp_path):
    write_scene(tmp_path, state_corner=(CORNER[0] + 2000, CORNER[1]))
    missing = np.isnan(reflectance(tmp_path)["nir"].to_numpy())
    assert missing[:, :4].all()
    assert not missing[:, 4:].any()


def test_bands_of_one_scene_must_share_a_grid(tmp_path):
    write_scene(tmp_path)
    band = tmp_path / "MOD09GA.061_sur_refl_b02_1_doy2021091000000_aid0001.tif"
    tiff(band, np.zeros(SHAPE, np.int16), corner=(CORNER[0] + 500, CORNER[1]))
    product = build_product("mod09ga")
    (scene,) = product.find_scenes(tmp_path)
    with pytest.raises(GridMismatchError, match=facts("MOD09GA.061.A2021091", "nir", "100500")):
        product.open_scene(scene)


@pytest.mark.parametrize(
    ("options", "masked"),
    [
        ({}, {0, 1, 2, 10}),
        ({"mask_cirrus": True}, {0, 1, 2, 8, 9, 10}),
        ({"mask_internal": False}, {0, 1, 2}),
        ({"mask_adjacent": True}, {0, 1, 2, 10, 13}),
    ],
)
def test_each_state_bit_masks_as_documented(tmp_path, options, masked):
    seen = set()
    for first in (0, 8):
        folder = tmp_path / str(first)
        folder.mkdir()
        write_scene(folder, state=np.append(1 << np.arange(first, first + 8), 0).astype(np.uint16))
        ready = reflectance(folder, **options)
        for band in (ready[c] for c in COLOURS):
            missing = np.isnan(band.to_numpy()).all(0)[::2]
            found = {first + int(b) for b in np.flatnonzero(missing)}
            assert found == {b for b in masked if first <= b < first + 8}
            seen |= found
    assert seen == masked


def test_mixed_cloud_state_is_masked(tmp_path):
    write_scene(tmp_path, state=0b11)
    assert np.isnan(reflectance(tmp_path)["blue"]).all()


@pytest.mark.parametrize("tail", ["000000_aid0001", "_aid0001", ""])
@pytest.mark.parametrize("product", ["MOD09GA", "MYD09GA"])
def test_every_form_of_the_name_gives_the_day(tmp_path, tail, product):
    write_scene(tmp_path, day="2020366", tail=tail, product=product)
    (scene,) = build_product("mod09ga").find_scenes(tmp_path)
    assert scene.date == np.datetime64("2020-12-31")
    assert scene.id == f"{product}.061.A2020366"


def test_scenes_are_in_order_of_date_and_opened_lazily(tmp_path):
    for day in ("2021100", "2020360", "2021099"):
        write_scene(tmp_path, day=day)
    product = build_product("mod09ga")
    scenes = product.find_scenes(tmp_path)
    assert [str(s.date) for s in scenes] == ["2020-12-25", "2021-04-09", "2021-04-10"]
    raw = product.open_scene(scenes[0])
    assert raw["state_1km"].dtype == np.uint16
    assert raw["red"].dtype == np.int16
    assert not any(v.variable._in_memory for v in raw.data_vars.values())


def test_name_with_a_day_that_does_not_exist_is_refused(tmp_path):
    write_scene(tmp_path, day="2021366")
    (scene,) = build_product("mod09ga").find_scenes(tmp_path)
    assert scene.id.endswith("A2021366")
    assert "not a day" in scene.problem


@pytest.mark.parametrize(("layer", "name"), [("sur_refl_b02", "nir"), ("state_1km", "state_1km")])
def test_missing_layer_is_named_with_its_scene(tmp_path, layer, name):
    write_scene(tmp_path)
    (tmp_path / f"MOD09GA.061_{layer}_1_doy2021091000000_aid0001.tif").unlink()
    (scene,) = build_product("mod09ga").find_scenes(tmp_path)
    assert f"['{name}']" in scene.problem


def test_empty_folder_has_no_scenes_and_a_missing_one_is_refused(tmp_path):
    product = build_product("mod09ga")
    assert product.find_scenes(tmp_path) == []
    with pytest.raises(SceneError, match=facts("absent", "MOD09GA")):
        product.find_scenes(tmp_path / "absent")
