"""Turn notebooks/*.py (jupytext, percent format) into pages; MyST-NB executes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jupytext
import nbformat

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def write_notebooks(app: Sphinx) -> None:
    """Write an .ipynb below ``generated/`` for every notebook, only where it changed.

    Parameters
    ----------
    app : sphinx.application.Sphinx
        The build.
    """
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    for source in sorted(NOTEBOOKS.glob("*.py")):
        notebook = jupytext.read(source, fmt="py:percent")
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
        text = nbformat.writes(notebook)
        target = folder / f"{source.stem}.ipynb"
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx.

    Parameters
    ----------
    app : sphinx.application.Sphinx
        The build.

    Returns
    -------
    dict
        What Sphinx wants to know of an extension.
    """
    app.connect("builder-inited", write_notebooks)
    return {"parallel_read_safe": True}
