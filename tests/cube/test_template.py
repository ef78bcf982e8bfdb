"""Structure of stored cubes, compared with the committed one.

A change of structure is meant to show up as a changed file.  To write the files anew:
``BIASTF_XR_WRITE_GOLDEN=1 python -m pytest tests/cube/test_template.py``
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from biastf_xr.cube import CubeSpec, Layout, open_cube
from biastf_xr.cube._ledger import create_ledger
from biastf_xr.cube._template import build_template, write_template
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import GridMismatchError

GOLDEN = Path(__file__).parent / "golden"
KINDS = ("fine", "coarse", "fused")
# They differ between releases of this package and of PROJ.
LEFT_OUT = ("biastf_version", "history", "crs_wkt", "projected_crs_name")
DAYS = np.array(["2021-04-01", "2021-04-02", "2021-04-17"], "M8[D]")


def spec(kind, crs="EPSG:32755", shape=(300, 520)):
    geobox = GeoBox(shape, Affine(30, 0, 455_985, 0, -30, 6_171_015), crs)
    extras = {"view_zenith": {"units": "degree", "_fill": 255}} if kind == "coarse" else {}
    layout = Layout.build(kind, shape)
    return CubeSpec(kind, ("red", "nir"), geobox, layout, {"source": "test"}, extras)


def along_time(kind):
    nat = np.datetime64("NaT", "s")
    if kind == "fused":
        return {
            "before": xr.Variable("time", np.array(["2021-04-01", "2021-04-01", nat], "M8[s]")),
            "after": xr.Variable("time", np.array([nat, "2021-04-17", "2021-04-17"], "M8[s]")),
        }
    return {"clear_fraction": xr.Variable("time", np.array([0, 0.5, np.nan], "f4"))}


def write(kind, path, **options):
    template = build_template(spec(kind, **options), DAYS, along_time(kind))
    with store_at(path).build("test", replace=False) as edit:
        write_template(template, spec(kind, **options), edit.store)
        if kind != "fused":
            create_ledger(edit.group, spec(kind, **options), DAYS.size)
    return path


def structure(path):
    """Read all metadata of a store, less what the releases change."""
    found = {}
    for file in sorted(path.rglob("zarr.json")):
        node = json.loads(file.read_text())
        node.pop("consolidated_metadata", None)
        attributes = node["attributes"]
        node["attributes"] = {
            k: v for k, v in attributes.items() if k not in LEFT_OUT and "name" not in k[-5:]
        } | {k: v for k, v in attributes.items() if k in {"standard_name", "long_name"}}
        found[str(file.parent.relative_to(path))] = node
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_structure_is_the_committed_one(tmp_path, kind):
    found = structure(write(kind, tmp_path / "cube.zarr"))
    golden = GOLDEN / f"{kind}.json"
    if os.environ.get("BIASTF_XR_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(golden.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_is_consolidated_and_agrees_with_each_array(tmp_path, kind):
    path = write(kind, tmp_path / "cube.zarr")
    whole = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    for name, node in whole.items():
        if node["node_type"] == "group":
            continue
        assert (
            node["attributes"] == json.loads((path / name / "zarr.json").read_text())["attributes"]
        )
    assert {"red", "nir", "time", "spatial_ref"} <= set(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_unwritten_pixels_read_as_missing(tmp_path, kind):
    ds = open_cube(write(kind, tmp_path / "cube.zarr"), chunks=None, days="all")
    for band in ("red", "nir"):
        assert ds[band].dtype == np.float32
        assert ds[band].shape == (3, 300, 520)
        assert np.isnan(ds[band].to_numpy()).all()
    for mask, attrs in spec(kind).masks.items():
        assert ds[mask].dtype == np.dtype(attrs.get("_dtype", "uint8"))
        assert (ds[mask] == attrs.get("_fill", 0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_template_holds_no_pixels(tmp_path, kind):
    path = write(kind, tmp_path / "cube.zarr")
    for name in ("red", "nir", *spec(kind).masks):
        assert [f.name for f in (path / name).rglob("*") if f.is_file()] == ["zarr.json"]


def test_missing_base_dates_survive_the_store(tmp_path):
    ds = xr.open_zarr(write("fused", tmp_path / "cube.zarr"))
    want = along_time("fused")
    for name in ("before", "after"):
        assert name in ds.coords
        assert ds[name].dtype.kind == "M"
        np.testing.assert_array_equal(ds[name].values.astype("M8[s]"), want[name].values)


def test_flags_are_told_in_pairs(tmp_path):
    ds = xr.open_zarr(write("fused", tmp_path / "cube.zarr"))
    attrs = ds["status_flag"].attrs
    assert len(attrs["flag_values"]) == len(attrs["flag_meanings"].split())
    assert attrs["flag_values"][attrs["flag_meanings"].split().index("unwritten")] == 0


def test_grid_of_another_kind_of_crs_survives_the_store(tmp_path):
    import odc.geo.xr  # noqa: F401

    crs = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    ds = xr.open_zarr(write("coarse", tmp_path / "cube.zarr", crs=crs))
    assert ds.odc.geobox == spec("coarse", crs=crs).geobox
    assert "proj:wkt2" in ds.attrs


def test_template_needs_a_crs():
    with pytest.raises(GridMismatchError, match="CRS"):
        build_template(spec("fine", crs=None), DAYS)
