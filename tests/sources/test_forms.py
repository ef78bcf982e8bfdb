"""Forms of files: archives, what every product declares, and what is refused by name."""

from __future__ import annotations

import re
import shutil
import tarfile

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from checks import facts, some

from biastf_xr.cube import ingest, open_cube
from biastf_xr.errors import SceneError
from biastf_xr.sources import PRODUCTS, build_product, product_class

GRID = {"crs": "EPSG:32755", "transform": Affine(30, 0, 455010, 0, -30, 6171000)}
NAME = re.compile(r"[A-Z][A-Za-z0-9]+[._][A-Za-z0-9._-]+[A-Za-z0-9]")
FORMS = [(name, form) for name in PRODUCTS for form in product_class(name).refused]


def write(path, values, **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = {**GRID, **profile}
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype, **grid,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return path


def landsat(folder, scene, **layers):
    """Write a scene of 8 rows and columns, band n with the number 8000 + 100 n."""
    numbers = {f"SR_B{n}": np.full((8, 8), 8000 + 100 * n, np.uint16) for n in range(1, 8)}
    numbers |= {"QA_PIXEL": np.zeros((8, 8), np.uint16), "QA_RADSAT": np.zeros((8, 8), np.uint16)}
    for layer, values in (numbers | layers).items():
        write(folder / f"{scene}_{layer}.TIF", values)
    return folder


def pack(folder, archive, mode="w", prefix=""):
    """Put the files of a folder into an archive, and take the folder away."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode) as file:
        for path in sorted(folder.iterdir()):
            file.add(path, prefix + path.name)
    shutil.rmtree(folder)
    return archive


# --- what every product declares ----------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in PRODUCTS if product_class(n).patterns])
def test_files_that_a_product_expects_are_its_own(name):
    cls = product_class(name)
    examples = [e for e in NAME.findall(cls.expects) if not e.endswith((".tar", ".nc"))]
    for example in some(examples):
        assert any(pattern.match(example) for pattern in cls.patterns), example
    for other in PRODUCTS:
        if other != name:
            for pattern in product_class(other).patterns:
                assert not any(map(pattern.match, examples)), other


@pytest.mark.parametrize(("name", "form"), FORMS, ids=[form.example for _, form in FORMS])
def test_every_other_form_is_refused_with_words_of_its_own(name, form):
    cls = product_class(name)
    assert not any(pattern.match(form.example) for pattern in cls.patterns)
    first = next(other for other in cls.refused if other.pattern.match(form.example))
    assert first is form
    assert not re.search(r"[{}]", "".join(s.problem + s.key for s in cls.refuse(cls, form.example)))


# --- archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "LC08/"])
def test_bundle_is_read_in_place(small_scenes, small_cubes, tmp_path, prefix):
    there = tmp_path / "odd {name} 100%!"
    for scene in build_product("landsat-c2-l2").find_scenes(small_scenes.landsat):
        for file in scene.files.values():
            (tmp_path / scene.id).mkdir(exist_ok=True)
            shutil.copy(file, tmp_path / scene.id)
        pack(tmp_path / scene.id, there / f"{scene.id}.tar", prefix=prefix)
    product = build_product("landsat-c2-l2")
    report = ingest(product, there, tmp_path / "fine.zarr", kind="fine")
    assert not report.rejected
    xr.testing.assert_equal(
        open_cube(tmp_path / "fine.zarr").load(), open_cube(small_cubes.fine).load()
    )
    assert not ingest(product, there, tmp_path / "fine.zarr", kind="fine").added
    # An archive that was exchanged is read again.
    scenes = product.find_scenes(there)
    archive = there / f"{scenes[0].id}.tar"
    archive.write_bytes(archive.read_bytes() + bytes(1024))
    again = ingest(product, there, tmp_path / "fine.zarr", kind="fine")
    assert list(again.added) == [scenes[0].id]


def test_metadata_in_a_bundle_is_checked(tmp_path):
    name = "LC08_L2SP_093084_20200101_20200823_02_T1"
    folder = landsat(tmp_path / "a", name)
    (folder / f"{name}_MTL.txt").write_text('    PROCESSING_LEVEL = "L1TP"\n')
    archive = pack(folder, tmp_path / f"{name}.tar")
    product = build_product("landsat-c2-l2")
    with pytest.raises(SceneError, match=facts(archive, "L1TP", "L2SP")):
        product.open_scene(product.find_scenes(tmp_path)[0])


def test_packed_and_cut_off_bundles_are_refused_until_they_are_unpacked(tmp_path):
    name = "LC08_L2SP_093084_20200101_20200823_02_T1"
    archive = pack(landsat(tmp_path / "a", name), tmp_path / "d" / f"{name}.tar")
    archive.write_bytes(archive.read_bytes()[:200])
    product = build_product("landsat-c2-l2")
    (scene,) = product.find_scenes(archive.parent)
    assert re.match(facts("tar", "Download"), scene.problem)
    archive.unlink()
    zipped = pack(landsat(tmp_path / "a", name), tmp_path / "d" / f"{name}.tar.gz", "w:gz")
    (scene,) = product.find_scenes(zipped.parent)
    assert (str(scene.date), scene.files) == ("2020-01-01", {})
    assert "Unpack" in scene.problem
    landsat(zipped.parent, name)
    (scene,) = product.find_scenes(zipped.parent)
    assert not scene.problem


# --- Landsat and HLS ----------------------------------------------------------------------------


def test_tile_of_analysis_ready_data_is_read(tmp_path):
    for craft in ("LC08", "LT05"):
        landsat(tmp_path / "ard", f"{craft}_CU_027018_20000619_20210425_02")
    product = build_product("landsat-c2-l2")
    old, new = sorted(product.find_scenes(tmp_path), key=lambda s: s.id, reverse=True)
    assert (old.key, str(old.date)) == ("LT05_CU_027018_20000619", "2000-06-19")
    for scene, red in ((old, 8300), (new, 8400)):
        ready = product.to_reflectance(product.open_scene(scene))
        np.testing.assert_allclose(ready["red"], red * 2.75e-5 - 0.2, rtol=1e-6)


def test_heavy_aerosol_is_masked_if_asked_for(tmp_path):
    quality = np.zeros((8, 8), np.uint8)
    quality[0, :4] = (0b11000000, 0b10000000, 0b01000000, 0b11000010)
    opacity = np.zeros((8, 8), np.int16)
    opacity[0, :4] = (301, 300, -9999, 900)
    name = "L{}_L2SP_093084_20200101_20200823_02_T1"
    landsat(tmp_path, name.format("C08"), SR_QA_AEROSOL=quality)
    landsat(tmp_path, name.format("E07"), SR_ATMOS_OPACITY=opacity)
    for options, masked in (({}, []), ({"mask_aerosol": True}, [0, 3])):
        product = build_product("landsat-c2-l2", **options)
        for scene in some(product.find_scenes(tmp_path)):
            ready = product.to_reflectance(product.open_scene(scene))
            assert np.flatnonzero(np.isnan(ready["red"])).tolist() == masked
            assert ("aerosol" in scene.files) == bool(options)
    (tmp_path / f"{name.format('C08')}_SR_QA_AEROSOL.TIF").unlink()
    problems = [s.problem for s in product.find_scenes(tmp_path)]
    assert sum("['aerosol']" in problem for problem in problems) == 1


def test_heavy_aerosol_of_hls_is_masked_if_asked_for():
    fmask = np.array([[0b11000000, 0b10000000, 0b01000000, 0b11100000]], np.uint8)
    raw = xr.Dataset({"Fmask": (("y", "x"), fmask)})
    raw = raw.assign(
        {b: (("y", "x"), np.full((1, 4), 500, np.int16)) for b in build_product("hls").bands}
    )
    for aerosol, masked in ((False, []), (True, [0, 3])):
        ready = build_product("hls", mask_aerosol=aerosol).to_reflectance(raw)
        assert np.flatnonzero(np.isnan(ready["nir"])).tolist() == masked
