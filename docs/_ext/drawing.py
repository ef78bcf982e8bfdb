"""A pen for small diagrams: SVG that takes its colours from the page, and tells what it shows.

Classes of shapes are coloured in ``_static/site.css``, for light and dark pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape


@dataclass
class Drawing:
    """A diagram being drawn; all lengths in pixels at its own size.

    `name`: Name on the page, for the references inside the SVG.
    `title`: What it is, for those who do not see it.
    `description`: What it shows, for those who do not see it.
    `parts`: What is drawn so far.
    """

    name: str
    width: int
    height: int
    title: str
    description: str
    parts: list[str] = field(default_factory=list)

    def rect(self, x: float, y: float, w: float, h: float, kind: str, *, round_by: int = 0) -> None:
        """Draw a rectangle."""
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" '
            f'rx="{round_by}"/>'
        )

    def text(
        self, x: float, y: float, words: str, kind: str = "", *, anchor: str = "middle"
    ) -> None:
        """Write a line of text."""
        self.parts.append(
            f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )

    def line(self, *points: tuple[float, float], kind: str = "line", arrow: bool = False) -> None:
        """Draw a line through points."""
        where = " ".join(f"{x:g},{y:g}" for x, y in points)
        end = f' marker-end="url(#{self.name}-head)"' if arrow else ""
        self.parts.append(f'<polyline class="{kind}" points="{where}"{end}/>')

    def cells(
        self, x: float, y: float, step: float, rows: list[str], kinds: dict[str, str]
    ) -> None:
        """Draw a grid of cells, one for each letter.

        `kinds`: The classes of a letter; others are left out.
        """
        for row, letters in enumerate(rows):
            for col, letter in enumerate(letters):
                if letter in kinds:
                    self.rect(x + col * step, y + row * step, step, step, f"cell {kinds[letter]}")

    def svg(self) -> str:
        """Return the diagram."""
        head = (
            f'<svg class="diagram" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-labelledby="{self.name}-title {self.name}-description" '
            f'style="max-width: {self.width}px" xmlns="http://www.w3.org/2000/svg">'
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-description">{escape(self.description)}</desc>'
            f'<defs><marker id="{self.name}-head" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
            '<path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>'
        )
        return head + "".join(self.parts) + "</svg>"
