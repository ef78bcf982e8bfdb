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
# # First daily cube in ten minutes
#
# From two folders of satellite scenes to a cube with one fine image a day, and back to numbers
# that say how good it is. The scenes are synthetic, so nothing is downloaded and the truth is
# known on every day. The region is deliberately tiny: it shows the steps, not what a method can
# do. `biastf-xr demo` runs the same steps on a larger one.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import biastf_xr
from biastf_xr.sources import build_product
from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

WORK = Path("first_daily_cube")

# %% [markdown]
# ## 1. Scenes
#
# A farmed river plain of 96 x 96 fine pixels of 30 m, seen every 16 days by a Landsat-like sensor
# and daily by a MODIS-like one whose pixels are 16 times larger. Both have clouds. The writers
# give the files that an archive would have given: Landsat Collection 2 Level-2 and MOD09GA, as
# GeoTIFFs.

# %%
region = SyntheticRegion(shape=(96, 96), days=64)
landsat = write_landsat(region, WORK / "scenes/landsat")
modis = write_mod09ga(region, WORK / "scenes/modis")
print(f"{len(landsat)} Landsat files, for instance {landsat[0].name}")
print(f"{len(modis)} MODIS files, for instance {modis[0].name}")

# %% [markdown]
# ## 2. Ingest
#
# `ingest` scales the digital numbers, applies the quality bits of the product and writes a Zarr
# cube for each sensor, every one on its own grid. `clear_fraction` tells what the clouds left.

# %%
for name, kind in (("landsat-c2-l2", "fine"), ("mod09ga", "coarse")):
    folder = WORK / "scenes" / ("landsat" if kind == "fine" else "modis")
    report = biastf_xr.ingest(
        build_product(name), folder, WORK / f"{kind}.zarr", kind=kind, overwrite=True
    )
    clear = np.array(list(report.added.values()))
    print(f"{kind}: {clear.size} scenes, mean clear fraction {clear.mean():.0%}")

# %%
BANDS = ["green", "red", "nir"]
fine = biastf_xr.open_cube(WORK / "fine.zarr")[BANDS]
coarse = biastf_xr.open_cube(WORK / "coarse.zarr")[BANDS]
fine

# %%
fine.biastf.calendar(coarse)

# %% [markdown]
# The second scene is clouded. The third one is withheld: neither the fit nor the fusion sees it,
# so that it can judge them at the end. What remains are the first and the last scene, 48 days
# apart.

# %%
WITHHELD = "2021-05-03"
known = fine.drop_sel(time=WITHHELD)
known["time"].to_index().strftime("%Y-%m-%d").to_list()

# %% [markdown]
# ## 3. Fit
#
# The default method, `biastf-plus`, compares the two sensors on the clear dates: what the coarse
# one makes of a fine change of 1, how noisy it is, and how wrong predictions of known dates are.
# That takes seconds. The networks of the paper are `known.biastf.fit(coarse, "biastf")`.
# `ds.biastf` offers the functions of the package on a Dataset: `biastf_xr.fit(known, coarse)` is
# the same.

# %%
model = known.biastf.fit(coarse).save(WORK / "model.safetensors")
model

# %% [markdown]
# ## 4. Fuse, lazily
#
# Which scenes will be used for which days?

# %%
known.biastf.brackets(coarse)

# %% [markdown]
# The result is an ordinary Dataset with one image a day. Nothing has been computed yet.

# %%
fused = known.biastf.fuse(coarse, model)
fused

# %% [markdown]
# Computing one day reads and predicts what this day needs. Beside it: the coarse image of the
# day, the nearest scene, and the scene that was withheld.

# %%
day = fused.sel(time=WITHHELD).compute()
images = {
    "coarse image": coarse.sel(time=WITHHELD),
    "nearest scene known": known.isel(time=-1),
    "fused": day,
    "withheld scene": fine.sel(time=WITHHELD),
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
for axis, (title, image) in zip(axes, images.items(), strict=True):
    colours = np.stack([image[band].values for band in ("nir", "red", "green")], axis=-1)
    axis.imshow(np.clip(colours / 0.45, 0, 1), interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()
_ = figure.suptitle(f"{WITHHELD}: nir, red, green as red, green, blue")
# %% [markdown]
# ## 5. The season
#
# Day by day, beside the coarse images. Press play, or move the slider.

# %%
fused = fused.compute()
fused.biastf.animate(coarse)

# %% [markdown]
# One pixel on every day. The band is the standard deviation of the error that the method states;
# the marks at the bottom say how the day was made.

# %%
centre = {name: float(fused[name].mean()) for name in ("x", "y")}
fused.biastf.series(**centre, scenes=fine, coarse=coarse)

# %% [markdown]
# The scene on 3 May was withheld: the fused line did not know of it.
#
# Because the truth is known here, the daily series can be put beside it on the days without any
# fine scene. One pixel is an ordinary one; the other changes most. `nir_sigma` is the standard
# deviation of the error that the method states for every pixel and day.

# %%
truth = region.truth_cube(region.dates)
change = (truth["nir"].max("time") - truth["nir"].min("time")).values
ranked = change.ravel().argsort()
figure, axes = plt.subplots(1, 2, figsize=(12, 3.2), layout="constrained")
for axis, index in zip(axes, (ranked[ranked.size // 2], ranked[-1]), strict=True):
    row, column = np.unravel_index(index, change.shape)
    pixel = {"y": row, "x": column}
    truth["nir"].isel(pixel).plot(ax=axis, color="0.6", label="truth")
    line, spread = fused["nir"].isel(pixel), fused["nir_sigma"].isel(pixel)
    line.plot(ax=axis, color="tab:green", label="fused")
    axis.fill_between(
        fused.time,
        line - spread,
        line + spread,
        color="tab:green",
        alpha=0.2,
        lw=0,
        label="1 sigma",
    )
    scenes = known["nir"].isel(pixel)
    scenes.plot(ax=axis, color="black", ls="", marker="o", label="scenes known")
    axis.set(title=f"row {row}, column {column}", ylabel="nir reflectance")
_ = axes[0].legend(frameon=False)

# %% [markdown]
# The pixel on the right is flooded and dry again between two scenes. No base image knows of the
# water, and the coarse sensor sees it mixed with its dry surroundings, so the fusion follows the
# mean of a coarse pixel and not the flood. This is a limit of what the two sensors tell.

# %% [markdown]
# `status_flag` says how each pixel was made, `coarse_gap` how many days away the nearest clear
# coarse observation was that its coarse value came from.

# %%
print("mean coarse gap in days:", round(float(fused["coarse_gap"].mean()), 2))
fused.biastf.status()

# %% [markdown]
# ## 6. Score
#
# `evaluate` withholds the date again, takes the simple baselines along and scores all of them on
# the same pixels. It refuses a model that was fitted on the date.

# %%
fine.biastf.evaluate(coarse, model, dates=[WITHHELD])

# %% [markdown]
# One date of a tiny region says little; `biastf-xr evaluate` leaves out every clear date in turn.
# Errors against the truth, day by day:

# %%
figure, axis = plt.subplots(figsize=(9, 3.2), layout="constrained")
for method in ("linear", "direct", model):
    product = known.biastf.fuse(coarse, method)["nir"].compute()
    error = np.sqrt(((product - truth["nir"]) ** 2).mean(("y", "x")))
    error.plot(ax=axis, label=method if isinstance(method, str) else method.name)
axis.axvline(region.event_date, color="0.8", lw=6, zorder=0, label="flood breaks out")
axis.set(title="RMSE of nir against the truth", ylabel="reflectance")
_ = axis.legend(frameon=False)
# %% [markdown]
# ## 7. Write, and open with plain xarray
#
# `write_fused` goes from store to store without holding the cube in memory; with `client=` it
# runs on a Dask cluster. It reads the stores with all their bands, and the model was fitted on
# three; here the free `direct` does. The withheld date is left out again. `plan` says beforehand
# what will be done, and of a cube that is there, what is missing: the same call again does only
# that.

# %%
biastf_xr.plan(WORK / "fine.zarr", WORK / "coarse.zarr", method="direct", withhold=[WITHHELD])

# %%
report = biastf_xr.write_fused(
    WORK / "fine.zarr",
    WORK / "coarse.zarr",
    WORK / "fused.zarr",
    "direct",
    withhold=[WITHHELD],
    overwrite=True,
)
print(f"{report.units} units, {report.pixels / 1e6:.2f} Mpx and dates in {report.seconds:.1f} s")
xr.open_zarr(report.path)
