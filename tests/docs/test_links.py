"""Links, anchors, paths and targets that pages name are there; external ones are well formed."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from pages import DOCS, GENERATED, ROOT, Page, anchors, pages

EXTERNAL = re.compile(r"^[a-z]+:")
# A path of the repository, as it stands in code.
PATH = re.compile(r"(?<![\w./-])(?:benchmarks|biastf_xr|docs|notebooks|pipelines|tests)/[\w./-]*\w")
TARGET = re.compile(r"(?<![\w-])make ([a-z][a-z-]*)")

by_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)


def problem_of(page: Page, link: str) -> str:
    """Return what is wrong with a link; nothing if it is good."""
    if EXTERNAL.match(link):
        url = urlsplit(link)
        good = url.scheme in {"http", "https"} and "." in url.netloc and " " not in link
        doi = url.netloc != "doi.org" or re.match(r"/10\.\d{4,}/\S+", url.path)
        return "" if good and doi else "is no address"
    path, _, anchor = link.partition("#")
    target = (page.folder / path).resolve() if path else page.path
    if GENERATED in target.parents:
        return made_by_the_build(target.relative_to(GENERATED))
    if not target.exists():
        return "does not exist"
    if anchor and anchor not in anchors(target):
        return f"has no heading {anchor!r}"
    return ""


def made_by_the_build(target) -> str:
    """Look for what makes a generated file: a notebook, a method, or an extension that names it."""
    from biastf_xr.methods import UNTRAINED

    if target.suffix == ".ipynb":
        made = (ROOT / "notebooks" / f"{target.stem}.py").exists()
    else:
        sources = "".join(path.read_text() for path in (DOCS / "_ext").glob("*.py"))
        named = any(f'"{name}"' in sources for name in (target.name, target.stem))
        made = target.stem in UNTRAINED or named
    return "" if made else "is made by nothing"


@by_page
def test_links_lead_somewhere(page):
    problems = [f"{link} {why}" for link in page.links if (why := problem_of(page, link))]
    assert not problems, f"{page.name}: " + "; ".join(problems)


@by_page
def test_paths_in_code_exist(page):
    named = {path for code in page.code for path in PATH.findall(code)}
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert not missing, f"{page.name} names {missing}"


@by_page
def test_make_has_the_targets(page):
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for code in page.code for target in TARGET.findall(code)}
    assert named <= known, f"{page.name} names make {sorted(named - known)}"


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("nowhere.md", "does not exist"),
        ("faq.md#no-such-heading", "has no heading"),
        ("generated/99_nothing.ipynb", "is made by nothing"),
        ("https://nowhere", "is no address"),
        ("https://doi.org/nothing", "is no address"),
    ],
)
def test_broken_links_are_found(link, why):
    (index,) = [page for page in pages() if page.path == DOCS / "index.md"]
    assert why in problem_of(index, link)
    assert not problem_of(index, "faq.md#which-sensors")


def test_every_page_of_the_documentation_is_checked():
    assert {page.path.name for page in pages()} >= {"README.md", "index.md", "05_own_data.py"}
    assert sum(len(page.links) for page in pages()) > 100
