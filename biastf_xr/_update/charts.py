"""Charts of the status page: SVG within the page, each with a title and a description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biastf_xr._html import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biastf_xr._update.health import Coverage
    from biastf_xr._update.records import Accuracy

WIDTH, HEIGHT = 900, 230
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 34, 40

# Classes of pixels from the bottom of a bar up: style, legend, names in `status_flag`.
CLASSES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("observed", "observed", ("observed",)),
    ("two", "base dates on both sides", ("fused_two_sided",)),
    ("one", "on one side", ("fused_before_only", "fused_after_only")),
    ("other", "fallback", ("fused_fallback",)),
    ("suspect", "instead of a suspected observation", ("fused_over_suspect",)),
    ("none", "no pair or no coarse scene", ("no_pair", "no_coarse")),
    ("failed", "failed", ("failed",)),
    ("unwritten", "not written", ("unwritten",)),
)

# A day counts as whole from this share of the pixels on.
WHOLE = 0.99

# Methods that the trend compares with.
BASELINES = ("linear", "direct")


def class_shares(coverage: Coverage) -> dict[str, tuple[float, ...]]:
    """Sum the shares of the pixels by the classes of the chart."""
    return {
        legend: tuple(
            sum(coverage.shares[name][n] for name in names) for n in range(len(coverage.days))
        )
        for _, legend, names in CLASSES
    }


def coverage_chart(coverage: Coverage) -> str:
    """Draw what the pixels of every day are: one stacked bar a day."""
    days, shares = coverage.days, class_shares(coverage)
    step = (WIDTH - LEFT - RIGHT) / max(len(days), 1)
    plot = HEIGHT - TOP - BOTTOM
    bars = []
    for n, day in enumerate(days):
        foot, parts = float(HEIGHT - BOTTOM), []
        for style, legend, _ in CLASSES:
            share = shares[legend][n]
            if share > 0 and style != "unwritten":
                foot -= share * plot
                parts.append(
                    f'<rect class="fill-{style} gap" x="{LEFT + n * step:.1f}" y="{foot:.1f}" '
                    f'width="{max(step - 1, 1):.1f}" height="{share * plot:.1f}"/>'
                )
        described = ", ".join(f"{k} {v[n]:.0%}" for k, v in shares.items() if v[n] > 0)
        bars.append(f"<g><title>{escape(f'{day}: {described}')}</title>{''.join(parts)}</g>")
    made = coverage.made()
    whole = sum(share >= WHOLE for share in made)
    about = (
        f"{len(days)} days from {days[0]} to {days[-1]}; on {whole} of them at least {WHOLE:.0%} "
        f"of the pixels have a value, on the worst {min(made):.0%}. The table below has all "
        "numbers."
    )
    used = [(style, legend) for style, legend, _ in CLASSES if any(shares[legend])]
    grid = _grid([(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")])
    ticks = _ticks([LEFT + (n + 0.5) * step for n in range(len(days))], days)
    return _svg("coverage", "Share of the pixels by what they are, day by day", about,
                grid + "".join(bars) + ticks + _legend(used, "fill"))  # fmt: skip


def trend_chart(scored: Sequence[tuple[str, Accuracy]]) -> str:
    """Draw the error of the method beside the simple baselines, run by run.

    `scored`: Runs in their order, at least one, each with what it scored.
    """
    top = max((max(a.rmse.values()) for _, a in scored if a.rmse), default=0.0) * 1.1 or 1.0
    step = (WIDTH - LEFT - RIGHT) / len(scored)
    places = [LEFT + (n + 0.5) * step for n in range(len(scored))]
    plot = HEIGHT - TOP - BOTTOM
    drawn = []
    for style in (*BASELINES, "method"):
        points = []
        for (run, accuracy), x in zip(scored, places, strict=True):
            name = accuracy.method if style == "method" else style
            if name in accuracy.rmse:
                value = accuracy.rmse[name]
                points.append((x, HEIGHT - BOTTOM - value / top * plot,
                               f"{run}: {name} {value:.5f} on {accuracy.date}"))  # fmt: skip
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        drawn.append(f'<polyline class="line line-{style}" points="{line}"/>')
        drawn += [_mark(style, x, y, described) for x, y, described in points]
    last = scored[-1][1]
    names = [(s, s) for s in BASELINES] + [("method", last.method)]
    described = ", ".join(f"{name} {value:.5f}" for name, value in last.rmse.items())
    about = (
        f"{len(scored)} runs; on the newest scored scene, {last.date}: {described}. "
        "Lower is better. The table below has all numbers."
    )
    grid = _grid([(share, f"{top * share:.3f}") for share in (0.0, 0.5, 1.0)])
    ticks = _ticks(places, [a.date for _, a in scored])
    return _svg("trend", "Root mean square error on the newest withheld scene, run by run", about,
                grid + "".join(drawn) + ticks + _legend(names, "mark"))  # fmt: skip


def _mark(style: str, x: float, y: float, described: str) -> str:
    title = f"<title>{escape(described)}</title>"
    if style == "method":
        return f'<circle class="mark-method" cx="{x:.1f}" cy="{y:.1f}" r="5">{title}</circle>'
    return (
        f'<rect class="mark-{style}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">'
        f"{title}</rect>"
    )


def _svg(name: str, title: str, about: str, body: str) -> str:
    return (
        f'<figure class="chart"><div class="scroll" role="region" aria-label="{escape(title)}" '
        f'tabindex="0"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(about)}</desc>{body}</svg></div>'
        f"<figcaption>{escape(title)}. {escape(about)}</figcaption></figure>\n"
    )


def _grid(levels: Sequence[tuple[float, str]]) -> str:
    lines = []
    for share, label in levels:
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
    return "".join(lines)


def _ticks(places: Sequence[float], labels: Sequence[str]) -> str:
    """Write every label that has room."""
    every = max(1, -(-len(labels) * 90 // (WIDTH - LEFT - RIGHT)))
    return "".join(
        f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(label)}</text>'
        for n, (x, label) in enumerate(zip(places, labels, strict=True))
        if n % every == 0
    )


def _legend(entries: Sequence[tuple[str, str]], kind: str) -> str:
    parts, x = [], float(LEFT)
    for style, label in entries:
        empty = ' stroke="currentColor"' if style == "unwritten" else ""
        parts.append(
            f'<rect class="{kind}-{style}" x="{x:.0f}" y="8" width="12" height="12"{empty}/>'
            f'<text x="{x + 17:.0f}" y="18">{escape(label)}</text>'
        )
        x += 34 + 6.4 * len(label)
    return "".join(parts)
