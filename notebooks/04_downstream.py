# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Work with a fused cube
#
# You were given a fused cube and never heard of fusion. All you need is `xr.open_zarr`: nothing
# below imports biastf_xr. The cube is an ordinary CF dataset with one image a day, so the tools you
# know work on it: vegetation indices, the dates of the growing season, series of fields, a map of
# what is unusual, and a map with a time slider.
#
# One cell has to make a cube first, because this notebook comes without data. It runs biastf_xr in
# another process, on a synthetic farmed region in the southern spring, and you would leave it out.

# %%
import subprocess
import sys

PREPARE = """
import biastf_xr
from biastf_xr.testing import SyntheticRegion

region = SyntheticRegion(shape=(96, 96), start="2021-06-20", days=176)
bands = ["blue", "red", "nir"]
fused = biastf_xr.fuse(region.fine_cube()[bands], region.coarse_cube()[bands], "direct")
fused.chunk(time=8).to_zarr("fused.zarr", mode="w", consolidated=True)
"""
command = [sys.executable, "-W", "ignore", "-c", PREPARE]
_ = subprocess.run(command, check=True, capture_output=True)  # noqa: S603

# %% [markdown]
# ## 1. Open
#
# Lazy: nothing but metadata is read. Bands are surface reflectance between 0 and 1, NaN where
# missing; `status_flag` says of every pixel whether it was observed or predicted, and from what.

# %%
import geopandas as gpd
import hvplot.xarray  # noqa: F401  (adds .hvplot)
import matplotlib.pyplot as plt
import numpy as np
import rioxarray  # noqa: F401  (adds .rio)
import xarray as xr
import xvec  # noqa: F401  (adds .xvec)
from shapely.geometry import Point, Polygon, box

ds = xr.open_zarr("fused.zarr")
ds

# %%
print("CRS:", ds.rio.crs, "| pixels of", ds.rio.resolution(), "m")
flag = ds["status_flag"]
names = dict(zip(flag.attrs["flag_values"], flag.attrs["flag_meanings"].split(), strict=True))
shares = {names[v]: float((flag == v).mean()) for v in names}
print({name: f"{share:.1%}" for name, share in shares.items() if share})

# %% [markdown]
# ## 2. Daily NDVI and EVI
#
# Arithmetic on variables, day by day. A running median over nine days takes out what noise there
# is. A season of a small region fits in memory, so it is loaded once here; a large one stays lazy.

# %%
nir, red, blue = (ds[band] for band in ("nir", "red", "blue"))
index = xr.Dataset(
    {
        "ndvi": (nir - red) / (nir + red),
        "evi": 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1),
    }
)
index = index.chunk(time=-1).rolling(time=9, center=True, min_periods=5).median()
index = index.assign_coords(spatial_ref=ds["spatial_ref"]).load()
ndvi = index["ndvi"]

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained", sharey=True)
for axis, day in zip(axes, ("2021-07-01", "2021-08-15", "2021-10-01", "2021-12-01"), strict=True):
    image = ndvi.sel(time=day).plot.imshow(
        ax=axis, vmin=0, vmax=0.9, cmap="YlGn", add_colorbar=False
    )
    axis.set(title=day, aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
_ = figure.colorbar(image, ax=axes, label="NDVI", shrink=0.8)

# %% [markdown]
# ## 3. Series of fields
#
# Fields come as polygons, in any CRS, and are brought to that of the cube. `xvec` takes the mean of
# the pixels whose centres are inside and gives a cube with a geometry dimension. Points work
# likewise.

# %%
left, bottom, right, top = ds.rio.bounds()
fields = gpd.GeoDataFrame(
    {"name": ["west", "north-east", "south", "by the river"]},
    geometry=[
        box(left + 300, top - 900, left + 750, top - 480),
        box(left + 2100, top - 750, left + 2550, top - 330),
        box(left + 1200, bottom + 300, left + 1650, bottom + 660),
        Polygon(
            [
                (left + 1500, top - 1200),
                (left + 1980, top - 1290),
                (left + 1860, top - 1680),
                (left + 1530, top - 1590),
            ]
        ),
    ],
    crs=ds.rio.crs,
)
fields = fields.to_crs("EPSG:4326").to_crs(ds.rio.crs)  # as if they came in degrees
series = index.xvec.zonal_stats(fields.geometry, x_coords="x", y_coords="y", stats="mean")
series

# %%
figure, axes = plt.subplots(1, 3, figsize=(13, 3.4), layout="constrained")
image = ndvi.sel(time="2021-10-01").plot.imshow(
    ax=axes[0], vmin=0, vmax=0.9, cmap="YlGn", add_colorbar=False
)
fields.boundary.plot(ax=axes[0], color=[f"C{n}" for n in range(len(fields))], lw=2)
axes[0].set(title="fields, 2021-10-01", aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
for axis, name in zip(axes[1:], ("ndvi", "evi"), strict=True):
    for place, field in enumerate(fields["name"]):
        axis.plot(series["time"], series[name].isel(geometry=place), label=field)
    axis.set(title=f"{name.upper()} of fields, daily")
    axis.tick_params(axis="x", rotation=30)
_ = axes[2].legend(frameon=False, fontsize=8)

# %% [markdown]
# As a table for a spreadsheet, one column a field; and the series of two wells.

# %%
table = series["ndvi"].to_series().unstack("time").set_axis(fields["name"]).T
table.resample("MS").mean().round(2)

# %%
wells = gpd.GeoSeries([Point(left + 500, top - 700), Point(left + 2300, top - 500)], crs=fields.crs)
points = index.xvec.extract_points(wells, x_coords="x", y_coords="y")
points["ndvi"].sel(time="2021-10-01").values.round(2)

# %% [markdown]
# ## 4. Start, peak and end of the season
#
# A simple definition, pixel by pixel: the peak is the day of the largest NDVI. The season starts on
# the first day from which NDVI stays above the middle between the smallest value before the peak
# and the peak; it ends on the last day before NDVI falls below the middle between the peak and the
# smallest value after it. A side that rises or falls by less than 0.15 has no date. With one image
# a day no curve has to be fitted.


# %%
def season(ndvi: xr.DataArray, smallest: float = 0.15) -> xr.Dataset:
    """Find start, peak and end of the season, in days since the first; NaN where there is none."""
    day = xr.DataArray(np.arange(ndvi.sizes["time"]), coords={"time": ndvi["time"]})
    top, peak = ndvi.max("time"), ndvi.fillna(-1).argmax("time")
    before, after = ndvi.where(day <= peak), ndvi.where(day >= peak)
    low = {"start": before.min("time"), "end": after.min("time")}
    start = day.where(before < (top + low["start"]) / 2).max("time") + 1
    end = day.where(after < (top + low["end"]) / 2).min("time") - 1
    start, end = start.where(top - low["start"] > smallest), end.where(top - low["end"] > smallest)
    return xr.Dataset(
        {"start": start, "peak": peak.where(start.notnull() | end.notnull()), "end": end}
    )


dates = season(ndvi.where(ndvi.max("time") > 0.3))  # where anything grows
figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
first = ndvi["time"].values[0]
for axis, name in zip(axes, ("start", "peak", "end"), strict=True):
    image = dates[name].plot.imshow(
        ax=axis, cmap="twilight_shifted", vmin=0, vmax=ndvi.sizes["time"], add_colorbar=False
    )
    axis.set(title=f"{name} of season", aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
bar = figure.colorbar(image, ax=axes, shrink=0.8)
ticks = np.arange(11, ndvi.sizes["time"], 31)
bar.set_ticks(ticks)
bar.set_ticklabels([str(first + np.timedelta64(int(t), "D"))[:10] for t in ticks])

# %% [markdown]
# ## 5. What is unusual
#
# The anomaly of a day is its NDVI less the mean of the thirty days before, in units of their
# standard deviation and of a noise floor of 0.02. The river of this region floods: there NDVI falls
# within days.

# %%
before = ndvi.rolling(time=30).construct("lag").shift(time=5)
usual = before.mean("lag")
spread = np.hypot(before.std("lag"), 0.02)
anomaly = ((ndvi - usual) / spread).where(usual.notnull())
struck = (anomaly < -5).mean(("y", "x"))
worst = struck["time"].values[int(struck.argmax("time"))]

figure, axes = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
anomaly.sel(time=worst).plot.imshow(
    ax=axes[0], cmap="RdBu", vmin=-10, vmax=10, cbar_kwargs={"label": "standard deviations"}
)
axes[0].set(title=f"NDVI anomaly, {str(worst)[:10]}", aspect="equal", xticks=[], yticks=[])
axes[0].set(xlabel="", ylabel="")
(100 * struck).plot(ax=axes[1], color="tab:red")
_ = axes[1].set(title="pixels with an anomaly below -5", ylabel="%", xlabel="")

# %% [markdown]
# ## 6. A map with a time slider
#
# hvPlot turns the series into an interactive map. Nine frames are embedded: the output stays small
# and the slider works without a running kernel. In a live notebook the same call on all of `ndvi`,
# without `dynamic=False`, gives a slider over every day. The page of this notebook loads Bokeh's
# scripts from the web; `hvplot.save(..., resources="inline")` writes a page that needs none.

# %%
frames = ndvi.isel(time=slice(4, None, 20)).astype("float32").drop_vars("spatial_ref")
frames.hvplot.image(
    x="x",
    y="y",
    groupby="time",
    dynamic=False,
    clim=(0, 0.9),
    cmap="YlGn",
    aspect="equal",
    frame_width=280,
    title="NDVI",
)

# %% [markdown]
# ## Where to go on
#
# [Use a cube downstream](../howto/downstream.md): GeoTIFFs for GIS, a STAC catalogue, a copy of the
# cube from which series are read tens of times faster.
