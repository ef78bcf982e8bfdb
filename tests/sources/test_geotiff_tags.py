"""What GeoTIFFs say of themselves is honoured, or the contradiction is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from checks import facts
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import SceneError
from biastf_xr.sources import build_product

LAYERS = ("green", "red", "nir")
SHAPE = (64, 64)


def numbers(kind="uint16", bands=3):
    """Make numbers of which none repeats much."""
    rng = np.random.default_rng(0)
    top = 250 if np.dtype(kind).itemsize == 1 else 6000
    return rng.integers(1, top, (bands, *SHAPE)).astype(kind)


def write(folder, values, change=None, *, internal=False, mask=None, **profile):
    """Write an image, after what is changed in the open file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "L_20210401.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(
        path, "w", driver="GTiff", height=SHAPE[0], width=SHAPE[1], count=len(values),
        dtype=values.dtype, crs="EPSG:32755", transform=from_origin(455_985, 6_171_015, 30, 30),
        **profile,
    ) as file:  # fmt: skip
        if change is not None:
            change(file)
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
    return path


def setting(**values):
    """Return what sets attributes of an open file."""
    return lambda file: [setattr(file, name, value) for name, value in values.items()]


def cube_of(tmp_path, **options):
    """Ingest the folder, which also reads by windows as a run does."""
    product = build_product("geotiff", pattern="L_%Y%m%d.tif", **{"layers": LAYERS} | options)
    ingest(product, tmp_path / "in", tmp_path / "cube.zarr", kind="fine")
    return open_cube(tmp_path / "cube.zarr").isel(time=0).load()


def refused(tmp_path, *said, **options):
    with pytest.raises(SceneError, match=facts("L_20210401.tif", *said)):
        cube_of(tmp_path, **options)


def usable():
    """Make a mask: a corner and single pixels are not to be used."""
    mask = np.ones(SHAPE, bool)
    mask[:20, :30] = False
    mask[np.arange(64), np.arange(64)] = False
    return mask


@pytest.mark.parametrize("internal", [True, False])
def test_mask_of_the_file_is_honoured(tmp_path, internal):
    values, mask = numbers(), usable()
    values[:, ~mask] = 1234  # looks like a measurement
    path = write(tmp_path / "in", values, mask=mask, internal=internal)
    assert path.with_name(path.name + ".msk").exists() is not internal
    ds = cube_of(tmp_path, factor=1e-4)
    for band, want in zip(LAYERS, values * 1e-4, strict=True):
        np.testing.assert_allclose(ds[band], np.where(mask, want, np.nan), atol=6.2e-5)


def test_mask_of_the_file_goes_with_nodata_and_with_a_mask_beside_it(tmp_path):
    values, mask = numbers(), usable()
    values[:, 40] = 0
    write(tmp_path / "in", values, mask=mask, internal=True, nodata=0)
    beside = np.ones((1, *SHAPE), np.uint8)
    beside[:, 50] = 2
    write(tmp_path / "other", beside).rename(tmp_path / "in" / "Q_20210401.tif")
    ds = cube_of(tmp_path, factor=1e-4, mask_pattern="Q_%Y%m%d.tif", clear_values=[1])
    mask[[40, 50]] = False
    np.testing.assert_array_equal(np.isfinite(ds["nir"]), mask)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_alpha_is_a_mask_and_no_layer(tmp_path, kind):
    values, mask = numbers(kind, 4), usable()
    most = np.iinfo(kind).max
    values[3] = np.where(mask, most, 0)
    values[3, 30, 40] = most // 2  # half transparent: a blend with what is outside
    mask[30, 40] = False
    colours = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined, ColorInterp.alpha]
    write(tmp_path / "in", values, setting(colorinterp=colours))
    factor = 1e-4 if kind == "uint16" else 1 / 255
    ds = cube_of(tmp_path, factor=factor)
    for band, want in zip(LAYERS, values * factor, strict=False):
        np.testing.assert_allclose(ds[band], np.where(mask, want, np.nan), atol=1.3e-4)


def test_alpha_that_is_called_a_band_is_refused(tmp_path):
    # What GDAL makes of any four bytes a pixel.
    write(tmp_path / "in", numbers("uint8", 4))
    refused(tmp_path, "band 4", "alpha", "nir", "--colorinterp 4=undefined", factor=1 / 255,
            layers=("blue", "green", "red", "nir"))  # fmt: skip


def test_alpha_that_is_not_the_last_band_is_refused(tmp_path):
    # GDAL's ALPHA=YES means the second band, which is often a layer: then the last was taken for
    # one, and no pixel was clear.
    values = numbers("int16", 4)
    values[3] = 32767
    write(tmp_path / "in", values, alpha="yes", photometric="minisblack")
    refused(tmp_path, "L_20210401.tif", "band 2 of 4", "alpha", "ALPHA=YES", "2=undefined,4=alpha",
            factor=1e-4)  # fmt: skip


def test_number_of_bands_is_told_with_alpha(tmp_path):
    colours = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
    write(tmp_path / "in", numbers(), setting(colorinterp=colours))
    refused(tmp_path, "2 bands and alpha", "4 (green, red, nir, x)", layers=(*LAYERS, "x"))


def test_scale_and_offset_of_the_file_are_taken_where_none_is_stated(tmp_path):
    values = numbers() + 1000
    scales, offsets = (1e-4, 2e-4, 1e-4), (-0.1, -0.2, -0.1)
    write(tmp_path / "in", values, setting(scales=scales, offsets=offsets))
    ds = cube_of(tmp_path)
    for band, v, scale, offset in zip(LAYERS, values, scales, offsets, strict=True):
        np.testing.assert_allclose(ds[band], v * scale + offset, atol=1.3e-4)


def test_scale_as_a_text_of_the_file_is_taken(tmp_path):
    write(tmp_path / "in", numbers(), lambda f: f.update_tags(scale_factor="0.0001"))
    np.testing.assert_allclose(cube_of(tmp_path)["red"], numbers()[1] * 1e-4, atol=6.2e-5)


def test_scale_that_agrees_is_passed(tmp_path):
    write(tmp_path / "in", numbers(), setting(scales=(1e-4,) * 3, offsets=(0.0,) * 3))
    ds = cube_of(tmp_path, factor=1e-4)
    np.testing.assert_allclose(ds["red"], numbers()[1] * 1e-4, atol=6.2e-5)


@pytest.mark.parametrize("options", [{"factor": 2.75e-5}, {"factor": 1e-4, "offset": -0.1}])
def test_scale_that_contradicts_the_options_is_refused(tmp_path, options):
    write(tmp_path / "in", numbers(), setting(scales=(1e-4,) * 3))
    refused(tmp_path, "scale 0.0001", "offset 0", f"factor = {options['factor']:g}", **options)


def test_nodata_of_each_band_is_honoured(tmp_path):
    values = numbers("int16")
    values[0, :9], values[1, 9:20], values[2, 20:33] = 30_000, -7, 0
    path = write(tmp_path / "in", values)
    tags = "".join(
        f'<PAMRasterBand band="{n}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for n, value in ((1, 30_000), (2, -7), (3, 0))
    )
    path.with_name(path.name + ".aux.xml").write_text(f"<PAMDataset>{tags}</PAMDataset>")
    ds = cube_of(tmp_path, factor=1e-4)
    missing = np.zeros(SHAPE, bool)
    missing[:33] = True
    for band, want in zip(LAYERS, values * 1e-4, strict=True):
        np.testing.assert_allclose(ds[band], np.where(missing, np.nan, want), atol=6.2e-5)


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("band", [0, 2])
def test_fill_as_a_text_of_the_file_is_honoured(tmp_path, name, band):
    values = numbers("int16")
    values[:, 5] = 777
    write(tmp_path / "in", values, lambda f: f.update_tags(band, **{name: "777"}))
    missing = np.isnan(cube_of(tmp_path, factor=1e-4)["nir"])
    assert missing[5].all()
    assert not missing[6:].any() or band == 0


@pytest.mark.parametrize(
    "names",
    [
        ("Red", "green", "nir"), ("B03", "nir", "B8A red edge"), ("swir 1", "", ""),
        ("", "", "SWIR22"), ("", "blue", ""), ("surface reflectance nir", "", ""),
    ],
)  # fmt: skip
def test_descriptions_of_another_order_are_refused(tmp_path, names):
    write(tmp_path / "in", numbers(), setting(descriptions=names))
    wrong = next(i for i, n in enumerate(names) if n and n != "B03")
    refused(tmp_path, f"band {wrong + 1}", names[wrong], LAYERS[wrong], "`layers`", factor=1e-4)


@pytest.mark.parametrize(
    "names",
    [
        ("Green", "RED", "NIR"), ("B3", "B4", "B8"), ("sr_green", "red (B4)", "nir08"),
        ("Band 1", None, "narrow near-infrared (nir)"), ("red edge", "coastal blue", "quality"),
    ],
)  # fmt: skip
def test_descriptions_that_agree_or_say_nothing_are_passed(tmp_path, names):
    write(tmp_path / "in", numbers(), setting(descriptions=names))
    assert np.isfinite(cube_of(tmp_path, factor=1e-4)["nir"]).all()


def test_descriptions_of_bands_of_other_names_are_compared_too(tmp_path):
    write(tmp_path / "in", numbers(), setting(descriptions=("HV", "HH", "VV")))
    refused(tmp_path, "band 1", "'HV'", "HH", factor=1e-4, layers=("HH", "HV", "VV"))


RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_colours_of_another_order_are_refused(tmp_path):
    write(tmp_path / "in", numbers(), setting(colorinterp=RGB))
    refused(tmp_path, "band 1", "'red'", "green", factor=1e-4)
    write(tmp_path / "in", numbers("uint8"), setting(colorinterp=RGB))
    refused(tmp_path, "band 1", "'red'", "blue", factor=1 / 255, layers=("blue", "green", "red"))


def test_colours_that_gdal_gives_to_any_three_bytes_mean_nothing(tmp_path):
    path = write(tmp_path / "in", numbers("uint8"))
    with rasterio.open(path) as file:
        assert file.colorinterp == RGB
    assert np.isfinite(cube_of(tmp_path, factor=1 / 255)["nir"]).all()


def test_palette_and_complex_numbers_are_refused(tmp_path):
    write(tmp_path / "in", numbers("uint8", 1), lambda f: f.write_colormap(1, {1: (0, 0, 0)}))
    refused(tmp_path, "palette", layers=("nir",), factor=1 / 255)
    write(tmp_path / "in", numbers().astype("complex64"))
    refused(tmp_path, "complex64", factor=1e-4)
