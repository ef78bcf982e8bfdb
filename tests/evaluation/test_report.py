"""The report: one file that stands alone, and says what its JSON twin says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from checks import some

from biastf_xr._tables import Table, shown
from biastf_xr.evaluation import Gallery, Judged, evaluate
from biastf_xr.evaluation import _predictions as predictions
from biastf_xr.evaluation._image_sums import BEST
from biastf_xr.evaluation._report import report_data, write_report
from biastf_xr.evaluation._scores import Note

DAYS = ("2021-04-06", "2021-04-10", "2021-04-14")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, BROWSERS) if path), None)


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[dict[str, list]] = []
        self.open: list[str] = []
        self.script = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"columns": [], "rows": []})
        if tag == "tr" and "tbody" in self.open:
            self.tables[-1]["rows"].append([])
        if tag in {"td", "th"} and "tbody" in self.open:
            self.tables[-1]["rows"][-1].append(found["data-value"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.script += data
        if "thead" in self.open and "button" in self.open:
            self.tables[-1]["columns"].append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def judged():
    """Collect what `evaluate` hands out."""
    return []


@pytest.fixture(scope="module")
def scores(make_pair, judged, monkeypatch_module):
    """Score three dates; a stand-in method states an uncertainty that is half of what it should be.

    A cube with ``<band>_sigma`` variables is all that a method needs to give.
    """
    fine, coarse = make_pair(fine_days=(0, 5, 9, 13, 17), coarse_days=range(18))
    fine["red"][1, :4] = fine["nir"][1, :4] = np.nan
    real, truth = predictions.fuse, fine

    def stated(rest, seen, method, *, dates, rule=None):
        fused = real(rest, seen, method, dates=dates, rule=rule)
        if method.name != "sure":
            return fused
        rng = np.random.default_rng(0)
        for band in ("red", "nir"):
            scene = truth[band].sel(time=np.array(dates, "M8[ns]")).values
            noise = rng.normal(0, 0.02, scene.shape).astype("f4")
            fused[band] = fused[band].copy(data=np.nan_to_num(scene, nan=0.3) + noise)
            fused[band + "_sigma"] = fused[band].copy(data=np.full(scene.shape, 0.01, "f4"))
        return fused

    class Sure(type(predictions.get_method("linear"))):
        name = "sure"

        def describe(self):
            return {"method": "sure", "window": 3, "danger": "<script>alert(1)</script>"}

    monkeypatch_module.setattr(predictions, "fuse", stated)
    gallery = Gallery()

    def both(one):
        judged.append(one)
        gallery(one)

    made = evaluate(fine, coarse, {"sure": Sure(name="sure")}, dates=DAYS, on_prediction=both)
    return made, gallery, fine


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def written(scores, tmp_path_factory):
    made, gallery, _ = scores
    path = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    assert write_report(path, made, run={"fine cube": "a&b.zarr"}, gallery=gallery) == path
    text = path.read_text("utf-8")
    return path, text, Page(text), json.loads(path.with_suffix(".json").read_text("utf-8"))


# --- what is handed out -------------------------------------------------------------------------


def test_every_date_is_handed_out_with_truth_images_and_bases(scores, judged):
    _, _, fine = scores
    assert [str(one.day) for one in judged] == list(DAYS)
    one = judged[0]
    assert isinstance(one, Judged)
    assert one.bands == ("red", "nir")
    assert list(one.images) == ["nearest", "linear", "direct", "sure"]
    for image in (*one.images.values(), one.truth, one.sigma["sure"]):
        assert isinstance(image, np.ndarray)
        assert (image.shape, image.dtype) == ((2, 24, 20), np.float32)
    assert list(one.sigma) == ["sure"]
    np.testing.assert_array_equal(one.truth[1], fine["nir"][1].values)
    assert (str(one.before), str(one.after)) == ("2021-04-01", "2021-04-10")
    assert one.common.dtype == bool
    assert not one.common[:4].any()
    assert one.common[4:].all()
    assert one.coarse.shape == (2, 8, 7)


def test_held_and_lazy_images_give_the_same_figures(make_pair):
    pair = make_pair(fine_days=(0, 5, 11))
    held = evaluate(*pair, "direct", on_prediction=[].append)
    lazy = evaluate(*pair, "direct")
    np.testing.assert_array_equal(held.table["value"], lazy.table["value"])


# --- the page -----------------------------------------------------------------------------------


def test_the_page_stands_alone(written):
    _, text, page, _ = written
    assert text.startswith("<!DOCTYPE html>")
    assert page.open == []
    for attrs in (attrs for _, attrs in page.tags):
        for name in ("src", "href", "data", "action", "srcset"):
            target = attrs.get(name)
            assert target is None or target.startswith(("data:image/png;base64,", "#"))
    assert not re.findall(r"https?:|//[a-z]+\.|@import|url\(", text.split("data:image")[0])
    assert {"link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {a["href"][1:] for a in page.all("a")} <= ids


def test_what_came_from_outside_is_escaped(written):
    _, text, page, data = written
    assert "&lt;script&gt;alert(1)" in text
    assert len(page.all("script")) == 1
    assert data["run"]["fine cube"] == "a&b.zarr"
    assert "a&amp;b.zarr" in text


def test_no_text_of_scores_acts(scores, tmp_path):
    made, _, _ = scores

    def page_of(text):
        bands = {band: f"{band}{text}" for band in made.table["band"].unique() if band != "mean"}
        names = {"sure": f"sure{text}"}
        tables = {
            name: getattr(made, name).replace({"method": names, "band": bands})
            for name in ("table", "classes", "coverage")
        }
        dates = made.dates.assign(before=text, after=text)
        methods = {names.get(name, name): {text: text} for name in made.methods}
        note = Note(text, text, text)
        told = replace(made, **tables, dates=dates, design=text, methods=methods, notes=(note,))
        path = tmp_path / f"{len(text)}.html"
        write_report(path, told, title=text, run={text: text})
        assert json.loads(path.with_suffix(".json").read_text("utf-8"))["title"] == text
        return path.read_text("utf-8")

    hostile = "x[/b]\x1b[31m\n\u202e\"'><b>|</title></script><script>alert(1)</script>-->"
    found = page_of(hostile)
    tags = [[(tag, [*attrs]) for tag, attrs in Page(page).tags] for page in (found, page_of("x"))]
    assert tags[0] == tags[1]
    assert not {"\x1b", "\u202e"} & {*found}


def test_the_tables_say_what_the_json_says(written):
    _, _, page, data = written
    expected = [t for name, t in data["tables"].items()]
    assert len(page.tables) == len(expected) > 8
    raw = lambda v: "" if v is None else repr(v) if isinstance(v, float) else str(v)  # noqa: E731
    found = {json.dumps([t["columns"], t["rows"]]) for t in page.tables}
    for one in expected:
        rows = [[raw(v) for v in row] for row in one["rows"]]
        assert json.dumps([one["columns"], rows]) in found, one["caption"]


def test_the_json_holds_every_figure(written, scores):
    _, _, _, data = written
    made, _, _ = scores
    assert len(data["figures"]) == len(made.table)
    summary = {row[0]: dict(zip(data["tables"]["summary"]["columns"], row, strict=True))
               for row in data["tables"]["summary"]["rows"]}  # fmt: skip
    for method, row in made.summary().iterrows():
        for measure in BEST:
            assert summary[method][measure] == pytest.approx(row[measure], nan_ok=True)
    assert data["version"]
    assert data["methods"]["sure"]["window"] == 3
    assert data["verdicts"] == [str(c) for c in made.comparisons()]
    assert any(v.startswith("sure against direct: better (RMSE -") for v in data["verdicts"])


def test_tables_can_be_sorted_and_are_labelled(written):
    _, _, page, _ = written
    assert page.all("table")
    assert all(t["class"] == "sortable" for t in page.all("table"))
    heads = [attrs for attrs in page.all("th") if attrs["scope"] == "col"]
    assert all(h["aria-sort"] == "none" for h in some(heads))
    assert len(heads) == sum(len(t["columns"]) for t in page.tables) == len(page.all("button"))
    assert len(page.all("caption")) == len(page.tables)
    assert "aria-sort" in page.script
    assert page.all("html")[0]["lang"] == "en"


def test_every_picture_says_what_it_shows(written):
    _, _, page, _ = written
    images = page.all("img")
    # Two charts, the scale, and per date the coarse image, the scene, four images and four errors.
    assert len(images) == 3 + len(DAYS) * (2 + 4 + 4)
    assert all(len(i["alt"]) > 10 for i in images)
    _, text, _, data = written
    assert f"{data['error_scale']:.4f} and more" in text


def test_calibration_is_shown_with_its_largest_deviation(written):
    _, text, page, data = written
    (gap,) = data["calibration"].values()
    # An error of twice the stated sigma: the share within z is P(|z| / 2), worst near 74 %.
    assert gap == pytest.approx(31.5, abs=2)
    assert f"sure: largest deviation {gap:.1f} points" in text
    columns = data["tables"]["calibration"]["columns"]
    assert columns == ["nominal", "sure"]
    assert any("observed against nominal coverage" in i["alt"] for i in page.all("img"))


def test_what_cannot_be_computed_is_said(make_pair, tmp_path):
    pair = make_pair(fine_days=(0, 5, 11), shape=(8, 8))
    scores = evaluate(*pair, "direct")
    path = write_report(tmp_path / "r.html", scores)
    data = json.loads(path.with_suffix(".json").read_text())
    said = " ".join(data["not_computed"])
    assert "Verdicts: 1 scored date(s); at least 3 are needed" in said
    assert "no method states an uncertainty" in said
    assert "SSIM11: not defined for nearest, linear, direct" in said
    assert said.split(". ")[0] in path.read_text("utf-8")
    assert data["tables"]["summary"]["rows"][0][7] is None
    assert data.pop("error_scale") is None
    assert report_data(scores) == data


def test_numbers_are_written_for_readers():
    assert [shown(v) for v in (0.0123456, -0.5, 1234567, None, "text")] == [
        "0.01235", "−0.50000", "1 234 567", "–", "text",
    ]  # fmt: skip


def test_the_best_of_a_measure_is_marked():
    rows = [["a", 0.2, 0.9, -0.1, 3], ["b", 0.1, 0.8, 0.2, 3], ["c", None, None, None, 3]]
    table = Table("x", ["method", "RMSE", "CC", "EDGE", "pixels"], rows)
    made = table.html(sortable=True, best=BEST)
    marked = re.findall(r'class="best" data-value="([^"]+)"', made)
    assert marked == ["0.9", "-0.1", "0.1"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium to run the page's script")
def test_a_press_sorts_the_table_in_a_browser(written, tmp_path):
    _, text, _, data = written
    press = """<script>
      const head = document.querySelector("#summary thead th:nth-child(2)");
      const names = () => Array.from(document.querySelectorAll("#summary table"))[0]
        .querySelectorAll("tbody th");
      head.querySelector("button").click();
      const up = Array.from(names(), (n) => n.textContent).join(",");
      head.querySelector("button").click();
      const down = Array.from(names(), (n) => n.textContent).join(",");
      document.title = `${up}|${down}|${head.getAttribute("aria-sort")}`;
    </script>"""
    page = tmp_path / "pressed.html"
    page.write_text(text.replace("</body>", press + "</body>"), "utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/u",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout).group(1)
    rows = sorted(data["tables"]["summary"]["rows"], key=lambda row: row[1])
    up = ",".join(row[0] for row in rows)
    assert title == f"{up}|{','.join(row[0] for row in rows[::-1])}|descending"
