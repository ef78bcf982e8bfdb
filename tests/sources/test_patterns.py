"""Dates in file names: the true one, or refused with every reading; never another."""

from __future__ import annotations

import re
import string

import numpy as np
import pytest
from checks import facts, some

from biastf_xr.errors import ConfigError
from biastf_xr.sources import build_product
from biastf_xr.sources._patterns import check_pattern, read_name

LANDSAT = "LC08_L2SP_093084_20200101_20200823_02_T1.tif"


@pytest.mark.parametrize(
    ("pattern", "name", "day"),
    [
        ("L_%Y%m%d.tif", "L_20211112.tif", "2021-11-12"),
        ("*%Y%m%d.tif", "L_20211112.tif", "2021-11-12"),
        ("*%Y%m%d*", "S2A20210615T101031_N0300.tif", "2021-06-15"),
        ("LC08_????_??????_%Y%m%d_*.tif", LANDSAT, "2020-01-01"),
        ("*_????????_%Y%m%d_*.tif", LANDSAT, "2020-08-23"),
        ("tile??%Y%m%d.tif", "tile5520210615.tif", "2021-06-15"),
        ("*%Y%m%d.tif", "tile5520210615.tif", "2021-06-15"),
        ("*A%Y%j*.tif", "MOD_A2001192_20011110.tif", "2001-07-11"),
        ("*.A%Y%j.*.hdf", "MOD13A1.A2016145.h18v04.061.2021354012345.hdf", "2016-05-24"),
        ("*_%j_%Y.tif", "x_192_2001.tif", "2001-07-11"),
        ("%d.%m.%Y.tif", "11.7.2001.tif", "2001-07-11"),
        ("%d%m%Y.tif", "11072001.tif", "2001-07-11"),
        ("*_%d%b%Y.tif", "L_11Jul2001.tif", "2001-07-11"),
        ("%B-%d-%Y_*.tif", "July-11-2001_a.tif", "2001-07-11"),
        ("S2_%Y%m%dT%H%M%S_*.tif", "S2_20210615T101031_N0300.tif", "2021-06-15"),
        ("*_*_%Y%m%d_T1.tif", "a_b_c_20200101_T1.tif", "2020-01-01"),
    ],
)
def test_the_date_is_read(pattern, name, day):
    check_pattern(pattern, "pattern")
    assert read_name(pattern, name).day == day


@pytest.mark.parametrize(
    ("pattern", "name", "shown"),
    [
        ("LC08_*_%Y%m%d_*.tif", LANDSAT,
         ["2020-01-01", "LC08_????_??????_%Y%m%d_*.tif", "2020-08-23"]),
        ("*%Y%m%d*.tif", LANDSAT, ["2020-01-01", "2020-08-23"]),
        ("*_%Y%j_*.tif", "MOD_2001192_2001200_x.tif", ["2001-07-11", "2001-07-19"]),
        ("*%Y%j*.tif", "MOD_A2001192_20011110.tif", ["2001-07-11", "2001-04-21", "???_?%Y%j*.tif"]),
        ("L_%Y%m%d.tif", "L_2021111.tif", ["2021-01-11", "2021-11-01"]),
        ("*%Y%j.tif", "L_20211112.tif", ["0211112"]),
        ("L_%Y%m%d.tif", "L_20010732.tif", ["2001-07-32"]),
        ("L_%Y%j.tif", "L_2001366.tif", ["2001366"]),
        ("L_%Y%m%d.tif", "L_00010101.tif", ["0001-01-01"]),
        ("*%Y*%m*%d*", "1" * 60, ["too many ways"]),
    ],
)  # fmt: skip
def test_a_name_that_may_be_read_otherwise_is_refused_with_the_readings(pattern, name, shown):
    found = read_name(pattern, name)
    assert not found.day
    assert re.search(facts(*shown), found.problem), found.problem


@pytest.mark.parametrize("option", ["pattern", "mask_pattern"])
@pytest.mark.parametrize(
    "pattern",
    [
        "L_*.tif", "L_%y%m%d.tif", "L_%Y%m.tif", "%Y/%m/%d.tif", "%Y_%Y%m%d.tif", "%Y%m%b%d",
        "L_%Y%m%d%.tif", "L_%Y%U%d.tif", "2021/L_%Y%m%d.tif", "L_%Y%m%d%j.tif",
    ],
)  # fmt: skip
def test_a_pattern_without_one_date_is_refused_with_the_option(pattern, option):
    patterns = {"pattern": "L_%Y%m%d.tif", "mask_pattern": "Q_%Y%m%d.tif"} | {option: pattern}
    with pytest.raises(ConfigError, match=facts(f"{option} is {pattern!r}", "%Y", "%j")):
        build_product("geotiff", layers=["red"], clear_values=[1], **patterns)


def random_name(rng):
    """Return a pattern, a name that was made by it, and the date that was meant."""
    day = np.datetime64("1984-01-01") + int(rng.integers(0, 50 * 365))
    date = day.item()
    schemes = ["%Y%m%d", "%Y%j", "%d%m%Y", "%Y-%m-%d", "%d%b%Y", "%Y_%j", "%m%d%Y", "%Y%m%dT%H%M"]
    scheme = schemes[rng.integers(len(schemes))]
    letters = np.array([*(string.ascii_uppercase + string.digits * 2 + "_-.")])

    def text(most):
        if rng.random() < 0.3:  # another number that may be a date
            other = date.replace(year=date.year + 1, day=1 + int(rng.integers(28)))
            return f"{other:%Y%m%d}" if rng.random() < 0.5 else f"{other:%Y%j}"
        return "".join(rng.choice(letters, rng.integers(0, most)))

    pattern, name = "", ""
    at = rng.integers(4)
    for part in range(4):
        if part == at:
            pattern, name = pattern + scheme, name + date.strftime(scheme)
        kind = rng.random()
        filler = text(7)
        if kind < 0.5:
            pattern, name = f"{pattern}*", name + filler
        elif kind < 0.7:
            pattern, name = pattern + "?" * len(filler), name + filler
        else:
            pattern, name = pattern + filler, name + filler
    return pattern + ".tif", name + ".tif", str(day)


def test_random_names_give_the_true_date_or_are_refused():
    rng = np.random.default_rng(0)
    read, refused = 0, []
    for _ in range(4000):
        pattern, name, day = random_name(rng)
        check_pattern(pattern, "pattern")
        found = read_name(pattern, name)
        assert found is not None, (pattern, name)
        assert bool(found.day) != bool(found.problem)
        assert found.day in ("", day), (pattern, name, day)
        read += bool(found.day)
        refused += [(pattern, name, day, found.problem)] * (not found.day)
    assert read > 2000, "a pattern is for reading"
    for pattern, name, day, problem in some(refused):
        for shown, written in re.findall(r"(\d{4}-\d\d-\d\d), as of (\S+\.tif)", problem):
            again = read_name(written, name)
            assert again.day in ("", shown), (pattern, name, day, written)


def test_masks_are_those_of_their_images_or_refused(tmp_path):
    for name in ("a_20210401_SR", "b_20210401_SR", "a_20210401_QA", "b_20210401_QA"):
        (tmp_path / f"{name}.tif").touch()
    options = {"layers": ["red"], "clear_values": [1], "pattern": "*_%Y%m%d_SR.tif"}
    good = build_product("geotiff", mask_pattern="*_%Y%m%d_QA.tif", **options)
    for scene in some(good.find_scenes(tmp_path)):
        assert scene.files["mask"].name == scene.files["image"].name.replace("SR", "QA")
    bad = build_product("geotiff", mask_pattern="?_%Y%m%d_QA.tif", **options)
    for scene in some(bad.find_scenes(tmp_path)):
        assert re.search(facts("a_20210401_QA.tif", "b_20210401_QA.tif"), scene.problem)


def test_a_file_that_cannot_be_dated_is_listed_and_not_another_day(tmp_path):
    (tmp_path / LANDSAT).touch()
    product = build_product("geotiff", layers=["nir"], pattern="LC08_*_%Y%m%d_*.tif")
    (scene,) = product.find_scenes(tmp_path)
    assert np.isnat(scene.date)
    assert re.search(facts("2020-01-01", "2020-08-23"), scene.problem)
