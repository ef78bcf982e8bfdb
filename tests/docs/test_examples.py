"""Code on the pages is true: commands and keys exist, names can be imported, doctests run."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import shlex
import tomllib
from contextlib import suppress

import pytest
import typer.main
from checks import some
from pages import ROOT, pages

import biastf_xr
from biastf_xr.cli._app import app
from biastf_xr.config import Config
from biastf_xr.sources import build_product

ROOT_COMMAND = typer.main.get_command(app)
SHELLS = {"", "bash", "console", "sh"}
MODULES = [p for p in sorted((ROOT / "biastf_xr").rglob("*.py")) if ">>> " in p.read_text()]
DOCTESTED = [page for page in pages() if any(">>> " in b.text for b in page.blocks)]


def by_page(*languages):
    """Run a test for every page that has a block of such a language."""
    chosen = [page for page in pages() if any(b.language in languages for b in page.blocks)]
    return pytest.mark.parametrize("page", some(chosen), ids=lambda page: page.name)


def commands_of(page) -> list[str]:
    """Return the calls of biastf-xr in the blocks of a page, one line each."""
    lines = [
        line
        for block in page.blocks
        if block.language in SHELLS
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines()
    ]
    calls = [call.strip() for line in lines for call in re.split(r"&&|\||;", line)]
    return [call for call in calls if call.startswith("biastf-xr ")]


def parse(call: str) -> None:
    """Let the command line read a call, without running it."""
    _, words = ROOT_COMMAND.split(shlex.split(call, comments=True)[1:])
    command = ROOT_COMMAND
    while hasattr(command, "commands"):
        while words and words[0].startswith("-"):  # options of the program itself
            assert any(words[0] in p.opts for p in command.params), f"no option {words[0]}"
            words = words[1:]
        if not words or words[0] == "COMMAND":
            return
        command, words = command.commands[words[0]], words[1:]
    if "[options]" not in words:
        with suppress(typer.Exit):  # --help
            command.make_context(command.name, words)


@by_page(*SHELLS)
def test_commands_exist_with_their_options(page):
    for call in commands_of(page):
        try:
            parse(call)
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{page.name}: {call}: {type(error).__name__} {error}")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("biastf-xr fuze run.toml", "fuze"),
        ("biastf-xr fuse --fin fine.zarr", "--fin"),
        ("biastf-xr --quite fuse run.toml", "--quite"),
        ("biastf-xr update", "config|CONFIG"),
    ],
)
def test_commands_that_do_not_exist_are_found(call, name):
    with pytest.raises(Exception, match=name):
        parse(call)


def check_toml(text: str) -> None:
    """Check the keys of a file or of some of its sections."""
    found = tomllib.loads(text)
    if not set(found) <= set(Config.model_fields):
        assert not any(isinstance(value, dict) for value in found.values()), list(found)
        return  # keys of a section that the page names
    for name in ("fine", "coarse"):
        section = {"product": "geotiff", "folder": ".", "cube": "c"} | found.get(name, {})
        found[name] = section
        if "options" in section and "product" in tomllib.loads(text).get(name, {}):
            build_product(section["product"], **section["options"])
    Config.model_validate(found)


@by_page("toml")
def test_keys_of_configurations_exist(page):
    for block in page.blocks:
        if block.language == "toml":
            try:
                check_toml(block.text)
            except Exception as error:  # noqa: BLE001
                pytest.fail(f"{page.name}, line {block.line}: {error}")


def test_keys_that_do_not_exist_are_found():
    with pytest.raises(ValueError, match="min_claer"):
        check_toml("[fuse]\nmin_claer = 0.3")


@by_page("python")
def test_names_in_python_exist(page):
    for block in page.blocks:
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("biastf_xr"):
                module = importlib.import_module(node.module)
                missing = [n.name for n in node.names if not hasattr(module, n.name)]
                assert not missing, f"{page.name}: {node.module} has no {missing}"
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "biastf_xr"
            ):
                assert node.attr in biastf_xr.__all__ or node.attr == "evaluation", node.attr


@pytest.fixture
def in_a_folder_with_cubes(small_cubes, tmp_path, monkeypatch):
    """Go to a folder with `fine.zarr` and `coarse.zarr`, as the examples expect."""
    for path in small_cubes:
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)


def run(test: doctest.DocTest) -> None:
    told: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=told.append)
    assert result.attempted
    assert not result.failed, "".join(told)


@pytest.mark.usefixtures("in_a_folder_with_cubes")
@pytest.mark.parametrize("page", DOCTESTED, ids=lambda page: page.name)
def test_examples_of_pages_run(page):
    text = "\n".join(block.text for block in page.blocks if ">>> " in block.text)
    run(doctest.DocTestParser().get_doctest(text, {}, page.name, page.name, 0))


@pytest.mark.usefixtures("in_a_folder_with_cubes")
@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_of_docstrings_run(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        # Examples of a whole run are marked to be read, not run.
        if not all(example.options.get(doctest.SKIP) for example in test.examples):
            run(test)


def test_there_are_examples_to_run():
    assert len(DOCTESTED) >= 3
    assert len(MODULES) >= 3
