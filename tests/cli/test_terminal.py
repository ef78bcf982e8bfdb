"""Texts of users are printed as they are, whatever they hold."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from biastf_xr._summary import Summary
from biastf_xr.cli import _terminal
from biastf_xr.cli._command import fail
from biastf_xr.errors import ConfigError, ExitCode

# Markup, an unclosed tag, a link, an emoji, a format and HTML, for programs that take them so.
HOSTILE = [
    "[coarse]",
    "[/bold]",
    "[link=x]y[/]",
    ":zap:",
    "{task} %s",
    "<b>&amp;</b>",
    "a\\[b]",
]


@pytest.fixture(params=[True, False], ids=["terminal", "log"])
def printed(request, monkeypatch):
    """Return what the console was given, on a terminal and in a log."""
    out = io.StringIO()
    # Not `file`: undone, that would bind the console to what was standard output here.
    monkeypatch.setattr(_terminal.console, "_file", out)
    monkeypatch.setattr(_terminal.console, "_force_terminal", request.param)
    monkeypatch.setattr(_terminal.console, "no_color", True)
    monkeypatch.setattr(_terminal.console, "_color_system", None)
    return out


@pytest.mark.parametrize("text", HOSTILE)
def test_every_way_to_print_takes_texts_as_they_are(printed, text):
    _terminal.say(f"say {text}")
    _terminal.show(
        Summary(
            f"title {text}",
            {f"name {text}": f"value {text}"},
            {f"caption {text}": pd.DataFrame({"column": [f"cell {text}"]})},
            (f"note {text}",),
        )
    )
    _terminal.console.rule(f"rule {text}")
    found = printed.getvalue()
    for what in ("say", "title", "name", "value", "caption", "cell", "note", "rule"):
        assert f"{what} {text}" in found, found


@pytest.mark.parametrize("text", HOSTILE)
def test_progress_takes_names_as_they_are(printed, text, monkeypatch):
    monkeypatch.setitem(_terminal.UNITS, f"stage {text}", "scenes")
    with _terminal.stages() as advance:
        advance("other", 1, 1, f"message {text}")
        advance(f"stage {text}", 1, 2, f"scene {text}")
        advance(f"stage {text}", 2, 2, f"scene {text}")
    found = printed.getvalue()
    for what in ("message", "stage"):
        assert f"{what} {text}" in found, found


@pytest.mark.parametrize("text", HOSTILE)
def test_error_is_printed_as_it_is_and_on_one_line(text, capsys):
    message = f"`{text}` of /a/very/long/path/that/no/terminal/of/eighty/columns/holds/region.toml"
    with pytest.raises(SystemExit) as ended:
        fail(ConfigError(message), ExitCode.NEEDS_A_PERSON)
    assert ended.value.code == 2
    assert f"error (ConfigError): {message}\n" in capsys.readouterr().err


@pytest.mark.parametrize("text", HOSTILE)
def test_summary_for_a_notebook_is_escaped(text):
    from html import escape

    frame = pd.DataFrame({f"column {text}": [f"cell {text}"]})
    about = Summary(text, {text: text}, {f"caption {text}": frame}, (f"note {text}",))
    page = about.html()
    for what in ("column", "cell", "caption", "note"):
        assert escape(f"{what} {text}") in page
    assert "<b>&amp;" not in page
