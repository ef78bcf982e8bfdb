"""The TOML file: what it may say, and what is said about a mistake."""

from __future__ import annotations

import datetime as dt

import pytest
from checks import facts

import biastf_xr.config as config_module
from biastf_xr.config import read_config
from biastf_xr.errors import ConfigError
from biastf_xr.methods import check_options, get_method

VALID = """
[fine]
product = "landsat-c2-l2"
folder = "scenes/landsat"
cube = "cubes/fine.zarr"
start = 2021-04-01
exclude = ["2021-04-17"]
options = { mask_snow = true }

[coarse]
product = "mod09ga"
folder = "/archive/modis"
cube = "cubes/coarse.zarr"
native_resolution = 500

[method]
name = "biastf"
checkpoint = "models/model.safetensors"

[method.options]
weight_window = 5
network = { filters = [8, 4, 4] }
samples = { count = 64 }
train = { epochs = 3 }

[fuse]
output = "cubes/fused.zarr"
withhold = ["2021-05-03"]
max_gap = 40
min_clear = 0.2
coarse_max_gap = 5
keep_observed = false

[cluster]
workers = 2
"""


@pytest.fixture
def write(tmp_path):
    """Write a configuration, with some of its text replaced."""

    def _write(*changes: tuple[str, str]):
        text = VALID
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "run" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return _write


def test_values_are_read(write):
    config = read_config(write())
    assert config.fine.product == "landsat-c2-l2"
    assert config.fine.start == dt.date(2021, 4, 1)
    assert config.fine.exclude == (dt.date(2021, 4, 17),)
    assert config.fine.options == {"mask_snow": True}
    assert config.coarse.native_resolution == 500
    options = check_options("biastf", config.method.options)
    assert options.network.filters == (8, 4, 4)
    assert options.network.kernels == (7, 5, 3, 3)
    assert options.samples.count == 64
    assert options.train.epochs == 3
    assert options.weight_window == 5
    assert config.fuse.withhold == (dt.date(2021, 5, 3),)
    assert config.cluster.workers == 2


def test_a_method_takes_what_is_set_and_its_own_defaults_for_the_rest(write):
    text = """[method]
name = "starfm"
window = 31
seed = 3
options = { similarity = "all", classes = 4 }
"""
    path = write()
    head, _, rest = path.read_text().partition("[method]")
    path.write_text(head + text + rest[rest.index("[fuse]") :])
    with pytest.warns(DeprecationWarning, match=r"method\.(options\.window|seed)") as caught:
        told = read_config(path).method.options
    messages = [str(w.message) for w in caught]
    assert "`method.window` is `method.options.window` now; write that in its place" in messages
    assert "`method.seed` means nothing to 'starfm'; leave it out" in messages
    assert told == {"window": 31, "similarity": "all", "classes": 4}
    assert get_method("starfm", **told).weights == "change"


def test_options_and_limits_of_an_earlier_name_are_read_and_name_the_new_one(write):
    path = write(("weight_window = 5", "window = 5"))
    path.write_text(path.read_text() + "\n[update]\nmax_age_fine = 24\nmax_age.coarse = 5\n")
    with pytest.warns(DeprecationWarning, match="now; write that in its place") as caught:
        config = read_config(path)
    messages = " ".join(str(w.message) for w in caught)
    assert config.method.options["weight_window"] == 5
    assert "window is weight_window now" in messages
    assert (config.update.max_age.fine, config.update.max_age.coarse) == (24, 5)
    assert "`update.max_age_fine` is `update.max_age.fine` now" in messages


def test_rule_carries_the_choices_of_the_section(write):
    rule = read_config(write()).fuse.rule()
    assert rule.bracket.max_gap == 40
    assert rule.bracket.min_clear == 0.2
    assert rule.coarse_max_gap == 5
    assert rule.keep_observed is False


def test_relative_paths_are_relative_to_the_file(write, monkeypatch, tmp_path):
    path = write()
    monkeypatch.chdir(tmp_path)
    for given in (path, path.relative_to(tmp_path)):
        config = read_config(given)
        folder = path.parent
        assert config.fine.folder == str(folder / "scenes/landsat")
        assert config.fine.cube == str(folder / "cubes/fine.zarr")
        assert str(config.coarse.folder) == "/archive/modis"
        assert config.method.checkpoint == folder / "models/model.safetensors"
        assert config.fuse.output == str(folder / "cubes/fused.zarr")


def test_any_class_of_clusters_may_be_named(write):
    changes = "workers = 2", 'class = "dask_jobqueue.SGECluster"\noptions = { queue = "long" }'
    spec = read_config(write(changes)).cluster.spec()
    assert (spec.kind, spec.options) == ("dask_jobqueue.SGECluster", {"queue": "long"})
    both = "workers = 2", 'class = "dask_jobqueue.SGECluster"\nkind = "slurm"'
    with pytest.raises(ConfigError, match=facts("`cluster`", "dask_jobqueue.SGECluster", "slurm")):
        read_config(write(both))


def test_sections_may_be_left_out_but_for_the_sources(write):
    text = VALID[: VALID.index("[method]")]
    path = write()
    path.write_text(text)
    config = read_config(path)
    assert config.method.name == "biastf-plus"
    assert config.fuse.output == str(path.parent / "fused.zarr")
    path.write_text(text[: text.index("[coarse]")])
    with pytest.raises(ConfigError, match=facts("config.toml", "`coarse`")):
        read_config(path)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[cluster]", "[clutser]", "clutser"),
        ('folder = "scenes/landsat"', 'folder = "x"\nfoldr = "y"', "fine.foldr"),
        ("weight_window = 5", "weight_windw = 5", "method.options"),
        ("max_gap = 40\n", "max_gaps = 40\n", "fuse.max_gaps"),
        ("workers = 2", "worker = 2", "cluster.worker"),
        ("filters = [8, 4, 4]", "filter = [8, 4, 4]", "method.options"),
        ("count = 64", "counts = 64", "method.options"),
        ("epochs = 3", "epoch = 3", "method.options"),
    ],
)
def test_unknown_key_is_named(write, old, new, key):
    path = write((old, new))
    with pytest.raises(
        ConfigError, match=facts("config.toml", f"`{key}`", new.split(" =")[0].strip("[]"))
    ):
        read_config(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight_window = 5", 'weight_window = "wide"', "`method.options`.*window is 'wide'"),
        ("workers = 2", "workers = 0", "`cluster.workers`.*got 0"),
        ("min_clear = 0.2", "min_clear = 20", "`fuse.min_clear`.*got 20"),
        ("coarse_max_gap = 5", "coarse_max_gap = 300", "`fuse.coarse_max_gap`"),
        ('name = "biastf"', 'name = "biastf-plus"', facts("network, samples, train", "tolerance")),
        ('name = "biastf"', 'name = "magic"', "`method.name`.*got 'magic'"),
        ("epochs = 3", 'epochs = "many"', "`method.options`.*epochs is 'many'"),
        ("epochs = 3", "epochs = 0", facts("`method.options`", "epochs", "from 1")),
        ("filters = [8, 4, 4]", "filters = [8, 4]", "`method.options`.*filters.*three"),
        ("filters = [8, 4, 4]", "kernels = [4, 5, 3, 3]", "`method.options`.*odd"),
        ("native_resolution = 500", "native_resolution = -1", "`coarse.native_resolution`"),
        ('cube = "cubes/fine.zarr"\n', "", "`fine.cube`"),
        ('["2021-04-17"]', '["17 April"]', r"`fine.exclude.0`.*got '17 April'"),
        ('["2021-05-03"]', '["2021-02-30"]', r"`fuse.withhold.0`.*got '2021-02-30'"),
        ("start = 2021-04-01", "start = 2021-02-30", "line 6"),
        ("[method]", "[method", "line 16"),
    ],
)  # fmt: skip
def test_unusable_value_is_named(write, old, new, message):
    with pytest.raises(ConfigError, match=message):
        read_config(write((old, new)))


def test_all_mistakes_are_told_at_once(write):
    path = write(("weight_window = 5", "weight_windw = 5"), ("workers = 2", "workers = 0"))
    with pytest.raises(ConfigError, match=facts("windw", "cluster.workers")):
        read_config(path)


def test_missing_file_is_named_with_one_to_copy(tmp_path):
    with pytest.raises(
        ConfigError, match=facts("absent.toml", "pipelines/regional_daily/config.toml")
    ):
        read_config(tmp_path / "absent.toml")


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=facts(tmp_path, "TOML")):
        read_config(tmp_path)


def test_configuration_does_not_change_after_reading(write):
    config = read_config(write())
    with pytest.raises(ValueError, match="frozen"):
        config.cluster.workers = 5


def test_a_key_of_an_old_name_is_read_and_the_new_one_is_named(write, monkeypatch):
    monkeypatch.setitem(config_module.RENAMED, "fuse.gap", "fuse.max_gap")
    monkeypatch.setitem(config_module.RENAMED, "workers", "cluster")
    path = write(("max_gap = 40\n", "gap = 40\n"), ("[cluster]", "[workers]"))
    with pytest.warns(DeprecationWarning, match=" is `") as told:
        config = read_config(path)
    assert [str(w.message).split(";")[0] for w in told] == [
        "`fuse.gap` is `fuse.max_gap` now", "`workers` is `cluster` now",
    ]  # fmt: skip
    assert (config.fuse.max_gap, config.cluster.workers) == (40, 2)
    with pytest.warns(DeprecationWarning, match=" is `"):
        assert read_config(path, {"fuse": {"max_gap": 9}}).fuse.max_gap == 9
    with pytest.warns(DeprecationWarning, match=" is `"):
        assert read_config(path, {"fuse": {"gap": 8}}).fuse.max_gap == 8
    path.write_text(path.read_text().replace("gap = 40\n", "gap = 40\nmax_gap = 41\n"))
    with pytest.warns(DeprecationWarning, match=" is `"):
        assert read_config(path).fuse.max_gap == 41


def test_what_is_no_table_is_refused(write):
    path = write()
    path.write_text("fuse = 3\n" + path.read_text().partition("[fuse]")[0])
    with pytest.raises(ConfigError, match=r"`fuse`.*got 3"):
        read_config(path)
    with pytest.raises(ConfigError, match=r"`fuse`|tile"):
        read_config(path, {"method": {"name": "direct"}})
