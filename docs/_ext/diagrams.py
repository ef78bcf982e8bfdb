"""The diagrams of the concept pages, drawn by code: ``{diagram} name`` with its caption below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from docutils import nodes
from docutils.parsers.rst import Directive
from drawing import Drawing

from biastf_xr.brackets import BracketRule, build_brackets
from biastf_xr.cube import Layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx

# Shades of a fine image, one letter a pixel, before and after a part of it has changed.
BEFORE = ["aabbcc", "aabbcc", "bbdddc", "bbdddc", "ccadbb", "ccadbb"]
AFTER = ["aabbcc", "aabbcc", "bbeeec", "bbeeec", "ccaebb", "ccaebb"]
SHADES = {"a": "shade1", "b": "shade2", "c": "shade3", "d": "shade4", "e": "shade5"}


def fusion() -> Drawing:
    """Draw two fine images, the coarse series, and the image between them."""
    pen = Drawing(
        "fusion", 760, 372, "Fusion in one picture",
        "Along the time axis a coarse image of four large pixels every day, and a detailed fine "
        "image on the two base dates t1 and t3. The fine image of the target date t2 is predicted "
        "from each base date, as base image plus change, and the two predictions are weighted.",
    )  # fmt: skip
    xs = {"t1": 130, "t2": 400, "t3": 670}
    pen.text(12, 62, "fine", "strong", anchor="start")
    pen.text(12, 172, "coarse", "strong", anchor="start")
    pen.line((70, 226), (748, 226), arrow=True)
    pen.text(748, 246, "time", "muted", anchor="end")
    for n in range(9):
        x = 130 + n * 67.5
        pen.line((x, 221), (x, 231))
        pen.cells(x - 24, 143, 24, ["bc", "bc"] if n < 4 else ["bc", "dc"], SHADES)
    for name, image in (("t1", BEFORE), ("t3", AFTER)):
        pen.cells(xs[name] - 39, 20, 13, image, SHADES)
        pen.text(xs[name], 116, f"base image F{name[1]}")
    pen.rect(xs["t2"] - 39, 20, 78, 78, "wanted")
    pen.text(xs["t2"], 68, "?", "large")
    pen.text(xs["t2"], 116, "wanted: F2")
    for name, x in xs.items():
        pen.text(x, 208, f"C{name[1]}", "muted")
        pen.text(x, 250, name, "strong")
    pen.line((130, 262), (130, 292), (290, 292), kind="line fine", arrow=True)
    pen.line((670, 262), (670, 292), (510, 292), kind="line fine", arrow=True)
    pen.text(210, 284, "F1 + (C2 − C1) + …")
    pen.text(590, 284, "F3 + (C2 − C3) + …")
    pen.rect(296, 270, 208, 44, "box fused", round_by=6)
    pen.text(400, 297, "weighted, pixel by pixel", "strong")
    pen.text(
        400,
        338,
        "… : what the fine sensor sees of the change and the coarse one does not;",
        "muted",
    )
    pen.text(400, 356, "this is what methods differ in", "muted")
    return pen


def bracket() -> Drawing:
    """Draw which of four clouded base dates every pixel takes, by the package's own rule."""
    # Cloud is x; days relative to the target date.
    scenes = {
        "a": (-24, ["....", "....", "....", "...."]),
        "b": (-8, ["xx..", "xx..", "....", "...."]),
        "c": (8, ["....", "....", "..xx", "..xx"]),
        "d": (16, ["....", "....", "...x", "...x"]),
    }
    origin = np.datetime64("2021-06-15")
    days = {name: origin + np.timedelta64(day, "D") for name, (day, _) in scenes.items()}
    names = {day: name for name, day in days.items()}
    layers = build_brackets(days.values(), [origin], BracketRule())[0].layers
    pairs = [
        tuple(names[d] for d in (layer.before, layer.after) if d is not None) for layer in layers
    ]

    def clear(name: str, y: int, x: int) -> bool:
        return scenes[name][1][y][x] == "."

    taken = [
        [next(n for n, pair in enumerate(pairs) if all(clear(s, y, x) for s in pair))
         for x in range(4)] for y in range(4)
    ]  # fmt: skip
    used = sorted({n for row in taken for n in row})
    pen = Drawing(
        "bracket", 760, 380, "Bracket and layers",
        "Four fine scenes a, b, c, d around a target date, two of them partly clouded. "
        + " ".join(f"Layer {n + 1} is the pair {' and '.join(pairs[n])}." for n in used)
        + " Every pixel of the target date takes the first layer whose scenes are clear there.",
    )  # fmt: skip
    pen.line((30, 128), (748, 128), arrow=True)
    for name, (day, cloud) in scenes.items():
        x = 330 + day * 11.5
        pen.cells(x - 34, 30, 17, cloud, {".": "shade3", "x": "cloud"})
        pen.line((x, 123), (x, 133))
        pen.text(x, 20, name, "strong")
        pen.text(x, 150, f"{day:+d} days".replace("-", "−"), "muted")
    pen.line((330, 34), (330, 140), kind="line dashed")
    pen.text(332, 160, "target date", "strong")
    pen.text(640, 60, "white: cloud", "muted", anchor="start")
    marks = dict(zip(used, ("layer1", "layer2", "layer3", "layer4"), strict=False))
    left = 40
    for row, n in enumerate(range(5)):
        y = 206 + row * 32
        pen.rect(left, y - 17, 24, 24, f"cell {marks.get(n, 'unused')}")
        pen.text(left + 12, y, str(n + 1), "strong")
        span = abs(scenes[pairs[n][-1]][0] - scenes[pairs[n][0]][0])
        words = f"layer {n + 1}: ({', '.join(pairs[n])})" + (
            f", {span} days apart" if len(pairs[n]) == 2 else ""
        )
        pen.text(left + 36, y, words + ("" if n in marks else "; not needed here"), anchor="start")
    pen.text(
        left + 36,
        366,
        f"… then the single dates, {', '.join(p[0] for p in pairs if len(p) == 1)}",
        "muted",
        anchor="start",
    )
    pen.text(560, 200, "what each pixel takes", "strong")
    for y, row in enumerate(taken):
        for x, n in enumerate(row):
            pen.rect(490 + x * 35, 212 + y * 35, 35, 35, f"cell {marks[n]}")
            pen.text(507.5 + x * 35, 235 + y * 35, str(n + 1))
    return pen


def halo() -> Drawing:
    """Draw a tile with what is read around it."""
    pen = Drawing(
        "halo", 760, 300, "A tile and its halo",
        "A grid of fine pixels with a bold tile in the middle and a shaded margin around it, the "
        "halo. The grid of larger coarse pixels lies underneath, with another origin; the coarse "
        "pixels that touch the margin, and one more on every side for the interpolation, are read.",
    )  # fmt: skip
    step, size, halo_, ratio, origin = 8, 12, 3, 5, -2
    left, top = 106, 106
    coarse = range(origin - 2 * ratio, size + halo_ + ratio, ratio)
    for y in coarse:
        for x in coarse:
            pen.rect(left + x * step, top + y * step, ratio * step, ratio * step, "coarse")
    pen.rect(
        left - halo_ * step,
        top - halo_ * step,
        (size + 2 * halo_) * step,
        (size + 2 * halo_) * step,
        "halo",
    )
    for n in range(size + 2 * halo_ + 1):
        at = (n - halo_) * step
        pen.line(
            (left + at, top - halo_ * step), (left + at, top + (size + halo_) * step), kind="hair"
        )
        pen.line(
            (left - halo_ * step, top + at), (left + (size + halo_) * step, top + at), kind="hair"
        )
    pen.rect(left, top, size * step, size * step, "tile")
    for y, words, target in (
        (40, "coarse pixels that are read: all that the halo", (left + 160, 36)),
        (120, "halo: fine pixels around the tile whose interpolated", (left + 114, 116)),
        (190, "tile: what is predicted and written", (left + 84, 186)),
    ):
        pen.line((322, y - 4), target, kind="line", arrow=True)
        pen.text(332, y, words, "strong" if y == 190 else "", anchor="start")
    pen.text(332, 60, "touches, and the next for the interpolation", anchor="start")
    pen.text(332, 140, "change the result depends on; base images are", anchor="start")
    pen.text(332, 160, "read with their own margin, fine_halo", anchor="start")
    pen.text(332, 236, "The result is the same for any tile size.", "muted", anchor="start")
    return pen


def layout() -> Drawing:
    """Draw chunks and shards of both kinds of cube, as the package lays them out."""
    fine, coarse = (Layout.build(kind, (10_000, 10_000)) for kind in ("fine", "coarse"))  # type: ignore[arg-type]
    pen = Drawing(
        "layout", 760, 336, "Chunks and shards",
        f"Left: fine and fused cubes, a stack of single dates; a shard of {fine.shard_y} pixels a "
        f"side holds chunks of {fine.y} pixels a side and one date. Right: the coarse cube; a "
        f"shard of {coarse.shard_y} pixels a side holds chunks of {coarse.y} pixels a side and "
        f"{coarse.time} dates.",
    )  # fmt: skip
    for left, kind, name in ((40, fine, "fine and fused cubes"), (430, coarse, "coarse cube")):
        across, side = kind.shard_x // kind.x, 148
        step = side / across
        pen.text(left, 24, name, "strong", anchor="start")
        depth = 6 if kind.time == 1 else kind.time
        gap = 14 if kind.time == 1 else 4
        for n in reversed(range(1, depth)):
            x, y = left + n * gap, 128 - n * gap
            pen.rect(x, y, side, side, "sheet" if kind.time == 1 else "sheet same")
        for row in range(across):
            for col in range(across):
                mark = "chunk chosen" if (row, col) == (1, 1) else "chunk"
                pen.rect(left + col * step, 128 + row * step, step, step, mark)
        pen.rect(left, 128, side, side, "shard")
        far = left + side + (depth - 1) * gap
        pen.line((left + side + 10, 272), (far + 10, 272 - (depth - 1) * gap), arrow=True)
        pen.text(far + 6, 272 - (depth - 1) * gap + 24, "time", "muted", anchor="start")
        dates = "1 date" if kind.time == 1 else f"{kind.time} dates"
        pen.text(
            left, 302, f"shard, one file: {dates}, {kind.shard_y} x {kind.shard_x}", anchor="start"
        )
        pen.text(left, 324, f"chunk, one reading: {dates}, {kind.y} x {kind.x}", anchor="start")
    return pen


def ledger() -> Drawing:
    """Draw which dates and tiles an arriving scene makes stale."""
    pen = Drawing(
        "ledger", 760, 330, "What an arriving scene recomputes",
        "Three grids of tiles by days. A late fine scene between two others recomputes all days "
        "between them in the tiles where it is clear. A late coarse scene recomputes days around "
        "it whose filled values it changes, in every tile that it covers. The next clear fine "
        "scene makes the one-sided days before it two-sided.",
    )  # fmt: skip
    every = range(1, 11)
    cases = (
        ("late fine scene, day 6,", "clouded in tile C", {"A": every, "B": every}, 6, (1, 10)),
        ("late coarse scene, day 5", "", dict.fromkeys("ABC", range(4, 7)), 5, (1, 10)),
        ("next fine scene, day 10", "", dict.fromkeys("ABC", every), 10, (1,)),
    )
    for n, (first, second, stale, day, scenes) in enumerate(cases):
        left, step = 40 + n * 246, 20
        pen.text(left, 24, first, "strong", anchor="start")
        pen.text(left, 44, second, "strong", anchor="start")
        for row, tile in enumerate("ABC"):
            pen.text(left - 8, 112 + row * 44, tile, "muted", anchor="end")
            for d in range(1, 11):
                mark = "stale" if d in stale.get(tile, ()) else "kept"
                pen.rect(left + (d - 1) * step, 90 + row * 44, step, 36, f"cell {mark}")
        pen.line(
            (left + (day - 0.5) * step, 58),
            (left + (day - 0.5) * step, 84),
            kind="line",
            arrow=True,
        )
        for d in {1, 10, day}:
            pen.text(left + (d - 0.5) * step, 238, str(d), "muted")
        for d in scenes:
            pen.rect(left + (d - 1) * step + 6, 244, 8, 8, "scene")
    pen.rect(40, 286, 20, 20, "cell stale")
    pen.text(68, 301, "recomputed", anchor="start")
    pen.rect(170, 286, 20, 20, "cell kept")
    pen.text(198, 301, "kept, not read again", anchor="start")
    pen.rect(386, 292, 8, 8, "scene")
    pen.text(402, 301, "fine scene that was there before", anchor="start")
    return pen


DIAGRAMS: dict[str, Callable[[], Drawing]] = {
    draw.__name__: draw for draw in (fusion, bracket, halo, layout, ledger)
}


class Diagram(Directive):
    """A diagram with its caption."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        if self.arguments[0] not in DIAGRAMS:
            raise self.error(f"no diagram {self.arguments[0]!r}; expected one of {list(DIAGRAMS)}.")
        figure = nodes.figure("", nodes.raw("", DIAGRAMS[self.arguments[0]]().svg(), format="html"))
        caption = nodes.caption()
        self.state.nested_parse(self.content, self.content_offset, caption)
        if caption.children:
            figure += nodes.caption("", "", *caption.children[0].children)
        return [figure]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("diagram", Diagram)
    return {"parallel_read_safe": True}
