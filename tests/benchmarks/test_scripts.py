"""Every script of benchmarks/ runs, at toy size."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from checks import some

from biastf_xr.methods import get_method

FOLDER = Path(__file__).parents[2] / "benchmarks"
# Cases of fuzzing: of every target some.
CASES = (*range(100, 103), *range(104, 114))
GENERATED = Path(__file__).parents[1] / "golden" / "synthetic"


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a script; what it sets for itself is undone at the end."""
    monkeypatch.setattr(os, "environ", os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
                 "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "COLUMNS"):  # fmt: skip
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture(scope="module")
def real_twin(tmp_path_factory):
    """Write the generated scene of the reference programs as the set `boreas` circulates."""
    folder = tmp_path_factory.mktemp("twin")
    with np.load(GENERATED / "inputs.npz") as file:
        fine = file["fine"]
        coarse = file["coarse_block"].repeat(8, axis=-2).repeat(8, axis=-1)
    (folder / "boreas").mkdir()
    for letter, images in (("L", fine), ("M", coarse)):
        for day, image in zip(("20010524", "20010711", "20010812"), images, strict=True):
            with rasterio.open(
                folder / "boreas" / f"{letter}_{day}.tif", "w", driver="GTiff", dtype="int16",
                count=3, height=80, width=80, transform=Affine(30, 0, 4e5, 0, -30, 6e6),
            ) as file:  # fmt: skip
                file.write(image)
    return folder


def numbers(text, label):
    """Return the numbers of the lines that start with a label."""
    lines = [line for line in text.splitlines() if line.startswith(label)]
    rows = [re.findall(r"-?\d+\.\d+|-?\d+", line.removeprefix(label)) for line in some(lines)]
    return np.array(rows, float)


def test_accuracy(load, real_twin, tmp_path, capsys):
    accuracy = load("accuracy")
    names = ["efast", "biastf-plus"]
    only = [word for name in names for word in ("--only", name)]
    accuracy.main([str(real_twin), "--set", "boreas", *only, "--csv", str(tmp_path)])
    printed = capsys.readouterr().out
    for name in names:
        assert np.isfinite(numbers(printed, name)).all()
    assert (tmp_path / "boreas.csv").stat().st_size
    for name, options in some(accuracy.METHODS.values()):
        get_method(name, **options)


def test_ablation(load, capsys):
    ablation = load("ablation")
    ablation.main(["--set", "region", "--size", "64", "--days", "48"])
    printed = capsys.readouterr().out
    for row in ablation.ROWS:
        assert np.isfinite(numbers(printed, f"{row} ")).all()


def test_screening(load, capsys):
    toy = ["--seed", "3", "--size", "48", "--days", "64", "--missed", "0.5", "--method", "linear"]
    load("screening").main(toy)
    printed = capsys.readouterr().out
    assert numbers(printed, "missed share of all pixels") > 0
    assert numbers(printed, "RMSE screened") < numbers(printed, "RMSE not screened")


def test_limits(load, real_twin, capsys):
    load("limits").main([str(real_twin), "--set", "boreas"])
    assert np.isfinite(numbers(capsys.readouterr().out, "2001-07-11")).all()


def test_downstream(load, capsys):
    load("bench_downstream").main(64, 6)
    assert (numbers(capsys.readouterr().out, "whole map, one day") > 0).all()


def test_engine(load, capsys):
    load("bench_engine").main(["reads", "--divide", "32"])
    assert (numbers(capsys.readouterr().out, "  read / stored (aim 1.3)") > 0).all()


@pytest.mark.parametrize(
    ("part", "sizes"),
    [("cost", (32, 1)), ("growth", (32, 2, 32)), ("overhead", (32, 1, 1)), ("plan", (3200, 20))],
)
def test_parts_of_the_engine(load, tmp_path, capsys, part, sizes):
    load("bench_engine").main(["--child", part, str(tmp_path), *map(str, sizes)])
    assert all(value for value in some(json.loads(capsys.readouterr().out)).values())


def test_ingest(load, capsys):
    load("bench_ingest").main(["--size", "64", "--rounds", "1"])
    printed = capsys.readouterr().out
    assert (numbers(printed, "ingest / bare loop") > 0).all()
    assert (numbers(printed, "open a cube of 5 years") > 0).all()


def test_kernels(load, capsys):
    load("bench_kernels").main(["--size", "24", "--window", "7"])
    differences = re.findall(r"largest difference (\S+)", capsys.readouterr().out)
    assert max(map(float, some(differences))) < 1e-6


def test_methods(load, monkeypatch, capsys):
    methods = load("bench_methods")
    monkeypatch.setattr(methods, "child", methods.measure)  # a process of its own otherwise
    methods.main(["--size", "64", "--tile", "64", "--only", "efast"])
    assert (numbers(capsys.readouterr().out, "efast") >= 0).all()
    for name, options, *_ in some(methods.ROWS.values()):
        get_method(name, **options)


def test_network(load, capsys):
    network = load("bench_network")
    network.main(["--size", "256", "--rounds", "1"])
    assert (numbers(capsys.readouterr().out, network.PLAIN) >= 0).all()


def test_training(load, capsys):
    toy = ["--size", "48", "--days", "48", "--epochs", "1", "--count", "8"]
    load("bench_training").main(toy)
    assert (numbers(capsys.readouterr().out, "  mean") > 0).all()


@pytest.mark.timeout(600)
def test_faults(load, capsys):
    """A part that is short, and needs neither the superuser nor gigabytes of memory."""
    faults = load("faults")
    parts = ["inputs"]
    assert faults.main([*parts, "--size", "60", "--filters", "4", "2", "2"]) == 0, (
        capsys.readouterr().out
    )
    printed = capsys.readouterr().out
    assert printed.count(": as it should be") == len(parts)


@pytest.mark.timeout(600)
def test_fuzz(load, capsys):
    fuzz = load("fuzz")
    assert fuzz.main(["--cases", *map(str, CASES)]) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert f"{len(CASES)} cases" in printed


def test_every_damage_occurs_and_is_drawn_from_its_number(
    load, tmp_path, small_cubes, small_scenes
):
    damage = load("damage")
    honest = tmp_path / "honest"
    shutil.copytree(small_cubes.fine / "ingest", honest / "ingest")
    shutil.copytree(small_cubes.fine / "time", honest / "time")
    shutil.copy(next(small_scenes.landsat.rglob("*_B2.TIF")), honest)
    (honest / "region.toml").write_text('[fuse]\noutput = "fused.zarr"\ntile = 32\n')

    def damaged(number):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(honest, folder)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        done, _ = damage.damage(random.Random(number), folder, files)
        return done, {
            p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }

    seen = [damaged(number) for number in range(150)]
    assert damaged(7) == seen[7]
    ways = {text.split()[0] for done, _ in seen for text in some(done)}
    assert {way.__name__ for way in (*damage.BYTES_WAYS, *damage.FILE_WAYS)} <= ways
    assert {"change_json", "change_toml", "change_array", "change_tag"} <= ways


def test_no_script_is_forgotten():
    scripts = {path.stem for path in FOLDER.glob("*.py")}
    tests = "".join(path.read_text() for path in FOLDER.parent.glob("tests/**/test_*.py"))
    used = {*re.findall(r'import (\w+)$|load\("(\w+)"\)', tests, re.MULTILINE)}
    assert some(scripts) <= {name for names in used for name in names}
