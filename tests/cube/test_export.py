"""Export: Cloud-Optimised GeoTIFFs that hold the cube's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from checks import facts

from biastf_xr.cube import export_cogs, open_cube
from biastf_xr.errors import ConfigError, CubeExistsError, StoreWriteError, TargetDateError


def test_files_are_cogs_with_the_pixels_of_the_cube(small_cubes, tmp_path):
    seen = []
    files = export_cogs(
        small_cubes.fine, tmp_path / "out", dates=["2021-04-17"], bands=["red", "clear"],
        progress=lambda *a: seen.append(a),
    )  # fmt: skip
    assert [f.name for f in files] == ["fine_20210417_red.tif", "fine_20210417_clear.tif"]
    assert seen == [(f.name, i + 1, 2) for i, f in enumerate(files)]
    day = open_cube(small_cubes.fine).sel(time="2021-04-17").load()
    with rasterio.open(files[0]) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.crs.to_epsg() == 32655
        assert file.transform == day.odc.geobox.affine
        assert np.isnan(file.nodata)
        assert file.descriptions == ("red",)
        assert file.tags()["date"] == "2021-04-17"
        np.testing.assert_array_equal(file.read(1), day["red"])
    with rasterio.open(files[1]) as file:
        assert file.dtypes == ("uint8",)
        np.testing.assert_array_equal(file.read(1), day["clear"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f.name for f in files)


def test_packed_files_keep_half_a_unit(small_cubes, tmp_path):
    (file,) = export_cogs(
        small_cubes.fine, tmp_path, dates=["2021-04-01"], bands=["nir"], dtype="int16"
    )
    want = open_cube(small_cubes.fine)["nir"].sel(time="2021-04-01").values
    with rasterio.open(file) as opened:
        assert opened.nodata == -9999
        assert opened.scales == (1e-4,)
        got = opened.read(1)
    np.testing.assert_array_equal(got == -9999, np.isnan(want))
    clear = np.isfinite(want)
    assert np.abs(got * 1e-4 - want)[clear].max() <= 0.5e-4 + 1e-7


def test_whole_cube_by_default(small_cubes, tmp_path):
    assert len(export_cogs(small_cubes.fine, tmp_path)) == 3 * 6


def test_mistakes_are_named(small_cubes, tmp_path):
    with pytest.raises(TargetDateError, match=facts("2021-04-02", "3", "2021-04-01", "2021-05-03")):
        export_cogs(small_cubes.fine, tmp_path, dates=["2021-04-02"])
    with pytest.raises(ConfigError, match=facts("['green2']", "'green'")):
        export_cogs(small_cubes.fine, tmp_path, bands=["green2"])
    chosen = {"dates": ["2021-04-01"], "bands": ["red"]}
    export_cogs(small_cubes.fine, tmp_path, **chosen)
    with pytest.raises(CubeExistsError, match=facts("fine_20210401_red.tif", "--overwrite")):
        export_cogs(small_cubes.fine, tmp_path, **chosen)
    export_cogs(small_cubes.fine, tmp_path, overwrite=True, **chosen)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreWriteError, match=facts("file/fine_20210401_red.tif")):
        export_cogs(small_cubes.fine, tmp_path / "file", **chosen)
