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
# # Train, look at the bias, compare
#
# The networks of the paper (method `biastf`) learn the *bias*: what the fine sensor sees of a
# change beyond what the coarse one does. This notebook trains them, shows what they have learned,
# and compares methods with the measures of the paper. Region, networks and training are tiny, so
# that it runs in a minute: the numbers show how to read the tables, not how good a method is.

# %%
from pathlib import Path

from IPython.display import Image

import biastf_xr
from biastf_xr.methods.biastf import NetworkShape, SampleRule, TrainRule
from biastf_xr.pictures import draw_bias
from biastf_xr.testing import SyntheticRegion

BANDS = ["green", "red", "nir"]

# %% [markdown]
# ## 1. Two cubes in memory
#
# Any two Datasets with dims `(time, y, x)`, the same band names and reflectance in 0 to 1 will
# do. The calendar shows what the clouds left.

# %%
region = SyntheticRegion(shape=(96, 96), days=129)
fine, coarse = region.fine_cube()[BANDS], region.coarse_cube()[BANDS]
fine.biastf.calendar(coarse)

# %%
clear = fine["nir"].notnull().mean(("y", "x"))
days = fine["time"].to_index().strftime("%Y-%m-%d")
whole = [day for day, share in zip(days, clear.values, strict=True) if share > 0.95]
withheld = whole[1:-1]
print("clear scenes:", ", ".join(whole))
print("withheld in turn:", ", ".join(withheld))

# %% [markdown]
# ## 2. Train
#
# One network per band, of the layers of Table 1 of the paper with fewer filters. Patches of some
# places and dates are held out; training stops when the loss on them rises. The last clear scene
# but one is left out here, to look at later.

# %%
TINY = {
    "network": NetworkShape(filters=(16, 8, 8)),
    "samples": SampleRule(patch=16, count=96),
    "train": TrainRule(epochs=6),
}
known = fine.drop_sel(time=withheld[-1])
networks = known.biastf.fit(coarse, "biastf", **TINY)
networks

# %%
Image(networks.plot_history(Path("losses.png")), width=560)

# %% [markdown]
# A loss of 1 means that the network is no better than answering "no bias". With so few patches and
# epochs little is learned; real settings are in the [methods page](../reference/methods.md).
#
# `biastf-plus` learns a few numbers instead: what the coarse sensor makes of a fine change, how
# noisy it is, and how far to trust it.

# %%
plus = known.biastf.fit(coarse)
plus

# %% [markdown]
# ## 3. The bias, observed and predicted
#
# Above, the true bias of the change between two scenes: the fine change less the coarse change.
# Below, what a method predicts of it, from the coarse images and the earlier scene alone. The
# networks first. They see the coarse change only, so what is finer than a coarse pixel is out of
# their reach.

# %%
pair = whole[whole.index(withheld[-1]) - 1], withheld[-1]
draw_bias(networks, fine, coarse, *pair)

# %% [markdown]
# `biastf-plus` also looks at the base image, and spreads the change along its structures.

# %%
draw_bias(plus, fine, coarse, *pair)

# %% [markdown]
# ## 4. Compare
#
# `evaluate` withholds every clear scene between the first and the last in turn, fits the learned
# methods again without it, and scores all methods on the same pixels. The simple baselines are
# always there: the nearest scene, the straight line between two, and the transfer of the coarse
# change.

# %%
scores = fine.biastf.evaluate(
    coarse,
    {
        "fitfc": "fitfc",
        "biastf": lambda known, coarse: biastf_xr.fit(known, coarse, "biastf", **TINY),
        "biastf-plus": "biastf-plus",
    },
    dates=withheld,
)
scores.summary()[["RMSE", "CC", "ERGAS", "SSIM", "SAM"]].round(4)

# %% [markdown]
# By band, and by date:

# %%
scores.by_band().round(4)

# %%
scores.by_date().round(4)

# %% [markdown]
# ## 5. Verdicts
#
# Is a method better, or could it be chance? Two methods are compared date by date. A verdict is
# given only where the 95 % interval of the mean difference leaves zero out, and with fewer than
# three dates never.

# %%
for one in scores.comparisons():
    low, high = f"{one.low:+.4f}", f"{one.high:+.4f}"
    print(f"{one.method} against {one.reference}: {one.verdict} ({low} to {high})")

# %% [markdown]
# The date left out, as it was and as `biastf-plus` predicts it without having seen it:

# %%
fine.biastf.quicklook(withheld[-1], limits=(0.02, 0.4))

# %%
fused = known.biastf.fuse(coarse, plus, dates=[withheld[-1]]).compute()
fused.biastf.compare(withheld[-1], known, coarse)
