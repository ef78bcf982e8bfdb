"""Versions of a cube: listed, read, gone back to."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from checks import facts

from biastf_xr.cube.stores import roll_back, store_at, versions
from biastf_xr.errors import CubeStructureError, StoreLockedError


@pytest.fixture
def repository(tmp_path):
    """Make a store of three versions that hold 1, 2 and 3; give its place and their ids."""
    pytest.importorskip("icechunk")
    url = f"icechunk://{tmp_path}/cube"
    with store_at(url).build("holds 1", replace=False) as edit:
        zarr.open_group(edit.store, mode="w").create_array("n", data=np.array([1]))
    for n in (2, 3):
        with store_at(url).edit(f"holds {n}") as edit:
            zarr.open_group(edit.store, mode="r+")["n"][:] = n
    return url, [v.id for v in versions(url)][::-1][-3:]


def held(url, version=None):
    return int(zarr.open_group(store_at(url).reader(version), mode="r")["n"][0])


def test_versions_are_listed_newest_first(repository):
    url, ids = repository
    found = versions(url)
    assert [v.message for v in found[:3]] == ["holds 3", "holds 2", "holds 1"]
    assert found[0].time.endswith("Z")
    assert found[0].time >= found[1].time
    assert [held(url, i) for i in ids] == [1, 2, 3]


def test_rolling_back_loses_nothing(repository):
    url, (first, second, third) = repository
    now = roll_back(url, second)
    assert (now.id, now.message, held(url)) == (second, "holds 2", 2)
    assert held(url, f"rolled-back-{third}") == 3
    assert held(url, third) == 3
    assert [v.id for v in versions(url)][:2] == [second, first]
    # Work goes on from there, and the other line stays readable.
    with store_at(url).edit("holds 4") as edit:
        zarr.open_group(edit.store, mode="r+")["n"][:] = 4
    assert held(url) == 4
    assert roll_back(url, f"rolled-back-{third}").id == third
    assert held(url) == 3


def test_going_forward_again_leaves_no_tag(repository):
    url, (first, _, third) = repository
    roll_back(url, first)
    assert roll_back(url, third).id == third
    assert roll_back(url, third).id == third
    repository = store_at(url)._repository()
    assert repository.list_tags() == {f"rolled-back-{third}"}


def test_unpublished_work_does_not_survive_a_roll_back(repository):
    url, (first, *_) = repository

    def break_off():
        with store_at(url).edit("half", hidden=True) as edit:
            zarr.open_group(edit.store, mode="r+")["n"][:] = 9
            edit.checkpoint("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    roll_back(url, first)
    with store_at(url).edit("nothing", hidden=True):
        pass
    assert held(url) == 1


def test_what_cannot_be_rolled_back_is_said(repository, small_cubes, tmp_path):
    url, (first, *_) = repository
    with pytest.raises(CubeStructureError, match="'nope'"):
        roll_back(url, "nope")
    assert held(url) == 3
    assert versions(small_cubes.fine) == []
    with pytest.raises(CubeStructureError, match=facts("fine.zarr", "'x'", "icechunk://")):
        roll_back(small_cubes.fine, "x")
    with pytest.raises(CubeStructureError, match="nothing"):
        versions(tmp_path / "nothing")
    with store_at(url).lock(), pytest.raises(StoreLockedError):
        roll_back(url, first)
