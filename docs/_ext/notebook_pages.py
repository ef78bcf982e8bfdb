"""Execute notebooks/*.py (jupytext, percent format) and show them as pages.

The executed notebooks stay in ``docs/generated``, each with a digest of what it was made from: its
source and the sources of the package.  Whoever asks first, the documentation or the tests, executes
it; the other takes what is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jupytext
import nbformat

import biastf_xr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_client.manager import AsyncKernelManager
    from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
NOTEBOOKS = sorted((DOCS.parent / "notebooks").glob("*.py"))
GENERATED = DOCS / "generated"

# Seconds that a cell may take.
TIMEOUT = 240

# What a kernel is started with: one thread a library, pictures in the page.
SURROUNDINGS = {
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


def execute(source: Path, folder: Path = GENERATED) -> Path:
    """Execute a notebook in a kernel of this interpreter, unless that was done already."""
    target, digest = folder / f"{source.stem}.ipynb", _digest(source)
    if target.exists() and nbformat.read(target, 4).metadata.get("biastf_digest") == digest:
        return target
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    _run(notebook)
    notebook.metadata["biastf_digest"] = digest
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(nbformat.writes(notebook), "utf-8")
    return partial.replace(target)


def _run(notebook: nbformat.NotebookNode) -> None:
    """Execute every cell, in a folder that is gone afterwards."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder, _own_loop():
        client = NotebookClient(
            notebook, km=_kernel_manager(), timeout=TIMEOUT, record_timing=False,
            resources={"metadata": {"path": folder}},
        )  # fmt: skip
        client.execute(env=os.environ | SURROUNDINGS)


def _kernel_manager() -> AsyncKernelManager:
    """Make a kernel of the running interpreter, whatever kernels are installed."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(kernel_name="python3")
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=command, display_name="this", language="python")  # noqa: SLF001
    return manager


@contextmanager
def _own_loop() -> Iterator[None]:
    """Return nbclient an event loop of its own and take it away again."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _digest(source: Path) -> str:
    """Digest a notebook, what executes it, and the package."""
    package = Path(biastf_xr.__file__).parent
    files = [source, Path(__file__), *sorted(package.rglob("*"))]
    total = hashlib.sha256(sys.version.encode())
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(path.name.encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def write_notebooks(app: Sphinx) -> None:
    """Put every notebook, executed, below ``generated/``."""
    from sphinx.util import logging

    for source in NOTEBOOKS:
        logging.getLogger(__name__).info("notebook %s...", source.stem)
        execute(source, Path(app.srcdir) / "generated")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_notebooks)
    return {"parallel_read_safe": True}
