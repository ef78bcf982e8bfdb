"""The fused cube in the tools of others: nothing here uses this package to read it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr


@pytest.fixture
def ds(fused_cube):
    """Open the cube as a stranger does; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(fused_cube)


def test_plain_xarray_reads_values_flags_and_days(ds):
    assert set(ds.dims) == {"time", "y", "x"}
    assert ds["red"].dtype == np.float32
    assert ds["red"].attrs["units"] == "1"
    assert np.isfinite(ds["red"].mean())
    assert "spatial_ref" in ds.coords
    flag = ds["status_flag"].attrs
    observed = flag["flag_values"][flag["flag_meanings"].split().index("observed")]
    assert (ds["red_sigma"].where(ds["status_flag"] == observed) > 0).sum() == 0
    weekly = ds["red"].resample(time="7D").mean()
    assert weekly.sizes["time"] == 1


def test_rioxarray_knows_crs_and_clips(ds):
    import rioxarray  # noqa: F401
    from shapely.geometry import box

    assert ds.rio.crs.to_epsg() == 32655
    assert ds.rio.resolution() == (30.0, -30.0)
    left, _, _, top = ds.rio.bounds()
    part = ds["red"].rio.clip([box(left + 30, top - 90, left + 150, top)])
    want = ds["red"].isel(y=slice(3), x=slice(1, 5))
    xr.testing.assert_equal(part.drop_vars("spatial_ref"), want.drop_vars("spatial_ref"))
    there = ds["red"].isel(time=0).rio.write_nodata(np.nan).rio.reproject("EPSG:4326")
    assert there.rio.crs.to_epsg() == 4326


def test_odc_geo_knows_the_grid_and_reprojects(ds):
    import odc.geo.xr  # noqa: F401

    geobox = ds.odc.geobox
    assert geobox.crs.epsg == 32655
    assert geobox.shape == (96, 80)
    there = ds["nir"].odc.reproject(geobox.zoom_out(4), resampling="average")
    assert there.odc.geobox == geobox.zoom_out(4)
    want = ds["nir"].isel(time=0, y=slice(4), x=slice(4)).mean(skipna=False)
    if np.isfinite(want):
        np.testing.assert_allclose(there.isel(time=0, y=0, x=0), want, rtol=1e-5)


def test_xvec_takes_series_of_fields_and_points(ds):
    geopandas = pytest.importorskip("geopandas")
    pytest.importorskip("xvec")
    from shapely.geometry import Point, box

    left, _, _, top = ds.rio.bounds()
    fields = geopandas.GeoSeries([box(left, top - 120, left + 90, top)], crs=ds.rio.crs)
    means = ds[["red"]].xvec.zonal_stats(fields, x_coords="x", y_coords="y", stats="mean")
    want = ds["red"].isel(y=slice(4), x=slice(3)).mean(("y", "x"))
    np.testing.assert_allclose(np.squeeze(means["red"]), want, rtol=1e-5)
    place = geopandas.GeoSeries([Point(left + 75, top - 45)], crs=ds.rio.crs)
    series = ds[["red"]].xvec.extract_points(place, x_coords="x", y_coords="y")
    np.testing.assert_array_equal(np.squeeze(series["red"]), ds["red"].isel(y=1, x=2))


def test_hvplot_draws_without_a_browser(ds):
    pytest.importorskip("hvplot")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Bokeh and Panel as they are imported
        import holoviews as hv
        import hvplot.xarray  # noqa: F401

        maps = ds["nir"].isel(time=slice(2)).hvplot.image(x="x", y="y", groupby="time",
                                                         dynamic=False)  # fmt: skip
        assert isinstance(maps, hv.HoloMap)
        assert len(maps) == 2
        shown = hv.render(maps.last, backend="bokeh")
    assert shown.renderers
