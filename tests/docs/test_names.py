"""Names of the registries in pages that are typed by hand; private modules in none."""

import re
from pathlib import Path

import pytest

from biastf_xr.methods import METHODS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*.py")]


@pytest.mark.parametrize("name", METHODS)
def test_readme_names_every_method(name):
    assert re.search(rf"(?<![\w-]){name}(?![\w-])", (ROOT / "README.md").read_text("utf-8"))


def test_no_page_imports_a_private_module():
    assert len(PAGES) > 40
    found = [
        (page.name, line)
        for page in PAGES
        for line in page.read_text("utf-8").splitlines()
        if re.match(r"\s*(from|import) biastf_xr[\w.]*\._", line)
    ]
    assert not found
