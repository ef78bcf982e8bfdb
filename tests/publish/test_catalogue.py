"""The catalogue: what STAC readers make of it, and how it is kept up to date."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from checks import facts, some

import biastf_xr
from biastf_xr.cube import open_cube
from biastf_xr.cube._export import FACTOR
from biastf_xr.errors import ConfigError, CubeExistsError, StoreLockedError, TargetDateError
from biastf_xr.publish import catalogue as module
from biastf_xr.publish.catalogue import publish

pystac = pytest.importorskip("pystac")

DAYS = tuple(f"2021-04-{d:02d}" for d in range(15, 20))
FEW = {"layers": ["red", "status_flag"]}


@pytest.fixture(scope="session")
def published(fused_cube, tmp_path_factory):
    """Publish the fused cube with everything, once; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("public") / "stac"
    providers = [{"name": "The test suite", "roles": ["producer"], "url": "https://example.org"}]
    report = publish(
        fused_cube, folder, licence="CC-BY-4.0", providers=providers, keywords=["fusion"]
    )
    assert (report.added, report.updated, report.kept, report.removed) == (DAYS, (), (), ())
    assert report.files == sum(p.is_file() for p in folder.rglob("*"))
    assert report.size == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return pystac.Collection.from_file(report.path)


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_core_schemas_of_stac_hold(published):
    """pystac has those of STAC itself; those of extensions are only on the web."""
    from pystac.validation import validate_dict

    for thing in (published, *published.get_items()):
        found = thing.to_dict(include_self_link=False, transform_hrefs=False)
        assert found["stac_version"] == "1.1.0"
        assert validate_dict(found | {"stac_extensions": []})
        broken = {k: v for k, v in found.items() if k != "links"} | {"stac_extensions": []}
        with pytest.raises(pystac.STACValidationError):
            validate_dict(broken)


def test_extensions_are_named_where_their_fields_are_used(published):
    for thing in (published, *published.get_items()):
        found = json.loads(Path(thing.get_self_href()).read_text())
        named = {uri.split("/")[3] for uri in found.pop("stac_extensions")}
        text = json.dumps(found)
        prefixes = {"projection": "proj", "raster": "raster", "eo": "eo", "zarr": "zarr",
                    "classification": "classification", "xarray-assets": "xarray"}  # fmt: skip
        assert named == {name for name, prefix in prefixes.items() if f'"{prefix}:' in text}


def test_collection_describes_the_cube(published, fused_cube):
    assert published.id == "fused"
    assert published.license == "CC-BY-4.0"
    assert [p.name for p in published.providers] == ["The test suite"]
    start, end = published.extent.temporal.intervals[0]
    assert (f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}") == (DAYS[0], DAYS[-1])
    with rasterio.open(next(published.get_items()).assets["red"].get_absolute_href()) as file:
        want = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    np.testing.assert_allclose(published.extent.spatial.bboxes[0], want, atol=1e-6)
    assert set(published.item_assets) == {
        *(f"{band}{part}" for band in ("blue", "green", "red", "nir", "swir1", "swir2")
          for part in ("", "_sigma")), "status_flag", "thumbnail",
    }  # fmt: skip
    nir = published.item_assets["nir"].properties
    assert nir["bands"] == [{"name": "nir", "eo:common_name": "nir", "eo:center_wavelength": 0.865}]
    assert (nir["raster:scale"], nir["raster:offset"], nir["nodata"]) == (1e-4, 0.0, -9999)
    assert published.item_assets["nir_sigma"].properties["bands"] == [{"name": "nir_sigma"}]
    classes = published.item_assets["status_flag"].properties["classification:classes"]
    assert {c["value"]: c["name"] for c in classes}[4] == "observed"
    links = {link.rel for link in published.links}
    assert {"root", "item", "cite-as"} <= links


def test_coarse_cube_has_the_wavelengths_of_its_sensor(small_cubes, tmp_path):
    report = publish(small_cubes.coarse, tmp_path, dates=["2021-04-01"], layers=["nir", "clear"])
    found = json.loads(Path(report.path).read_text())["item_assets"]
    assert found["nir"]["bands"][0]["eo:center_wavelength"] == 0.8585
    assert "nodata" not in found["clear"]


def test_all_links_are_relative_and_lead_somewhere(published):
    root = Path(published.get_self_href()).parent
    for file in some([*root.rglob("*.json")]):
        found = json.loads(file.read_text())
        hrefs = [x["href"] for x in (*found["links"], *found["assets"].values())]
        local = [h for h in hrefs if not h.startswith("https://")]
        assert len(hrefs) - len(local) == (found["type"] == "Collection")
        assert all(h.startswith(".") and (file.parent / h).exists() for h in local)
    assert not list(root.rglob(".*"))


def test_store_asset_opens_the_cube(published, fused_cube):
    asset = published.assets["zarr"]
    assert asset.media_type.startswith("application/vnd.zarr")
    got = xr.open_dataset(asset.get_absolute_href(), **asset.extra_fields["xarray:open_kwargs"])
    xr.testing.assert_equal(got, xr.open_zarr(fused_cube))


def test_odc_stac_reads_the_cube_back(published, fused_cube):
    stac = pytest.importorskip("odc.stac")
    items = list(published.get_items())
    got = stac.load(items, chunks={})
    want = open_cube(fused_cube)
    assert got["red"].chunks is not None
    assert got.odc.geobox == want.odc.geobox
    np.testing.assert_array_equal(got["time"], want["time"])
    for name in ("red", "nir_sigma"):
        asset = items[0].assets[name].extra_fields
        numbers = got[name].where(got[name] != got[name].attrs["nodata"])
        values = numbers.compute() * asset["raster:scale"] + asset["raster:offset"]
        expected = want[name].compute()
        np.testing.assert_array_equal(np.isnan(values), np.isnan(expected))
        assert np.nanmax(np.abs(values - expected)) <= FACTOR / 2 + 1e-7
    np.testing.assert_array_equal(got["status_flag"], want["status_flag"])


def test_float_catalogue_keeps_every_bit(fused_cube, tmp_path):
    stac = pytest.importorskip("odc.stac")
    report = publish(fused_cube, tmp_path, dtype="float32", dates=DAYS[:2], **FEW)
    got = stac.load(list(pystac.Collection.from_file(report.path).get_items()), bands=["red"])
    assert np.isnan(got["red"].attrs["nodata"])
    np.testing.assert_array_equal(got["red"], open_cube(fused_cube)["red"][:2])


def test_thumbnail_shows_the_day(published, fused_cube):
    import matplotlib.image

    item = next(published.get_items())
    asset = item.assets["thumbnail"]
    image = matplotlib.image.imread(asset.get_absolute_href())
    day = open_cube(fused_cube).isel(time=0).load()
    assert image.shape == (96, 80, 4)
    np.testing.assert_array_equal(image[..., 3] == 1, day["red"].notnull())
    seen = np.isfinite(day["red"].values)
    np.testing.assert_allclose(image[seen, 0], np.clip(day["red"].values[seen] / 0.25, 0, 1),
                               atol=3e-3)  # fmt: skip


def test_second_run_keeps_everything(own_cube, tmp_path):
    folder = tmp_path / "stac"
    planned = publish(own_cube, folder, dry_run=True, **FEW)
    assert not folder.exists()
    seen = []
    report = publish(own_cube, folder, progress=lambda *a: seen.append(a), **FEW)
    assert (planned.added, planned.files) == (report.added, report.files)
    assert sorted(s[0] for s in seen) == [f"fused_{d.replace('-', '')}" for d in DAYS]
    assert [s[1:] for s in seen] == [(n, 5) for n in range(1, 6)]
    before = content(folder)
    again = publish(own_cube, folder, **FEW)
    assert (again.kept, again.files) == (DAYS, 1)
    assert content(folder) == before


def test_new_and_revised_dates_are_written_and_gone_ones_removed(own_cube, small_cubes, tmp_path):
    folder = tmp_path / "stac"
    publish(own_cube, folder, dates=DAYS[:3], **FEW)
    (folder / "notes").mkdir()
    _revise(own_cube, place=1)
    report = publish(own_cube, folder, dates=DAYS[1:], **FEW)
    assert report.added == DAYS[3:]
    assert report.updated == DAYS[1:2]
    assert report.kept == DAYS[2:3]
    assert report.removed == DAYS[:1]
    names = sorted(p.name for p in folder.iterdir() if p.is_dir())
    assert names == [*(f"fused_{d.replace('-', '')}" for d in DAYS[1:]), "notes"]
    items = list(pystac.Collection.from_file(report.path).get_items())
    assert [f"{i.datetime:%Y-%m-%d}" for i in items] == list(DAYS[1:])
    whole = publish(own_cube, folder, **FEW)
    assert whole.added == DAYS[:1]


def _revise(path, place, by=1):
    """Change what a fused cube says one date was made from, as a revision does."""
    record = zarr.open_group(path, mode="r+", use_consolidated=False)["fusion/record"]
    row = record[place]
    row[..., list(record.attrs["fields"]).index("content")] += np.array(by).astype("uint64")
    record[place] = row


def test_date_that_is_not_made_yet_is_left_out(own_cube, tmp_path):
    record = zarr.open_group(own_cube, mode="r+", use_consolidated=False)["fusion/record"]
    record[2] = 0
    report = publish(own_cube, tmp_path / "stac", **FEW)
    assert report.added == DAYS[:2] + DAYS[3:]
    with pytest.raises(TargetDateError, match=facts("2021-04-17", "4", "2021-04-15", "2021-04-19")):
        publish(own_cube, tmp_path / "other", dates=[DAYS[2]], **FEW)


@pytest.mark.parametrize("loss", ["red.tif", "thumbnail.png", ".json"])
def test_lost_file_is_written_again(own_cube, tmp_path, loss):
    folder = tmp_path / "stac"
    publish(own_cube, folder, dates=DAYS[:2], **FEW)
    before = content(folder)
    next(folder.glob(f"*/*{loss}")).unlink()
    report = publish(own_cube, folder, dates=DAYS[:2], **FEW)
    assert (len(report.updated), len(report.kept)) == (1, 1)
    assert content(folder) == before


def test_other_options_make_the_files_anew(own_cube, tmp_path):
    folder = tmp_path / "stac"
    publish(own_cube, folder, dates=DAYS[:1], **FEW)
    report = publish(own_cube, folder, dates=DAYS[:1], layers=["nir"])
    assert report.updated == DAYS[:1]
    assert {p.stem.split("_", 2)[-1] for p in folder.glob("*/*.tif")} == {"nir"}


def test_interrupted_update_is_never_taken_for_whole(own_cube, tmp_path, monkeypatch):
    folder = tmp_path / "stac"
    publish(own_cube, folder, dates=DAYS[:2], **FEW)
    before = content(folder)
    _revise(own_cube, place=0, by=1)
    write, calls = module.write_cog, []

    def fail_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(module, "write_cog", fail_second)
    with pytest.raises(KeyboardInterrupt):
        publish(own_cube, folder, dates=DAYS[:2], workers=1, **FEW)
    assert len(list(pystac.Collection.from_file(folder / "collection.json").get_items())) == 2
    monkeypatch.undo()
    # As it was when the files that are left were made: still, some of them are not from then.
    _revise(own_cube, place=0, by=-1)
    assert publish(own_cube, folder, dates=DAYS[:2], **FEW).updated == DAYS[:1]
    assert content(folder) == before


def test_interrupted_first_run_goes_on(own_cube, tmp_path):
    folder = tmp_path / "stac"

    def stop(_, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(own_cube, folder, workers=1, progress=stop, **FEW)
    assert not (folder / "collection.json").exists()
    report = publish(own_cube, folder, **FEW)
    assert len(report.kept) >= 2
    assert sorted(report.kept + report.added) == list(DAYS)


def test_icechunk_store_is_named_with_its_own_type(small_cubes, tmp_path):
    pytest.importorskip("icechunk")
    cube = f"icechunk://{tmp_path}/fused"
    biastf_xr.write_fused(*small_cubes, cube, "linear", dates=DAYS[:1])
    report = publish(cube, tmp_path / "stac", **FEW)
    asset = json.loads(Path(report.path).read_text())["assets"]["zarr"]
    assert (asset["type"], asset["href"]) == ("application/x-icechunk", "../fused")


def test_mistakes_are_named(own_cube, tmp_path):
    with pytest.raises(ConfigError, match=facts("['green2']", "'green'")):
        publish(own_cube, tmp_path / "stac", layers=["green2"])
    with pytest.raises(ConfigError, match=facts("['status_flag']", "'nir'")):
        publish(own_cube, tmp_path / "stac", layers=["status_flag"])
    with pytest.raises(ConfigError, match=facts("provider", "name", "roles")):
        publish(own_cube, tmp_path / "stac", providers=[{"roles": ["host"]}])
    publish(own_cube, tmp_path / "stac", dates=DAYS[:1], **FEW)
    with pytest.raises(CubeExistsError, match=facts("collection.json", "'fused'", "'other'")):
        publish(own_cube, tmp_path / "stac", id="other")
    with module.lock_folder(tmp_path / "stac"), pytest.raises(StoreLockedError):
        publish(own_cube, tmp_path / "stac", **FEW)
