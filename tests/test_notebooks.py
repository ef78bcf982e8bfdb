"""Every notebook runs from top to bottom in a fresh kernel and draws something."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
# What a worker of Dask logs whose heartbeat meets a scheduler that has just been closed.
CLOSING = "Failed to communicate with scheduler during heartbeat"
FAILS = "# %%\nraise RuntimeError('no luck')\n"
COUNTS = "# %%\nwith open({path!r}, 'a') as file:\n    _ = file.write('x')\n"


@pytest.fixture(scope="module")
def pages():
    """Load the part of the documentation that executes notebooks and keeps them."""
    spec = importlib.util.spec_from_file_location(
        "notebook_pages", ROOT / "docs" / "_ext" / "notebook_pages.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_and_draws(path, pages):
    import nbformat

    notebook = nbformat.read(pages.execute(path), 4)
    cells = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    assert all(c.execution_count for c in cells)
    outputs = [o for cell in cells for o in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    said = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert not [text for text in said if CLOSING not in text]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert pictures, f"{path.name} shows no picture"


def test_there_are_notebooks(pages):
    assert NOTEBOOKS
    assert pages.NOTEBOOKS == NOTEBOOKS


def test_a_notebook_is_executed_once_until_it_changes(pages, tmp_path):
    source, seen = tmp_path / "count.py", tmp_path / "seen"
    source.write_text(COUNTS.format(path=str(seen)))
    made = pages.execute(source, tmp_path / "out")
    assert pages.execute(source, tmp_path / "out") == made
    assert seen.read_text() == "x"
    source.write_text(source.read_text() + "print('more')\n")
    pages.execute(source, tmp_path / "out")
    assert seen.read_text() == "xx"


def test_a_cell_that_fails_is_an_error_and_nothing_is_kept(pages, tmp_path):
    from nbclient.exceptions import CellExecutionError

    source = tmp_path / "fails.py"
    source.write_text(FAILS)
    with pytest.raises(CellExecutionError, match="no luck"):
        pages.execute(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
