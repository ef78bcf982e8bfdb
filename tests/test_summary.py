"""What objects tell of themselves."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

import biastf_xr
from biastf_xr._summary import ROWS, Summary
from biastf_xr.cube import IngestReport
from biastf_xr.fusion._report import FailedUnit, RunReport

EVIL = "<script>alert(1)</script>"


class Balanced(HTMLParser):
    """Counts tags that are opened and not closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.wrong = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in {"img", "input", "br", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def check(html):
    found = Balanced(html)
    assert not found.open
    assert not found.wrong
    assert not re.search(r"https?://|src=|@import", html)
    # No colour of its own: readable on light and on dark pages.
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    assert not re.search(r"#[0-9a-f]{3,6}\b|rgb\(|:\s*(white|black)", style)


def test_everything_is_escaped():
    frame = pd.DataFrame({EVIL: [EVIL]}, index=pd.Index([EVIL], name=EVIL))
    summary = Summary(EVIL, {EVIL: EVIL}, {EVIL: frame}, (EVIL,))
    html = summary.html()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8
    check(html)


def test_long_tables_are_cut_and_say_so():
    html = Summary("t", {}, {"rows": pd.DataFrame({"n": range(ROWS + 7)})}).html()
    assert html.count("<tr>") == ROWS + 1
    assert "7 more rows" in html


def test_cells_show_dashes_for_nothing_and_fold_long_texts():
    html = Summary("t", {}, {"rows": pd.DataFrame({"n": [float("nan")], "w": ["a" * 40]})}).html()
    assert "<td>–</td>" in html
    assert f'<td class="text wide">{"a" * 40}</td>' in html
    check(html)


def test_text_lines_up():
    lines = Summary("title", {"a": 1, "long name": 2}, notes=("mind this",)).text().splitlines()
    assert lines == ["title", "  a          1", "  long name  2", "- mind this"]


@pytest.fixture(scope="module")
def cubes(small_cubes):
    return biastf_xr.open_cube(small_cubes.fine), biastf_xr.open_cube(small_cubes.coarse)


def test_plan_and_model_tell_of_themselves(cubes, random_model, make_pair):
    fine, coarse = cubes
    preview = fine.biastf.plan(coarse, "linear", trial=False)
    assert "both sides" in repr(preview)
    assert "target dates" in repr(preview.plan)
    assert len(repr(preview.plan)) < 1000
    plus = biastf_xr.fit(*make_pair(fine_days=(0, 5, 11, 16)))
    assert "response of the coarse sensor" in repr(plus)
    network = random_model()
    assert "filters 4-3-2" in repr(network)
    assert "weights change" in repr(network)
    for one in (preview, preview.plan, fine.biastf.brackets(coarse), plus, network):
        check(one._repr_html_())


def test_reports_tell_of_themselves():
    ingest = IngestReport("fine.zarr", {"a": 0.5, "b": 1.0}, rejected={"c": EVIL})
    assert "mean clear fraction  75%" in repr(ingest)
    failed = FailedUnit("rows 0:4, columns 0:4", ("2021-04-01",), (), "no luck", "")
    run = RunReport("fused.zarr", 3, pixels=2_000_000, stages={"read": 1.0}, failed=(failed,))
    assert "3 units, 2.00 Mpx" in repr(run)
    assert "failed: rows 0:4" in repr(run)
    for one in (ingest, run):
        check(one._repr_html_())
    assert "<script" not in ingest._repr_html_()


def test_scores_tell_means_and_verdicts(make_pair):
    fine, coarse = make_pair(fine_days=(0, 5, 11, 16))
    scores = biastf_xr.evaluate(fine, coarse, "direct")
    assert "RMSE" in repr(scores)
    assert "direct against best rival linear: cannot tell" in repr(scores)
    check(scores._repr_html_())
