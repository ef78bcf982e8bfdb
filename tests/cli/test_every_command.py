"""What all commands have in common: help, forms of output, dry runs, interrupts, completion."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import xarray as xr
from checks import facts
from typer.testing import CliRunner

from biastf_xr._tables import plain
from biastf_xr.cli._app import app
from biastf_xr.cube import IngestReport
from biastf_xr.errors import ConfigError, ExitCode

COMMAND = Path(sys.executable).with_name("biastf-xr")

CONFIG = """
[fine]
product = "landsat-c2-l2"
folder = "{landsat}"
cube = "{fine}"

[coarse]
product = "mod09ga"
folder = "{modis}"
cube = "{coarse}"

[method]
name = "direct"

[fuse]
output = "fused.zarr"
start = 2021-04-15
end = 2021-04-18
tile = 48

[cluster]
kind = "in-process"
"""


def commands(group=None, words=()):
    """List every command with its full name."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands())


@pytest.fixture
def config(tmp_path, small_scenes, small_cubes):
    """Write the configuration of a run on the small cubes."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(**small_scenes._asdict(), **small_cubes._asdict()))
    return path


def run(*arguments, code=0):
    """Run a command in this process; give standard output and standard error."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_with_an_example_and_names_the_common_options(name):
    help_ = COMMANDS[name].help
    assert f"`biastf-xr {name}" in help_, help_
    out, _ = run(*name.split(), "--help")
    assert "Usage" in out
    for flag in ("--json", "--quiet", "--verbose", "--debug", "--dry-run"):
        assert flag in out


def test_json_is_all_there_is_on_standard_output(config):
    out, told = run("ingest", config, "--json")
    made = json.loads(out)
    assert set(made) == {"fine", "coarse"}
    assert len(made["fine"]["unchanged"]) == 3
    assert "unchanged" in told
    planned = json.loads(run("plan", config, "--json", "--dry-run")[0])
    assert planned["totals"]["dates"] == 4
    assert planned["dates"][0]["first"] == "2021-04-15"
    fused = json.loads(run("fuse", config, "--json")[0])
    assert fused["units"] > 0
    assert fused["failed"] == []
    shown = json.loads(run("info", config.parent / "fused.zarr", "--json")[0])
    assert shown["days"] == ["2021-04-15", "2021-04-16", "2021-04-17", "2021-04-18"]
    assert json.loads(run("verify", config.parent / "fused.zarr", "--json")[0])["findings"] == []


def test_quiet_says_nothing_and_verbose_says_more(config):
    assert run("fuse", config, "--quiet") == ("", "")
    brief, _ = run("fuse", config, "--overwrite")
    long, _ = run("fuse", config, "--overwrite", "--verbose")
    assert long.count("fuse:") >= brief.count("fuse:") > 0


def test_dry_runs_say_what_would_be_done_and_write_nothing(config, tmp_path, small_cubes):
    before = sorted(p for p in tmp_path.rglob("*"))
    out, _ = run("ingest", config, "--overwrite", "--dry-run")
    assert "scenes to read" in out
    taken = json.loads(run("ingest", config, "--overwrite", "--dry-run", "--json")[0])
    assert len(taken["fine"]["days"]) == 3
    told = json.loads(run("fuse", config, "--dry-run", "--json")[0])
    assert told["totals"]["cpu_seconds"] is None
    told = json.loads(run("train", config, "--dry-run", "--json")[0])
    assert told == {"method": "direct", "learned": False}
    cubes = "--fine", small_cubes.fine, "--coarse", small_cubes.coarse
    told = json.loads(run("train", *cubes, "--dry-run", "--json")[0])
    assert told["method"] == "biastf-plus"
    assert told["days"]
    told = json.loads(run("evaluate", config, "--dry-run", "--json", "--date", "2021-04-17")[0])
    assert told["folds"] == [{"withheld": ["2021-04-17"], "scored": ["2021-04-17"]}]
    assert told["methods"] == ["nearest", "linear", "direct"]
    run("demo", "--output", tmp_path / "demo", "--dry-run")
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_an_error_is_one_message_or_one_object(tmp_path):
    told = subprocess.run(
        [COMMAND, "fuse", tmp_path / "no.toml"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert told.stdout == ""
    assert "Traceback" not in told.stderr
    told = subprocess.run(
        [COMMAND, "fuse", tmp_path / "no.toml", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(told.stdout)["error"] == "ConfigError"
    told = subprocess.run(
        [COMMAND, "fuse", tmp_path / "no.toml", "--debug"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" in told.stderr


def test_what_json_cannot_hold_becomes_null_or_text():
    import numpy as np
    import pandas as pd

    report = IngestReport("a.zarr", added={"x": np.float32(0.5)}, removed=(np.datetime64("2021"),))
    told = plain({"report": report, "nan": float("nan"), "where": Path("a"), 3: np.int64(4)})
    assert json.loads(json.dumps(told)) == {
        "report": plain(report), "nan": None, "where": "a", "3": 4,
    }  # fmt: skip
    assert told["report"]["added"] == {"x": 0.5}
    assert told["report"]["removed"] == ["2021"]
    assert plain(pd.DataFrame({"a": [1.0, np.nan]})) == [{"a": 1.0}, {"a": None}]


def test_ctrl_c_stops_says_how_to_go_on_and_the_same_command_does(config):
    long = config.read_text().replace("end = 2021-04-18\ntile = 48", "end = 2021-04-26\ntile = 16")
    config.write_text(long)
    process = subprocess.Popen(
        [COMMAND, "fuse", config, "--verbose"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("fuse:"):
            break
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.strip() == "interrupted. What is finished is kept; the same command goes on."
    report = json.loads(run("fuse", config, "--json")[0])
    assert report["kept"] > 0
    assert report["units"] > 0
    assert (xr.open_zarr(config.parent / "fused.zarr")["status_flag"] != 0).all()


def test_exit_codes_are_told():
    out, _ = run("--help")
    assert all(f"{int(code)} " in " ".join(out.split()) for code in ExitCode)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("biastf-xr ev", "evaluate"), ("biastf-xr fuse --method est", "estarfm")],
)
def test_the_shell_completes_commands_and_methods(typed, expected):
    words = typed.split()
    done = subprocess.run(
        [COMMAND], capture_output=True, text=True, check=False,
        env={**os.environ, "_BIASTF_XR_COMPLETE": "complete_bash", "COMP_WORDS": typed,
             "COMP_CWORD": str(len(words) - 1)},
    )  # fmt: skip
    assert expected in done.stdout.split(), done


# --- init and doctor ----------------------------------------------------------------------------


def test_init_tells_the_products_and_writes_a_file_that_reads(tmp_path, small_scenes):
    from biastf_xr.config import read_config

    path = tmp_path / "run" / "region.toml"
    run(
        "init", path, "--fine-folder", small_scenes.landsat, "--coarse-folder", small_scenes.modis,
        "--region", "8.3,49.8,8.7,50.1",
    )  # fmt: skip
    config = read_config(path)
    assert (config.fine.product, config.coarse.product) == ("landsat-c2-l2", "mod09ga")
    assert Path(config.fine.folder).resolve() == Path(small_scenes.landsat).resolve()
    assert config.grid.region == (8.3, 49.8, 8.7, 50.1)
    with pytest.raises(ConfigError, match=facts("region.toml", "--overwrite")):
        run(
            "init", path, "--fine-folder", small_scenes.landsat,
            "--coarse-folder", small_scenes.modis,
        )  # fmt: skip


def test_init_knows_hls_of_several_tiles_and_leaves_the_choice_to_a_person(tmp_path):
    from biastf_xr.config import read_config

    for tile in ("55HBU", "55HCU"):
        scene = f"HLS.L30.T{tile}.2021091T000000.v2.0"
        for layer in ("B02", "B03", "B04", "B05", "B06", "B07", "Fmask"):
            (tmp_path / "hls [a]").mkdir(exist_ok=True)
            (tmp_path / "hls [a]" / f"{scene}.{layer}.tif").touch()
    path = tmp_path / "r.toml"
    out, _ = run(
        "init", path, "--fine-folder", tmp_path / "hls [a]", "--coarse-folder", tmp_path,
        "--set", "coarse.product=mod09ga",
    )  # fmt: skip
    assert "2 scenes of hls" in out
    config = read_config(path)
    assert config.fine.product == "hls"
    assert config.fine.options == {}
    comment = " ".join(line.strip("# ") for line in path.read_text().splitlines())
    for text in (out, comment):
        assert re.search(facts("hls [a]", "55HBU", "55HCU", 'tile = "'), text)


def test_init_offers_geotiff_where_no_product_is_known(tmp_path):
    (tmp_path / "a").mkdir()
    out, _ = run(
        "init", tmp_path / "r.toml", "--fine-folder", tmp_path / "a", "--coarse-folder",
        tmp_path / "a", "--dry-run",
    )  # fmt: skip
    assert "[fine.options]" in out
    assert not (tmp_path / "r.toml").exists()


def test_init_asks_a_person_and_nobody_else(tmp_path, small_scenes, monkeypatch):
    with pytest.raises(ConfigError, match=facts("--fine-folder", "--coarse-folder")):
        run("init", tmp_path / "r.toml")
    monkeypatch.setattr("biastf_xr.cli._start._is_a_person_there", lambda: True)
    typed = f"{small_scenes.landsat}\n{small_scenes.modis}\n\n"
    done = CliRunner().invoke(app, ["init", str(tmp_path / "r.toml")], input=typed)
    assert done.exit_code == 0, done.output
    assert "mod09ga" in (tmp_path / "r.toml").read_text()


@pytest.mark.parametrize("region", ["8,50,7,51", "8,50", "a,b,c,d"])
def test_init_refuses_what_is_no_region(tmp_path, small_scenes, region):
    with pytest.raises(ConfigError, match=facts(region, "west,south,east,north")):
        run(
            "init", tmp_path / "r.toml", "--fine-folder", small_scenes.landsat,
            "--coarse-folder", small_scenes.modis, "--region", region,
        )  # fmt: skip


def test_doctor_looks_at_the_machine_and_leaves_nothing(tmp_path):
    checks = json.loads(run("doctor", tmp_path, "--json")[0])
    found = {(c["topic"], c["name"]): c for c in checks}
    assert found["software", "xarray"]["found"] == xr.__version__
    assert found["GDAL", "driver COG"]["verdict"] == "ok"
    assert found["Zarr codecs", "blosc"]["verdict"] == "ok"
    assert ("machine", "memory") in found
    assert not list(tmp_path.iterdir())


def test_doctor_finds_what_is_wrong_with_a_run(config, tmp_path):
    run("doctor", config, tmp_path)
    config.write_text(config.read_text().replace('product = "mod09ga"', 'product = "vnp09ga"'))
    out, _ = run("doctor", config, tmp_path, code=1)
    assert "coarse scenes" in out
    out, _ = run("doctor", tmp_path / "none", code=1)
    assert "no such folder" in out


@pytest.mark.parametrize("words", [("info", "nowhere.zarr"), ("info", "{fine}"), ("--help",)])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_is_gone_is_no_traceback(words, form, small_cubes):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [COMMAND, *form, *(word.format(fine=small_cubes.fine) for word in words)],
            stdout=gone, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == (ExitCode.NEEDS_A_PERSON if "nowhere.zarr" in words else 1)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
