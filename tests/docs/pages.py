"""What is written for people: pages, their code blocks, links and headings."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Where pages that are made when the documentation is built have their links from.
GENERATED = DOCS / "generated"

sys.path.append(str(DOCS / "_ext"))


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    text: str
    line: int


class Page(NamedTuple):
    """A page, or the text of a notebook."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def folder(self) -> Path:
        """Return the folder that relative links start from."""
        return GENERATED if self.path.suffix == ".py" else self.path.parent

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(token.info.split()[0] if token.info else "", token.content, token.map[0] + 1)
            for token in MarkdownIt().enable("table").parse(self.text)
            if token.type == "fence"
        ]

    @property
    def links(self) -> list[str]:
        """Return the targets of links and images, and of the download role."""
        found = re.findall(r"\{download\}`[^<`]*<([^>`]+)>`", self.text)
        for token in MarkdownIt().enable("table").parse(self.text):
            for part in token.children or ():
                found += [v for k, v in part.attrs.items() if k in ("href", "src")]
        return found

    @property
    def code(self) -> list[str]:
        """Return what is set as code, in lines and in blocks."""
        spans = [
            part.content
            for token in MarkdownIt().enable("table").parse(self.text)
            for part in token.children or ()
            if part.type == "code_inline"
        ]
        return spans + [block.text for block in self.blocks]


@cache
def pages() -> list[Page]:
    """Read every page that git knows, with what the build fills in."""
    from reference_pages import MARK, PAGES

    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md", "notebooks/*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    found = []
    for path in (ROOT / name for name in listed if (ROOT / name).exists()):
        text = path.read_text()
        if path.suffix == ".py":
            text = _markdown_of(text)
        found.append(Page(path, MARK.sub(lambda match: PAGES[match[1]](), text)))
    return found


def _markdown_of(notebook: str) -> str:
    cells = re.split(r"^# %%", notebook, flags=re.MULTILINE)
    texts = [c.partition("\n")[2] for c in cells if c.startswith(" [markdown]")]
    return "\n\n".join(re.sub(r"^# ?", "", text, flags=re.MULTILINE) for text in texts)


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page, as MyST and GitHub make them."""
    (page,) = [p for p in pages() if p.path == path]
    tokens = MarkdownIt().parse(page.text)
    titles = [
        "".join(part.content for part in tokens[n + 1].children or ())
        for n, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
