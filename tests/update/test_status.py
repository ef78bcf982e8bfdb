"""The status page: what it says, that everybody can read it, and that a browser shows it."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from checks import some

from biastf_xr._update.outcomes import FAILURES, Outcome
from biastf_xr._update.records import Accuracy, RunRecords, StepRecord, UpdateReport
from biastf_xr._update.status import write_status
from biastf_xr.region import Region

TODAY = dt.date(2021, 5, 20)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """Collects the tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(config):
    return Page(write_status(config, today=TODAY).read_text())


def accuracy(date, own, linear=0.03, direct=0.025):
    rmse = {"nearest": 0.04, "linear": linear, "direct": direct, "biastf-plus": own}
    return Accuracy(date, "biastf-plus", rmse, 5000, "before 2021-04-01", "Held out.")


@pytest.fixture
def history(region):
    """Return a region with a fused cube and some runs, the last of which failed."""
    config = region('max_age = { fine = 5 }\nhandbook = "https://example.org/operations.html"')
    Region(config).update(today=TODAY)
    book = RunRecords(config.update.folder)
    scored = (accuracy("2021-04-17", 0.02), accuracy("2021-05-03", 0.028))
    for n, one in enumerate(scored):
        book.save(UpdateReport(f"2021051{n}T033000Z", Outcome.DONE, 61.0, accuracy=one))
    step = StepRecord("fuse", "failed", error="StoreWriteError", message="<no space> left")
    book.save(UpdateReport("29990101T033000Z", Outcome.FAILED, 3.0, (step,)))
    return config


def test_without_a_run_there_is_a_page(region):
    page = page_of(region())
    for said in ("No run yet.", "There is no record", "There is no fused cube yet",
                 "No scene has been scored", "None of the recorded runs failed"):  # fmt: skip
        assert said in page.text


def test_what_the_page_says(history):
    page = page_of(history)
    for said in (
        "Last run 2999-01-01 03:30 UTC: failed. fuse: StoreWriteError.",
        "The last 4 of 4 recorded runs",
        "<no space> left",
        "fine scene 2021-05-03 17 5 ✗ too old",
        "2021-04-18 32 – no limit set",
        "4 days from 2021-04-15 to 2021-04-18",
        "the disk is full",
        "1.1200",  # ratio of the newest scored scene: 0.028 over 0.025
    ):
        assert said in page.text, said
    links = [a["href"] for a in page.all("a")]
    assert "https://example.org/operations.html#storewriteerror" in links
    assert "report.html" not in links  # there is none
    (history.update.folder / "report.html").write_text("")
    assert "report.html" in [a["href"] for a in page_of(history).all("a")]


def test_a_later_good_run_calms(history):
    book = RunRecords(history.update.folder)
    book.save(UpdateReport("29990102T033000Z", Outcome.DONE))
    page = page_of(history)
    assert "Last run 2999-01-02 03:30 UTC: done." in page.text
    assert "Later runs did not fail." in page.text


def test_a_damaged_cube_leaves_the_rest_of_the_page(history, tmp_path):
    flags = tmp_path / "fused.zarr" / "status_flag" / "c"
    for chunk in filter(lambda p: p.is_file(), flags.rglob("*")):
        chunk.write_bytes(b"nonsense")
    page = page_of(history)
    assert "cannot be read" in page.text
    assert "StoreWriteError" in page.text


def test_basics_of_accessibility(history):
    page = page_of(history)
    assert page.all("html") == [{"lang": "en"}]
    assert not page.all("script")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    drawings = page.all("svg")
    assert len(drawings) == 2
    for svg in drawings:
        assert svg["role"] == "img"
        assert set(svg["aria-labelledby"].split()) <= set(ids)
    assert len(page.all("desc")) == 2
    assert len(page.all("caption")) == len(page.all("table")) == 6
    assert all(th["scope"] in {"col", "row"} for th in page.all("th"))
    regions = [div for div in page.all("div") if div.get("class") == "scroll"]
    assert all(div["tabindex"] == "0" and div["aria-label"] for div in some(regions))
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= set(ids)


def luminance(colour):
    if len(colour) == 4:
        colour = "#" + "".join(c * 2 for c in colour[1:])
    rgb = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_contrast_of_texts_and_drawings(mode):
    shared = (files("biastf_xr") / "templates" / "page.css").read_text()
    own = (files("biastf_xr._update") / "templates" / "status.css").read_text()
    light, dark = own.split("@media (prefers-color-scheme: dark)")
    given = dict(re.findall(r"--(\w+): (#\w+)", shared + light))
    if mode == "dark":
        given |= dict(re.findall(r"--(\w+): (#\w+)", dark))
    for name in ("ink", "soft", "link", "good", "warn", "bad"):
        assert contrast(given[name], given["page"]) >= 4.5, name
    assert contrast(given["ink"], given["band"]) >= 4.5
    for name in ("observed", "two", "one", "other", "none", "failed", "method", "linear", "direct"):
        assert contrast(given[name], given["page"]) >= 3, name


@pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium on the path")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_it(history, tmp_path, width):
    from PIL import Image

    page = write_status(history, today=TODAY)
    shots = {}
    for mode, flags in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        shot = tmp_path / f"{mode}.png"
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--hide-scrollbars", *flags,
            f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}",
            f"--window-size={width},1800", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        shots[mode] = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    light, dark = shots["light"], shots["dark"]
    assert light[5, 5].tolist() == [255, 255, 255]
    assert dark[5, 5].max() < 60
    red = (light[..., 0] > 140) & (light[..., 1:].max(axis=-1) < 60)  # what failed
    assert red.sum() > 200
    assert (np.abs(light - light[5, 5]).max(axis=-1) > 100)[:900].mean() > 0.02  # there is text


def test_anchors_are_unique():
    anchors = [failure.anchor for failure in FAILURES]
    assert len(set(anchors)) == len(anchors)
