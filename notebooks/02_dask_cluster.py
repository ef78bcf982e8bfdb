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
# # Jupyter on a Dask cluster
#
# Fuse a region on the workers of a Dask cluster: connect, plan, run, see who did what, and go on
# after an interruption. The cluster here is two processes of this machine. For SLURM, PBS,
# Kubernetes or a Dask Gateway only the line that connects is another one; see
# [](../howto/cluster.md).

# %%
from contextlib import ExitStack
from pathlib import Path

import xarray as xr

import biastf_xr
from biastf_xr.cluster import ClusterSpec, connect, dashboard
from biastf_xr.pictures import count_units, draw_work
from biastf_xr.sources import build_product
from biastf_xr.testing import SyntheticRegion, write_landsat, write_mod09ga

WORK = Path("on_a_cluster")

# %% [markdown]
# ## 1. Two cubes
#
# Synthetic scenes of a small region, as in [the first notebook](01_daily_cube.ipynb). On a cluster
# of several machines the cubes lie where every worker reads them under the same path or URL.

# %%
region = SyntheticRegion(shape=(96, 96), days=49)
write_landsat(region, WORK / "landsat")
write_mod09ga(region, WORK / "modis")
FINE, COARSE, FUSED = (WORK / f"{name}.zarr" for name in ("fine", "coarse", "fused"))
biastf_xr.ingest(build_product("mod09ga"), WORK / "modis", COARSE, kind="coarse", overwrite=True)
biastf_xr.ingest(
    build_product("landsat-c2-l2"), WORK / "landsat", FINE, kind="fine", overwrite=True
)

# %% [markdown]
# ## 2. Connect
#
# `connect` gives an ordinary Dask client, as soon as the first worker is there. In a script it
# stands in a `with` statement; in a notebook an `ExitStack` keeps it open until the last cell.
# The dashboard is a web page that shows the tasks while they run.

# %%
stack = ExitStack()
quiet = {"silence_logs": "ERROR"}  # a keyword of distributed.LocalCluster
spec = ClusterSpec(workers=2, threads=1, memory="2GiB", options=quiet)
client = stack.enter_context(connect(spec))
print("workers:", len(client.scheduler_info()["workers"]))
print("dashboard:", "there" if dashboard(client) else "install the extra `dashboard`")

# %% [markdown]
# `dashboard(client)` is its address; `connect("tls://...:8786")` joins a scheduler that runs
# already.
#
# ## 3. Plan
#
# The plan reads metadata only. A unit of work is one tile and the dates between two scenes, at
# most eight. The tile is tiny here, to give two workers something to share; leave `tile` out for
# real regions.

# %%
biastf_xr.plan(FINE, COARSE, FUSED, "direct", tile=48)

# %% [markdown]
# ## 4. Run, and be interrupted
#
# `write_fused` goes from store to store. Workers read their own windows and write whole shards; no
# pixel passes through this notebook. Here the run is stopped after a third of its units, as by the
# stop button.


# %%
def stop_early(state):
    if state.done >= state.total // 3:
        raise KeyboardInterrupt


options = {"client": client, "tile": 48, "log": WORK / "run.jsonl"}
try:
    biastf_xr.write_fused(FINE, COARSE, FUSED, "direct", progress=stop_early, **options)
except KeyboardInterrupt:
    print("interrupted")

# %% [markdown]
# ## 5. Go on
#
# The fused cube keeps a ledger of what was made from what. The same call does what is missing,
# and nothing else; so it does after a late scene.

# %%
report = biastf_xr.write_fused(FINE, COARSE, FUSED, "direct", **options)
report

# %%
again = biastf_xr.write_fused(FINE, COARSE, FUSED, "direct", **options)
print(f"once more: {again.units} units, {again.kept} dates of tiles there already")

# %% [markdown]
# ## 6. Who did what
#
# The log has a line for every unit. Time to read, to infer and to write is counted by the workers
# themselves.

# %%
count_units(WORK / "run.jsonl").round(2).reset_index(drop=True).rename_axis("worker")

# %%
draw_work(WORK / "run.jsonl")

# %% [markdown]
# ## 7. Lazily on the cluster
#
# The lazy way uses the same workers. Nothing is computed before it is asked for, and only what it
# needs: here a mean of eight days.

# %%
fine, coarse = biastf_xr.open_cube(FINE), biastf_xr.open_cube(COARSE)
fused = fine.biastf.fuse(coarse, "linear", tile=48)
mean = fused["nir"].sel(time=slice("2021-04-20", "2021-04-27")).mean("time")
mean

# %%
print(f"mean nir reflectance {float(mean.mean().compute(scheduler=client)):.4f}")

# %% [markdown]
# ## 8. The result
#
# The fused cube is plain Zarr. `status_flag` says of every pixel how it was made.

# %%
fused = xr.open_zarr(FUSED)
fused.biastf.status()

# %%
fused.biastf.quicklook(["2021-04-08", "2021-04-24", "2021-05-12"])

# %% [markdown]
# Closing the stack ends the workers. On a batch system it cancels the jobs.

# %%
stack.close()
