"""Texts from outside: no secret is shown or stored, and no medium takes them for more than text."""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
import time
import tomllib
import warnings
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from unicodedata import category
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from checks import facts
from hypothesis import given, settings
from hypothesis import strategies as st

import biastf_xr
from biastf_xr import _outside, errors
from biastf_xr._html import anchor, bullets, escape, folded, link, page
from biastf_xr._html import facts as definitions
from biastf_xr._outside import json_text, markdown_text, toml_text, visible, without_secrets
from biastf_xr._summary import Summary, Told
from biastf_xr._tables import Table, write_csv
from biastf_xr._update.charts import coverage_chart, trend_chart
from biastf_xr._update.health import Coverage
from biastf_xr._update.outcomes import Outcome
from biastf_xr._update.records import Accuracy, StepRecord, UpdateReport
from biastf_xr._urls import lasting, public
from biastf_xr.cli import _terminal
from biastf_xr.cli._init import Archive, render_config
from biastf_xr.config import read_config
from biastf_xr.cube._spec import STATUS
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import BiastfError, ConfigError
from biastf_xr.fusion._report import RunLog
from biastf_xr.methods._learning.files import read_fields, write_model
from biastf_xr.publish._stac import Description
from biastf_xr.region import Region
from biastf_xr.sources.base import Scene

SECRET = "canary"

# Markup of the terminal, escape sequences, bells, C1, overrides of the direction, line breaks of
# all kinds, bytes that are no text, tags, ends of attributes, scripts and comments, tables.
PIECES = (
    "[/b]", "[link=x]", "\x1b[31m", "\x1b]8;;x\x07", "\x9b2J", "\r", "\n", "\x85", "\u2028", "\t",
    "\x00", "\x7f", "\u202e", "\u2066", "\udcff", "\U000e0041", "<script>", "</script>", "<b>",
    "\"onload='x", "-->", "]]>", "&amp;", "|", "`", "*", "\\", "{x}", "%s", "$\\frac{", "../", "ü",
)  # fmt: skip

hostile = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), min_size=1, max_size=4
).map("".join)


def hostile_texts(test):
    """Give a test hostile texts, at most 100 of them, however slow the machine is."""
    return settings(deadline=None)(given(text=hostile)(test))


class Tags(HTMLParser):
    """Collects tags with the names of their attributes, and what stands between tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data):
        self.text += data


def prints(text, *, lines=False):
    """Return whether nothing in a text acts on whatever shows it."""
    shown = text.replace("\n", "") if lines else text
    return all(c.isprintable() or category(c) == "Zs" for c in shown)


# --- one escape for each medium -------------------------------------------------------------------


@hostile_texts
def test_what_is_visible_prints_on_one_line_and_stays(text):
    shown = visible(text)
    assert prints(shown)
    assert visible(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["Ünïcödé, 東京", "a b\u00a0c", "C:\\data\\fine", "[b] $x$ & <y>"])
def test_honest_texts_stay_as_they_are(text):
    assert visible(text) == text


@hostile_texts
def test_html_takes_a_text_for_text(text):
    found = Tags(f'<p title="{escape(text)}">{escape(text)}</p>')
    assert found.tags == [("p", ["title"])]
    assert found.text == visible(text)


@hostile_texts
def test_json_gives_a_text_back(text):
    written = json_text({text: [text]}, indent=1)
    assert prints(written, lines=True)
    assert json.loads(written) == {without_secrets(text): [without_secrets(text)]}


@hostile_texts
def test_toml_gives_a_text_back(text):
    written = toml_text(text)
    assert prints(written)
    if re.search("[\ud800-\udfff]", text):  # which TOML cannot hold, however it is written
        with pytest.raises(tomllib.TOMLDecodeError):
            tomllib.loads(f"x = {written}")
    else:
        assert tomllib.loads(f"x = {written}") == {"x": text}


@hostile_texts
def test_a_cell_of_markdown_stays_one(text):
    row = f"| {markdown_text(text)} | end |"
    assert prints(row)
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3


@hostile_texts
def test_a_cell_of_csv_stays_one(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("table") / "table.csv"
    write_csv(pd.DataFrame({"a": [text], "b": ["end"]}), file)
    written = file.read_bytes().decode()
    assert prints(written, lines=True)
    assert len(written.splitlines()) == 2
    again = pd.read_csv(file, keep_default_na=False, dtype=str)
    assert again.to_numpy().tolist() == [[visible(text), "end"]]


def test_every_medium_has_one_escape():
    sources = {p.name: p.read_text("utf-8") for p in Path(biastf_xr.__file__).parent.rglob("*.py")}
    for what, where in (("from html import", "_html.py"), ("ensure_ascii=False", "_outside.py")):
        assert [name for name, text in sources.items() if what in text] == [where], what


# --- every field of what people see ---------------------------------------------------------------


def summary(text):
    frame = pd.DataFrame({f"column {text}": [f"cell {text}"], "n": [1]}, index=[f"row {text}"])
    bare, named = frame.reset_index(drop=True), frame.rename_axis(f"index {text}")
    tables = {f"caption {text}": bare, f"named {text}": named}
    values = {f"name {text}": f"value {text}", "lines": (f"one {text}", f"two {text}")}
    return Summary(f"title {text}", values, tables, (f"note {text}",))


@hostile_texts
def test_summary_of_an_object_in_every_form(text):
    about = summary(text)
    harmless, shown = summary("x"), visible(text)
    assert Tags(about.html()).tags == Tags(harmless.html()).tags
    assert prints(about.text(), lines=True)
    assert len(about.text().splitlines()) == len(harmless.text().splitlines())
    for what in ("title", "name", "value", "one", "two", "column", "cell", "row", "index",
                 "caption", "note"):  # fmt: skip
        assert f"{what} {shown}" in about.text(), what
        assert f"{what} {shown}" in Tags(about.html()).text or what in ("row", "index"), what


@hostile_texts
def test_terminal_in_every_way_to_print(text):
    console, kept = _terminal.console, _terminal.console.__dict__.copy()
    out = io.StringIO()
    try:
        console._file, console._width = out, 1000
        _terminal.say(f"say {text}")
        _terminal.show(summary(text))
        with _terminal.stages() as advance:
            advance("other", 1, 1, f"message {text}")
            advance("ingest", 1, 2, f"scene {text}")
    finally:
        console.__dict__.update(kept)
    found = out.getvalue()
    assert prints(found, lines=True)
    joined = re.sub(r"\s+", " ", found)
    for what in ("say", "title", "value", "cell", "note", "message", "scene"):
        assert re.sub(r"\s+", " ", f"{what} {visible(text)}".rstrip()) in joined, what


def report_of(text):
    text = f"~{text}"
    step = StepRecord(f"fuse {text}", "failed", 1.0, {f"n {text}": text}, text, text, text)
    done = StepRecord("ingest", text, 1.0, {}, text)
    rmse = {f"m {text}": 0.1, "linear": 0.2, "direct": 0.3}
    accuracy = Accuracy(text, f"m {text}", rmse, 5, text, text)
    return UpdateReport(
        text, Outcome.FAILED, 1.0, (done, step), {"fine": text}, (text,), accuracy, text,
        {text: text}, text,
    )  # fmt: skip


def coverage_of(text):
    shares = dict.fromkeys(STATUS, (0.5, 0.0))
    return Coverage((f"day {text}", "2021-04-02"), shares)


@hostile_texts
def test_status_page_and_its_charts(text):
    from biastf_xr._update import status

    class Section:
        handbook = "https://example.org/card"
        folder = None

    class Settings:
        update = Section

        class fuse:  # noqa: N801
            output = "fused.zarr"

    def made(text):
        runs = [report_of(text)]
        return (
            status._lead(runs) + status._runs(runs) + status._failures(Settings, runs)
            + status._accuracy(Settings, runs) + coverage_chart(coverage_of(text))
            + status._versions(Settings, runs)
            + trend_chart([(text, report_of(text).accuracy)])
        )  # fmt: skip

    found = Tags(made(text))
    assert found.tags == Tags(made("x")).tags
    assert prints(found.text, lines=True)
    assert visible(text) in found.text


@hostile_texts
def test_record_and_log_of_a_run(tmp_path_factory, text):
    report = report_of(text)
    written = report.text()
    assert prints(written, lines=True)
    again = UpdateReport.parse(written)
    assert again.steps[1].message == without_secrets(f"~{text}")
    assert prints(report.error, lines=True)
    assert len(report.error.splitlines()) == len(report_of("x").error.splitlines())
    file = tmp_path_factory.mktemp("log") / "log.jsonl"
    log = RunLog(file)
    log.write("step", message=text, trace=[text], odd=ValueError(text))
    log.close()
    (line,) = file.read_text("utf-8").splitlines()
    assert prints(line)
    assert json.loads(line)["message"] == without_secrets(text)


@hostile_texts
def test_pieces_of_pages(text):
    def made(text):
        table = Table(text, (text, "b"), [(text, 1.0), (text, text)])
        return page(
            text, [("a", text, definitions({text: text}) + bullets([text]) + folded(text, "")
                    + table.html(sortable=True) + table.html())],
            anchor("https://example.org/?a=1#b", text),
        )  # fmt: skip

    assert Tags(made(text)).tags == Tags(made("x")).tags


@settings(deadline=None)
@given(hostile, hostile)
def test_configuration_that_init_writes(folder, name):
    if not re.search("[\ud800-\udfff]", folder):
        fine, coarse = Archive("hls", folder, folder), Archive("mod09ga", folder)
        text = render_config(name, fine, coarse, folder.replace(",", ""))
        found = tomllib.loads(text)
        assert found["fine"]["folder"] == found["coarse"]["folder"] == folder
        assert set(found) == set(tomllib.loads(render_config("x", fine, coarse, "y")))


def test_every_error_is_one_line_without_secrets():
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, BiastfError)]
    assert len(kinds) > 15
    for kind in kinds:
        error = kind(f"a\nb \x1b[31m https://u:{SECRET}@host/x?sig={SECRET}.")
        assert str(error) == "a\\nb \\x1b[31m https://host/x."
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


# --- secrets --------------------------------------------------------------------------------------

QUERIES = (
    "sig={}", "X-Amz-Signature={0}&X-Amz-Credential={0}", "token={}",
    "redirect=https%3A%2F%2Fu%3A{}%40b", "a=1&anything={}", "{}",
)  # fmt: skip
URLS = [
    *(f"https://host/a/x.tif?{q.format(SECRET)}" for q in QUERIES),
    f"https://user:{SECRET}@host/a/x.tif",
    f"https://{SECRET}@host:8080/a/x.tif",
    f"https://user:{SECRET}@host/a/x.tif?sig={SECRET}#{SECRET}",
    f"https://user:can/{SECRET}@host/a/x.tif",
    f"s3://key:{SECRET}@bucket/a/x.tif",
    f"abfs://box:{SECRET}@account.dfs.core.windows.net/a/x.tif",
    f"icechunk+s3://key:{SECRET}@bucket/a/x.tif",
    f"zip://x.tif::https://user:{SECRET}@host/a/x.zip?sig={SECRET}",
    f"https://proxy/https://user:{SECRET}@host/a/x.tif?sig={SECRET}",
    f"/vsicurl/https://user:{SECRET}@host/a/x.tif?sig={SECRET}",
]
TEXTS = [
    f"HTTPSConnectionPool(host='h', port=443): Max retries with url: /x?sig={SECRET} (Caused by",
    f"403, message='Forbidden', url=URL('https://u:{SECRET}@h/x?sig={SECRET}')",
    f"CPLE_HttpResponse: /vsicurl?url=https%3A%2F%2Fu%3A{SECRET}%40h%2Fx%3Fsig%3D{SECRET} failed",
    f"GDAL_HTTP_HEADERS=Authorization: Bearer {SECRET}",
    f"headers: {{'Authorization': 'Basic {SECRET}'}}",
    f"S3FileSystem(key='AKIA', secret='{SECRET}', token='{SECRET}')",
    f'{{"password": "{SECRET}", "api_key": "{SECRET}"}}',
    f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET}==;EndpointSuffix=x",
    f"no file https:/u:{SECRET}@h/x?sig={SECRET}",
]


@pytest.mark.parametrize("url", URLS)
def test_what_is_shown_of_a_url(url):
    assert SECRET not in public(url)
    for text in (f"in {url} it is", f"({url}). Get it", f"{url!r}, x", f"a {url}\nb", repr([url])):
        found = without_secrets(text)
        assert SECRET not in found
        assert found[:1] + found[-1:] == text[:1] + text[-1:]
        assert "can/" in url or "x." in found


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_shown_of_the_texts_of_libraries(text):
    assert SECRET not in without_secrets(text)
    assert SECRET not in without_secrets(json.dumps({"trace": text}))


@given(st.text(min_size=1, max_size=8), st.text(max_size=8), st.text(max_size=3))
def test_no_user_or_query_is_left(user, query, after):
    user, query = (
        quote(f"{SECRET}{part}", safe="") for part in (user.replace("\udcff", ""), query)
    )
    url = f"https://{user}:{user}@host/x.tif?{query}"
    assert public(url) == "https://host/x.tif"
    assert SECRET not in visible(f"{after} {url} {after}")


@pytest.mark.parametrize(
    "text",
    [
        "a path /data/fine.zarr, C:\\data, netcdf:/a/b.nc:sur_refl#3",
        "https://host:8080/a%20b/x.tif, s3://bucket/a/b.zarr and abfs://box@account.dfs/x",
        "sigma = 3, `sig` or token; is it there? Yes, 3 = 3. unexpected token in line 3",
        "user@host.org has http://[::1]:8787/status",
    ],
)
def test_honest_texts_keep_everything(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize("name", ["EARTHDATA_TOKEN", "AWS_SECRET_ACCESS_KEY", "My_Password"])
def test_values_of_secret_variables_are_not_shown(monkeypatch, name):
    monkeypatch.setenv(name, "open sesame")
    assert "sesame" not in without_secrets("invalid literal: 'open sesame'")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/x/credentials.json")
    assert "/home/x" in without_secrets("no file /home/x/credentials.json")


def test_passwords_of_urls_in_use_are_not_shown():
    from biastf_xr._urls import is_url

    assert is_url("https://user:p%40ssw0rt-of-a-test@host/x")
    for said in ("p%40ssw0rt-of-a-test", "p@ssw0rt-of-a-test"):
        assert said not in without_secrets(f"nonnumeric port: '{said}@host'")


def test_a_source_signed_anew_is_the_same():
    first = "https://h/get?id=7&X-Amz-Signature=a&X-Amz-Date=1&Expires=3"
    assert lasting(first) == lasting("https://u:p@h/get?id=7&X-Amz-Signature=b&X-Amz-Date=2")
    assert lasting(first) != lasting(first.replace("id=7", "id=8"))
    azure = "https://h/x.tif?sv=2020&st=a&se=b&sr=c&sp=r&skoid=1&sig="
    assert lasting(f"{azure}1") == lasting(f"{azure}2") == "https://h/x.tif"
    assert lasting("https://h/x?sp=3") == "https://h/x?sp=3"  # of no signature


@pytest.mark.parametrize(
    "text",
    ["a-", "token", "://", "x?a=", "token = ", "%3A%2F%2F", "a@", "x::y://", "\x1b", "bearer "],
)
def test_time_grows_with_the_text_only(text):
    def seconds(count):
        started = time.process_time()
        visible(text * count)
        return time.process_time() - started

    assert seconds(40_000) < 20 * max(seconds(10_000), 0.02)


def test_logs_and_warnings_of_libraries(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    before = logging.getLogRecordFactory()
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    log = logging.getLogger("a library")
    log.addHandler(handler)
    try:
        _outside.guard_logs()
        guarded = logging.getLogRecordFactory()
        _outside.guard_logs()
        assert logging.getLogRecordFactory() is guarded
        log.warning("no answer of %s\x1b[31m", URLS[0])
        try:
            raise OSError(TEXTS[0])  # noqa: TRY301
        except OSError:
            log.exception("failed")
        text = warnings.formatwarning(URLS[0], UserWarning, "f.py", 3, "x = 1")
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)
    assert "no answer of https://host/a/x.tif\\x1b[31m" in out.getvalue()
    assert "Traceback" in out.getvalue()
    assert "OSError" in out.getvalue()
    assert SECRET not in out.getvalue() + text


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", " JAVASCRIPT:alert(1)", "java\nscript:alert(1)", "data:text/html,x",
     "vbscript:x", "file:///etc/passwd", "https://u:p@host/x", "https://host/x?sig=1",
     "https://host/\u202ex"],
)  # fmt: skip
def test_links_that_nobody_should_follow_are_refused(address, tmp_path):
    with pytest.raises(ConfigError, match=facts("the card")):
        link(address, "the card")
    with pytest.raises(ConfigError):
        Description("a", "b", "c", licence_url=address)
    with pytest.raises(ConfigError):
        Description("a", "b", "c", providers=({"name": "n", "url": address},))
    file = tmp_path / "config.toml"
    file.write_text("[update]\n")
    cube = {"product": "cube", "folder": ".", "cube": "cube.zarr"}
    with pytest.raises(ConfigError, match=facts("update.handbook")):
        read_config(file, {"fine": cube, "coarse": cube, "update": {"handbook": address}})


@pytest.mark.parametrize(
    "address",
    [
        "https://host/wiki?page=3&author=x#a",
        "http://host",
        "operations.html",
        "../docs/card.html",
        "",
    ],
)
def test_links_that_lead_somewhere_stay(address):
    assert link(address, "the card") == address


class Named(Told):
    """An object with a name of a stranger."""

    def _summary(self):
        return Summary(URLS[0])


def test_objects_show_themselves_without_secrets(tmp_path):
    cube = {"product": "cube", "folder": URLS[0], "cube": f"memory://user:{SECRET}@a/b.zarr"}
    config = read_config(None, {"fine": cube, "coarse": cube, "fuse": {"output": cube["cube"]}})
    scene = Scene("a", np.datetime64("2021-04-01"), {"red": URLS[0]})
    shown = [Named(), config, Region(config), scene, [scene], store_at(cube["cube"])]
    assert SECRET not in "".join(map(repr, shown)) + Named()._repr_html_()
    assert "https://host/a/x.tif" in repr(scene)
    assert "memory://a/b.zarr" in repr(Region(config))
    assert config.fine.folder == URLS[0]
    assert store_at(cube["cube"]).beside.name == "b.zarr"


@dataclass
class Card:
    """A card with texts of a stranger."""

    data: dict
    method: str = "x"


def test_card_of_a_model_holds_no_secret(tmp_path):
    card = Card({"cubes": [*URLS, *TEXTS], "nested": ({"a": URLS[0]},)})
    write_model(tmp_path / "model.safetensors", card, {"a": np.zeros(3)})
    assert SECRET.encode() not in (tmp_path / "model.safetensors").read_bytes()
    assert read_fields(tmp_path / "model.safetensors")["data"]["cubes"][0] == "https://host/a/x.tif"
