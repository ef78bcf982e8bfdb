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
# # Operate a region: late scene, revision, time travel
#
# A scheduled job keeps a cube up to date. This notebook plays two runs for a small region whose
# fused cube is kept in Icechunk, so that every run leaves a version: the job runs, a scene that
# was late arrives, the plan says what it changes, the second run changes just that, the two
# versions are compared, checked, and the second is taken back.
#
# The archive is synthetic and written first.

# %%
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import biastf_xr
from biastf_xr.cube import verify
from biastf_xr.cube.stores import roll_back, versions
from biastf_xr.sources import build_product
from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

WORK = Path("operate").resolve()
region = SyntheticRegion(shape=(96, 96), days=49, seed=4)
landsat = write_landsat(region, WORK / "archive/landsat")
modis = write_mod09ga(region, WORK / "archive/modis")

# %% [markdown]
# The third of four Landsat scenes is late: its folder is not in the archive yet.

# %%
LATE = sorted((WORK / "archive/landsat").iterdir())[2]
late = LATE.rename(WORK / LATE.name)
print("late:", late.name)

# %% [markdown]
# ## 1. The job
#
# One file describes the region. `output` names an Icechunk store. The method `direct` adds the
# coarse change to the nearest scenes and needs no fit, which keeps this notebook fast.

# %%
CONFIG = WORK / "region.toml"
_ = CONFIG.write_text("""\
[fine]
product = "landsat-c2-l2"
folder = "archive/landsat"
cube = "cubes/fine.zarr"

[coarse]
product = "mod09ga"
folder = "archive/modis"
cube = "cubes/coarse.zarr"

[method]
name = "direct"

[fuse]
output = "icechunk://cubes/fused"

[cluster]
kind = "in-process"
""")


def update() -> None:
    """Run `biastf-xr update region.toml`, as cron would."""
    command = [str(Path(sys.executable).with_name("biastf-xr")), "update", str(CONFIG)]
    quiet = {k: v for k, v in os.environ.items() if k != "FORCE_COLOR"} | {"TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)  # noqa: S603
    if done.returncode:
        raise RuntimeError(done.stderr)
    print(done.stdout[done.stdout.index("the run") :])


update()

# %%
FUSED = f"icechunk://{WORK}/cubes/fused"
for version in versions(FUSED):
    print(*version)
first_night = versions(FUSED)[0].id

# %% [markdown]
# ## 2. The late scene arrives
#
# `plan` reads no pixel. It compares what the cubes have now with the ledger of the fused cube, and
# so has to know the new scene: the archive is ingested, nothing is fused yet.

# %%
_ = late.rename(LATE)
report = biastf_xr.ingest(
    build_product("landsat-c2-l2"),
    WORK / "archive/landsat",
    WORK / "cubes/fine.zarr",
    kind="fine",
)
print("new:", list(report.added))
preview = biastf_xr.plan(
    WORK / "cubes/fine.zarr", WORK / "cubes/coarse.zarr", FUSED, method="direct", trial=False
)
preview

# %% [markdown]
# ## 3. The second run
#
# It recomputes the days that look at the new scene, which is nearly all of so short a season, and
# nothing else. Readers see the old days until the new ones are complete.

# %%
update()

# %% [markdown]
# ## 4. Time travel
#
# Every version stays readable: by its id in `open_cube`, or with plain xarray through an Icechunk
# session. What did the scene change?

# %%
second_night = versions(FUSED)[0].id
before = biastf_xr.open_cube(FUSED, version=first_night)
after = biastf_xr.open_cube(FUSED, version=second_night)
change = (after["nir"] - before["nir"]).compute()
status = {name: ds["status_flag"].compute() for name, ds in (("before", before), ("after", after))}
changed = (status["after"] != status["before"]) | (np.abs(change) > 0)
by_day = changed.mean(("y", "x"))
print(
    int((by_day > 0).sum()),
    "of",
    by_day.size,
    "days changed,",
    int((by_day > 0.5).sum()),
    "of them in more than half of their pixels",
)

# %%
arrival = np.datetime64(f"{LATE.name[17:21]}-{LATE.name[21:23]}-{LATE.name[23:25]}")
figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
(100 * by_day).plot(ax=axes[0], drawstyle="steps-mid")
axes[0].axvline(arrival, color="black", lw=1, ls=":")
axes[0].set(title="pixels that changed", ylabel="%", xlabel="")
axes[0].tick_params(axis="x", rotation=30)
day = arrival - np.timedelta64(3, "D")
for axis, (name, ds) in zip(axes[1:], {"before": before, "after": after}.items(), strict=False):
    ds["nir"].sel(time=day).plot.imshow(ax=axis, vmin=0, vmax=0.5, cmap="gray", add_colorbar=False)
    axis.set_title(f"{name}: nir, {day}")
change.sel(time=day).plot.imshow(
    ax=axes[3], cmap="RdBu_r", vmin=-0.1, vmax=0.1, cbar_kwargs={"label": ""}
)
axes[3].set_title("after - before")
for axis in axes[1:]:
    axis.set(aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")

# %% [markdown]
# Here the truth is known. Three days before the scene was taken, did it help?

# %%
truth = region.truth_cube([str(day)])["nir"].squeeze()
for name, ds in (("before", before), ("after", after)):
    error = ds["nir"].sel(time=day) - truth
    print(f"{name}: RMSE {float(np.sqrt((error**2).mean())):.4f}")

# %% [markdown]
# ## 5. Check
#
# `biastf-xr verify` reads every chunk back: checksums, ranges, flags against bands.

# %%
checked = verify(FUSED)
print(checked.days, "days,", checked.pixels, "pixels;", "sound" if checked.sound else "not sound")

# %% [markdown]
# ## 6. Roll back
#
# Suppose the scene was faulty. `roll_back` makes the version of the first run the newest again;
# what was newest keeps a tag. The ledger goes back with the pixels: the next run would recompute
# the days, so a scene that must not return is named in `exclude` of the section `[fine]` first.

# %%
now = roll_back(FUSED, first_night)
print("readers see:", now.time, now.message)
xr.testing.assert_equal(biastf_xr.open_cube(FUSED)["nir"].compute(), before["nir"].compute())
again = biastf_xr.open_cube(FUSED, version=f"rolled-back-{second_night}")
xr.testing.assert_equal(again["nir"].compute(), after["nir"].compute())

# %% [markdown]
# It was not faulty after all. Forward again:

# %%
roll_back(FUSED, f"rolled-back-{second_night}")
