"""One way in: a flag over the file over the default, and any key by `--set`."""

from __future__ import annotations

import datetime as dt

import pytest
import typer.main
from typer.testing import CliRunner

from biastf_xr import config
from biastf_xr._keys import leaf_keys
from biastf_xr.cli._app import app
from biastf_xr.cli._flags import FLAGS, changes_of, read_settings
from biastf_xr.config import Config, read_config
from biastf_xr.errors import ConfigError

FILE = """
[fine]
product = "landsat-c2-l2"
folder = "in/landsat"
cube = "in/fine.zarr"
[coarse]
product = "mod09ga"
folder = "in/modis"
cube = "in/coarse.zarr"
[grid]
region = "in/region.geojson"
[method]
name = "starfm"
checkpoint = "in/model.safetensors"
options.window = 31
[fuse]
output = "in/fused.zarr"
start = 2021-01-01
end = 2021-02-01
withhold = [2021-01-09]
[cluster]
workers = 3
"""

# What is typed for each flag, and what the key then is.
TYPED = {
    "fine": "a.zarr", "coarse": "b.zarr", "fine-folder": "c", "coarse-folder": "d",
    "region": "e.geojson", "method": "estarfm", "checkpoint": "f.safetensors",
    "output": "g.zarr", "start": "2021-03-01", "end": "2021-04-01",
    "withhold": ["2021-03-05", "2021-03-09"], "workers": "7",
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(FILE)
    return path


def value_of(found, key):
    for part in key.split("."):
        found = getattr(found, part)
    return found


def test_every_flag_is_another_name_of_one_key():
    keys = leaf_keys(Config)
    assert {flag.key for flag in FLAGS.values()} <= set(keys)
    assert len({flag.key for flag in FLAGS.values()}) == len(FLAGS)
    assert set(TYPED) == set(FLAGS)
    found = set()
    for command in typer.main.get_command(app).commands.values():
        if command.name != "init" and not any(p.name == "config" for p in command.params):
            continue
        command.explain()
        for option in command.params:
            flag = FLAGS.get(str(option.name).replace("_", "-"))
            if flag:
                assert f"[{flag.key}" in option.help, (command.name, option.name)
                assert len(option.help) > len(flag.key) + 12
                found.add(flag)
    assert found == set(FLAGS.values())


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_overrides_the_file_and_the_file_the_default(flag, file, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    key = FLAGS[flag].key
    typed = value_of(read_settings(file, changes_of({flag: TYPED[flag]})), key)
    stated = value_of(read_config(file), key)
    default = leaf_keys(Config)[key].default
    assert typed != stated
    assert stated != default
    if "in/" in str(stated):  # a path: typed, it is one of the working directory
        assert str(stated).startswith(f"{tmp_path}/in/")
        assert str(typed) == f"{tmp_path}/elsewhere/{TYPED[flag]}"
    elif flag == "withhold":
        assert typed == (dt.date(2021, 3, 5), dt.date(2021, 3, 9))
    else:
        assert str(typed) == TYPED[flag]


@pytest.mark.parametrize("flag", FLAGS)
def test_set_has_the_last_word(flag, file):
    one = TYPED[flag][0] if FLAGS[flag].many else TYPED[flag]
    text = f'{FLAGS[flag].key}=["{one}"]' if FLAGS[flag].many else f'{FLAGS[flag].key}="{one}"'
    if flag == "workers":
        text = f"{FLAGS[flag].key}={one}"
    other = {"workers": "5", "method": "fsdaf", "withhold": ["2020-01-01"]}.get(flag, "2019-01-01")
    both = read_settings(file, changes_of({flag: other}, [text]))
    alone = read_settings(file, changes_of({}, [text]))
    assert value_of(both, FLAGS[flag].key) == value_of(alone, FLAGS[flag].key)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("fuse.tile=512", "fuse.tile", 512),
        ("fuse.min_clear=0.5", "fuse.min_clear", 0.5),
        ("fuse.min_clear=1", "fuse.min_clear", 1.0),
        ("fuse.keep_observed=false", "fuse.keep_observed", False),
        ("fuse.start=2021-01-09", "fuse.start", dt.date(2021, 1, 9)),
        ("fuse.withhold=[2021-01-09, 2021-01-11]", "fuse.withhold",
         (dt.date(2021, 1, 9), dt.date(2021, 1, 11))),
        ("fuse.output=s3://bucket/f.zarr", "fuse.output", "s3://bucket/f.zarr"),
        ("method.refit=never", "method.refit", "never"),
        ("coarse.shift=[30, -15.5]", "coarse.shift", (30.0, -15.5)),
        ("coarse.shift=auto", "coarse.shift", "auto"),
        ("grid.region=[8, 49, 9, 50]", "grid.region", (8.0, 49.0, 9.0, 50.0)),
        ("grid.region=MGRS:55HBU", "grid.region", "MGRS:55HBU"),
        ("fine.options.mask_snow=true", "fine.options", {"mask_snow": True}),
        ("fine.options={mask_snow = true, tile = 'T55'}", "fine.options",
         {"mask_snow": True, "tile": "T55"}),
        ("update.steps=['ingest', 'fuse']", "update.steps", ("ingest", "fuse")),
    ],
)  # fmt: skip
def test_set_reads_values_as_toml_or_as_plain_words(text, key, expected, file):
    assert value_of(read_settings(file, changes_of({}, [text])), key) == expected


def test_sets_add_up_and_the_last_of_a_key_counts(file):
    texts = ["fine.options.a=1", "fine.options.b=2", "fuse.tile=64", "fuse.tile=128"]
    found = read_settings(file, changes_of({}, texts))
    assert found.fine.options == {"a": 1, "b": 2}
    assert found.fuse.tile == 128


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("fuse.tiles=9", "`fuse.tile`"),
        ("fuze.tile=9", "`fuse`|`fuse.tile`"),
        ("grid.regoin=x", "`grid.region`"),
        ("update.workers=2", "`cluster.workers`"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_may_be_meant(text, meant, file):
    key = text.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"unknown key `({key}|fuze)`; did you mean ({meant})"):
        read_settings(file, changes_of({}, [text]))


def test_another_method_than_that_of_the_file_has_its_own_options(file):
    same = read_settings(file, changes_of({"method": "starfm"}))
    assert same.method.options == {"window": 31}
    other = read_settings(file, changes_of({"method": "estarfm"}))
    assert other.method.options == {}
    assert other.method.checkpoint == same.method.checkpoint


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fuse", "--tile", "9"], "--set fuse.tile="),
        (["train", "--epochs", "3"], "--set method.options.train.epochs="),
        (["fuse", "--window", "31"], "--set method.options.window="),
        (["ingest", "--pattern", "L.tif"], "--set coarse.options.pattern="),
        (["plan", "--start", "2021-01-01"], "--set fuse.start="),
        (["ingest", "--native-resolution", "9"], "--set coarse.native_resolution="),
    ],
)
def test_a_flag_that_is_none_is_told_as_a_key(words, told):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize("before", [True, False])
def test_common_options_stand_before_or_after_the_command(before, file):
    options = ["--json", "--set=cluster.kind=slurm", "--set", "cluster.options.queue=gpu",
               "--set", "cluster.memory=8GiB"]  # fmt: skip
    words = ["cluster", str(file)]
    done = CliRunner().invoke(app, [*options, *words] if before else [*words, *options])
    assert done.exit_code == 0, done.output
    assert "gpu" in done.stdout


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (["versions", "absent.zarr"], "roll-back"),
        (["cluster", "render", "absent.toml"], "cluster"),
        (["datasets", "info", "cia"], "datasets"),
        (["datasets", "list"], "datasets"),
    ],
)
def test_a_command_of_another_name_works_and_says_which(words, now):
    done = CliRunner().invoke(app, words)
    assert f"`{' '.join(words[: 2 if now != 'roll-back' else 1])}` is `{now}` now" in done.stderr
    assert "No such command" not in done.output


def test_old_names_of_keys_are_told_on_the_terminal(file, monkeypatch):
    monkeypatch.setitem(config.RENAMED, "cluster.queue", "cluster.kind")
    words = ["cluster", str(file), "--set", "cluster.queue=in-process"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "`cluster.queue` is `cluster.kind` now" in done.stderr
