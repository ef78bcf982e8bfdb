"""The measures of the sources: how they count, and what they must not exceed."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from checks import some
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


@pytest.fixture
def house(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import house

    return house


def write(root, **modules):
    package = root / "biastf_xr"
    package.mkdir()
    for name, source in modules.items():
        (package / f"{name}.py").write_text(source)
    return root


def test_circles_inside_functions_and_for_type_checkers_are_found(house, tmp_path):
    write(
        tmp_path,
        __init__="",
        a="def f():\n    from biastf_xr import b\n",
        b="from biastf_xr.a import f\n",
        c="from biastf_xr import d\n",
        d="if TYPE_CHECKING:\n    import biastf_xr.c\n",
    )
    hidden, typed = ["biastf_xr.a", "biastf_xr.b"], ["biastf_xr.c", "biastf_xr.d"]
    assert house.circles(tmp_path) == [hidden]
    assert house.circles(tmp_path, types=True) == [hidden, typed]


def test_public_names_are_functions_and_classes_of_public_modules(house, tmp_path):
    write(
        tmp_path,
        __init__="X = 1\nclass A: ...\n",
        b="def f(): ...\ndef _g(): ...\n",
        _c="def h(): ...\n",
    )
    assert house.public_names(tmp_path) == ["biastf_xr.A", "biastf_xr.b.f"]


def test_code_lines_are_neither_blank_nor_comments_nor_docstrings(house):
    module = '"""Say.\n\nMore.\n"""\n\n# comment\nx = """\n\ntext"""  # comment\n'
    function = 'def f():\n    """Doc."""\n'
    assert house.code_lines(module + function) == 4


def test_every_measure_is_printed():
    command = [sys.executable, ROOT / "benchmarks" / "house.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    figures = {name: int(now.replace(",", "")) for name, now, _ in rows}
    touched = {value for name, value in figures.items() if name.startswith("files to touch")}
    assert touched == {2}  # of a method, a product and a store: its module and its test
    assert figures["configuration keys"] <= 150 < figures["configuration keys spelt out"]
    assert len(figures) > 8
    assert figures.pop("import circles") == 0
    assert figures.pop("import circles, with types") <= 1  # a region hands itself to its update
    (parameters,) = (v for name, v in figures.items() if name.startswith("command-line parameters"))
    assert parameters <= 80
    assert all(value > 0 for value in figures.values()), figures


def test_every_package_that_is_installed_is_pinned_with_hashes():
    lines = (ROOT / "constraints.txt").read_text().replace("\\\n", " ").splitlines()
    pins = {}
    for line in some(lines):
        text, *hashes = (part.strip() for part in line.split("--hash=sha256:"))
        pin = Requirement(text)
        pins[canonicalize_name(pin.name)] = str(pin.specifier)
        assert str(pin.specifier).startswith("=="), line
        assert all(re.fullmatch("[0-9a-f]{64}", found) for found in some(hashes)), line
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = stated["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    asked = [
        *stated["project"]["dependencies"],
        *itertools.chain(*stated["dependency-groups"].values()),
        *itertools.chain(*(extras[name] for name in Requirement(everything).extras)),
    ]
    for asking in map(Requirement, asked):
        pin = pins[canonicalize_name(asking.name)]
        assert asking.specifier.contains(pin.removeprefix("==")), asking
