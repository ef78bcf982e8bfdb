"""How often a run opens its stores: each once in the driver."""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path

import pytest
import zarr

import biastf_xr
from biastf_xr.cube import Cube
from biastf_xr.cube.stores.base import Edit

DAYS = [f"2021-04-{d:02d}" for d in range(13, 17)]


@pytest.fixture
def openings(monkeypatch):
    """Count what this thread opens, by the store: the root group of each, and the edits."""
    found: Counter[str] = Counter()
    real, me = zarr.open_group, threading.current_thread()

    def open_group(store, *args, **kwargs):
        if threading.current_thread() is me:
            mode = kwargs.get("mode", "a")
            root = getattr(store, "_store", store).root  # behind what bounds it
            name = re.sub(r"[0-9a-f]{8}(?=.partial)", "*", Path(root).name)
            found[f"{name} {mode}"] += 1
        return real(store, *args, **kwargs)

    monkeypatch.setattr(zarr, "open_group", open_group)
    return found


def test_a_run_opens_every_store_once(small_cubes, tmp_path, openings):
    output = tmp_path / "fused.zarr"

    def run(**options):
        openings.clear()
        report = biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS, **options)
        return report, dict(openings)

    once = {"fine.zarr r": 1, "coarse.zarr r": 1}
    made, opened = run()
    # A new output is built beside its place, then changed; nobody reads it.
    assert made.units > 0
    assert opened == once | {
        ".fused.zarr.*.partial w-": 1,
        ".fused.zarr.*.partial r+": 1,
        "fused.zarr r+": 1,
    }
    made, opened = run()
    assert made.units == 0
    assert opened == once | {"fused.zarr r": 1}
    made, opened = run(revise=True, rule=biastf_xr.fusion.FusionRule(coarse_max_gap=3))
    assert made.units > 0
    assert opened == once | {"fused.zarr r": 1, "fused.zarr r+": 1}


def test_cubes_that_are_open_are_not_opened_again(small_cubes, tmp_path, openings):
    fine, coarse = map(Cube, small_cubes)
    for _ in range(2):
        biastf_xr.write_fused(fine, coarse, tmp_path / "f.zarr", "linear", dates=DAYS[:1])
        biastf_xr.plan(fine, coarse, method="linear", dates=DAYS, trial=False)
    assert (openings["fine.zarr r"], openings["coarse.zarr r"]) == (1, 1)


def test_an_output_is_looked_at_as_it_is_now(small_cubes, tmp_path):
    output = Cube(tmp_path / "f.zarr")
    biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS[:1])
    assert output.days.size == 1
    biastf_xr.write_fused(*small_cubes, tmp_path / "f.zarr", "linear", dates=DAYS)
    assert biastf_xr.write_fused(*small_cubes, output, "linear", dates=DAYS).units == 0
    assert (output.days.size, output.reopened().days.size) == (1, len(DAYS))


def test_an_edit_opens_its_cube_once(small_cubes, openings):
    from zarr.storage import LocalStore

    edit = Edit(LocalStore(small_cubes.fine))
    assert edit.group is edit.group
    assert openings["fine.zarr r+"] == 1


def test_a_cube_travels_as_its_path(small_cubes):
    import pickle

    cube = Cube(small_cubes.fine)
    assert cube.kind == "fine"
    again = pickle.loads(pickle.dumps(cube))
    assert "group" not in vars(again)
    assert again.path == str(small_cubes.fine)
    assert again.days.tolist() == cube.days.tolist()
