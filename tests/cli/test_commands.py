"""Every command on small data, by flags and by configuration."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from checks import facts
from typer.testing import CliRunner

from biastf_xr.cli._app import app
from biastf_xr.cube import open_cube
from biastf_xr.errors import BiastfError, ConfigError, MethodError, SceneError
from biastf_xr.sources._rasters import without_grid_warning

COMMAND = Path(sys.executable).with_name("biastf-xr")
WITHHELD = "2021-04-17"

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
name = "biastf"
checkpoint = "model.safetensors"
options.network = {{ filters = [4, 4, 4] }}
options.samples = {{ count = 16, patch = 16, min_clear = 0.3 }}
options.train = {{ epochs = 1, batch = 8 }}

[fuse]
output = "fused.zarr"
start = 2021-04-15
end = 2021-04-18
withhold = ["2021-04-17"]
tile = 48

[cluster]
workers = 1
"""


@pytest.fixture(scope="module")
def run():
    """Return a function that runs a command in this process and returns what it printed."""

    def _run(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.output

    return _run


@pytest.fixture(scope="module")
def config(tmp_path_factory, small_scenes, small_cubes):
    """Write the configuration of a run on the small cubes."""
    path = tmp_path_factory.mktemp("run") / "config.toml"
    path.write_text(CONFIG.format(**small_scenes._asdict(), **small_cubes._asdict()))
    return path


@pytest.fixture(scope="module")
def trained(config, run):
    """Train once with the configuration."""
    return config.parent / "model.safetensors", run("train", config)


@pytest.fixture(scope="module")
def fused(config, trained, run):
    """Fuse once with the trained model."""
    return config.parent / "fused.zarr", run("fuse", config)


def says(output: str, *texts: str) -> None:
    """Check what was printed, however the terminal folded it."""
    flat = "".join(output.split())
    for text in texts:
        assert "".join(text.split()) in flat, output


# --- ingest -------------------------------------------------------------------------------------


def test_ingest_by_configuration_writes_both_cubes(tmp_path, small_scenes, small_cubes, run):
    short = small_cubes._replace(fine="cubes/fine.zarr", coarse="cubes/coarse.zarr")
    text = CONFIG.format(**small_scenes._asdict(), **short._asdict())
    text = text.replace("[coarse]\n", '[coarse]\nstart = "2021-04-15"\nend = "2021-04-18"\n')
    (tmp_path / "config.toml").write_text(text)
    says(
        run("ingest", tmp_path / "config.toml"),
        "3 scenes added",
        "4 scenes added",
        "clear fraction",
    )
    made = open_cube(tmp_path / "cubes/fine.zarr").load()
    assert made["pair_flag"].values.tolist() == [0, 4, 0]  # two days have no coarse scene
    after = ["pair_flag", "screen", "suspect_fraction"]  # what both cubes together say
    whole = open_cube(small_cubes.fine).load()
    xr.testing.assert_equal(made.drop_vars(after), whole.drop_vars(after))
    says(run("ingest", tmp_path / "config.toml"), "0 scenes added, 3 unchanged", "4 unchanged")


def test_ingest_by_flags_takes_plain_geotiffs(tmp_path, run):
    rng = np.random.default_rng(0)
    for day in ("20010711", "20010727", "20010812"):
        with without_grid_warning(), rasterio.open(
            tmp_path / f"L_{day}.tif", "w", driver="GTiff", count=2, height=12, width=10,
            dtype="int16",
        ) as file:  # fmt: skip
            file.write(rng.integers(100, 5000, (2, 12, 10)).astype("int16"))
    arguments = [
        "--fine", tmp_path / "fine.zarr", "--set", "fine.product=geotiff",
        "--set", f"fine.folder={tmp_path}", "--set", "fine.options.pattern=L_%Y%m%d.tif",
        "--set", 'fine.options.layers=["red", "nir"]', "--set", "fine.options.factor=1e-4",
        "--set", "fine.options.nodata=-9999", "--set", "fine.exclude=[2001-07-27]",
        "--set", "fine.options.grid={crs='EPSG:32613', resolution=30, origin=[600, 900]}",
    ]  # fmt: skip
    says(run("ingest", *arguments), "fine cube", "2 scenes added", "1 excluded")
    ds = open_cube(tmp_path / "fine.zarr").load()
    assert ds.sizes == {"time": 2, "y": 12, "x": 10}
    assert float(ds["x"][0]) == 615
    assert ds.odc.crs.epsg == 32613
    assert 0 < float(ds["nir"].mean()) < 0.5


def test_rejected_scenes_are_listed_with_their_reason_and_fail_on_request(tmp_path, run):
    for day in ("20010711", "20010727"):
        with rasterio.open(
            tmp_path / f"L_{day}.tif", "w", driver="GTiff", count=1, height=12, width=10,
            dtype="int16", crs="EPSG:32613", transform=rasterio.Affine(30, 0, 0, 0, -30, 0),
        ) as file:  # fmt: skip
            file.write(np.full((1, 12, 10), 900, "int16"))
    (tmp_path / "L_20010728.tif").write_text("not a raster")
    arguments = [
        "ingest", "--fine", tmp_path / "fine.zarr", "--set", "fine.product=geotiff",
        "--set", f"fine.folder={tmp_path}", "--set", "fine.options.pattern=L_%Y%m%d.tif",
        "--set", 'fine.options.layers=["nir"]', "--set", "fine.options.factor=1e-4",
    ]  # fmt: skip
    says(run(*arguments), "2 scenes added", "1 rejected", "L_20010728.tif", "cannot be opened")
    with pytest.raises(SceneError, match="1 scenes"):
        run(*arguments, "--strict")


def test_region_and_displacement_by_configuration(tmp_path, small_scenes, run):
    text = CONFIG.format(
        **small_scenes._asdict(), fine=tmp_path / "fine.zarr", coarse=tmp_path / "coarse.zarr"
    )
    text += "\n[grid]\nregion = [146.524, -34.624, 146.541, -34.606]\nanchor = 15\n"
    (tmp_path / "config.toml").write_text(text)
    says(run("ingest", tmp_path / "config.toml"), "3 scenes added", "48 scenes added", "pairs of")
    fine, coarse = (open_cube(tmp_path / f"{k}.zarr") for k in ("fine", "coarse"))
    assert fine.odc.geobox.affine.c % 30 == 15
    assert coarse.odc.geobox.affine.a == 480
    # The scenes' own lattice: copied, not interpolated.
    assert int(fine["clear"].sum()) > 100
    says(run("ingest", tmp_path / "config.toml"), "3 unchanged", "48 unchanged")


# --- verify, export, info -----------------------------------------------------------------------


def test_verify_tells_sound_from_damaged(tmp_path, small_cubes, run):
    says(run("verify", small_cubes.fine), "is sound")
    shutil.copytree(small_cubes.fine, tmp_path / "bad.zarr")
    chunk = tmp_path / "bad.zarr" / "nir" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-300])
    says(run("verify", tmp_path / "bad.zarr", code=1), "is damaged", "nir", "cannot be decoded")


def test_export_writes_files_for_gis(tmp_path, small_cubes, run):
    says(
        run("export", small_cubes.fine, tmp_path, "--date", "2021-04-17", "--bands", "nir, red"),
        "2 Cloud-Optimised GeoTIFFs",
    )
    assert (tmp_path / "fine_20210417_nir.tif").is_file()


def test_info_draws_a_calendar(tmp_path, small_cubes, run):
    picture = tmp_path / "calendar.png"
    out = run("info", small_cubes.fine, small_cubes.coarse, "--picture", picture)
    says(out, "longest gap", "2021-04  #...............", "calendar in")
    assert picture.stat().st_size > 5000


# --- train, fuse, evaluate ----------------------------------------------------------------------


def test_train_by_configuration_leaves_the_withheld_date_out(trained):
    path, output = trained
    assert path.is_file()
    says(output, "fitted on 2 dates (2021-04-01 to 2021-05-03)")


def test_fuse_by_configuration_writes_the_season(fused):
    path, output = fused
    says(output, "cluster with 1 workers", "Fused cube")
    ds = xr.open_zarr(path).load()
    days = ds["time"].values.astype("M8[D]")
    assert [str(d) for d in days] == ["2021-04-15", "2021-04-16", "2021-04-17", "2021-04-18"]
    assert float(np.isfinite(ds["nir"]).mean()) > 0.5
    assert (ds["status_flag"] != 0).all()


def test_plan_shows_what_is_left_to_do(fused, config, run, tmp_path):
    path, _ = fused
    output = run("plan", config, "--dry-run")
    says(output, "target dates", "0 units on 4 tiles", "100.0% is there", "on both sides")
    text = Path(config).read_text()
    fresh = Path(config).with_name("fresh.toml")
    fresh.write_text(text.replace("fused.zarr", "fresh.zarr"))
    output = run("plan", fresh)
    says(output, "0.0% is there", "of CPU time, by a short trial")
    says(output, "2021-04-15 .. 04-18", "2021-04-01", "2021-05-03")
    assert not path.with_name("fresh.zarr").exists()
    assert xr.open_zarr(path).sizes["time"] == 4


# The fixture `fused` starts workers; what comes after it needs none.
HERE = ("--set", "cluster.kind=in-process")


def test_fuse_again_does_what_is_missing_and_another_rule_is_refused(fused, config, run):
    path, _ = fused
    before = xr.open_zarr(path).load()
    says(run("fuse", config, *HERE), "0 units", "16 there already")
    text = Path(config).read_text()
    other = Path(config).with_name("other.toml")
    other.write_text(text.replace("[fuse]", "[fuse]\ncoarse_max_gap = 3"))
    with pytest.raises(
        MethodError, match=facts("fused.zarr", "coarse_max_gap", "16", "3", "--revise")
    ):
        run("fuse", other, *HERE)
    for name, values in xr.open_zarr(path).load().data_vars.items():
        np.testing.assert_array_equal(values, before[name])
    says(run("fuse", other, "--revise", *HERE), "16 recomputed")
    run("fuse", config, "--overwrite", *HERE)
    for name, values in xr.open_zarr(path).load().data_vars.items():
        np.testing.assert_array_equal(values, before[name])


def test_a_run_that_leaves_units_undone_says_so_in_its_exit_code(monkeypatch):
    from biastf_xr import cli
    from biastf_xr.cli import _app as app
    from biastf_xr.errors import FusionRunError

    def fail():
        raise FusionRunError("2 of 9 units failed")

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 3


def test_cluster_render_prints_a_manifest(run):
    config = Path(__file__).parents[2] / "pipelines" / "clusters" / "kubernetes.toml"
    says(run("cluster", config), "kind: DaskCluster")


def test_fuse_by_flags_takes_a_free_method_and_a_checkpoint(tmp_path, small_cubes, trained, run):
    for method in ("direct", trained[0]):
        output = tmp_path / f"{Path(method).stem}.zarr"
        run(
            "fuse", "--fine", small_cubes.fine, "--coarse", small_cubes.coarse, "--method", method,
            "--output", output, "--start", "2021-04-17", "--end", "2021-04-17",
            "--withhold", WITHHELD, "--set", "cluster.kind=in-process",
        )  # fmt: skip
        ds = xr.open_zarr(output).load()
        assert ds.sizes["time"] == 1
        assert float(np.isfinite(ds["red"]).mean()) > 0.5
        assert "observed" not in _statuses(ds)


def test_fuse_and_evaluate_take_any_method_with_its_options(tmp_path, small_cubes, run):
    cubes = "--fine", small_cubes.fine, "--coarse", small_cubes.coarse
    options = "--method", "estarfm", "--set", "method.options.window=9", "--set"
    options = *options, "method.options.conversion=none"
    run(
        "fuse", *cubes, *options, "--output", tmp_path / "f.zarr", "--start", "2021-04-17",
        "--end", "2021-04-17", "--withhold", WITHHELD, "--set", "cluster.kind=in-process",
    )  # fmt: skip
    told = json.loads(xr.open_zarr(tmp_path / "f.zarr").attrs["biastf_method"])
    assert (told["method"], told["window"], told["conversion"]) == ("estarfm", 9, "none")
    output = run("evaluate", *cubes, *options, "--method", "efast", "--date", WITHHELD)
    says(output, "estarfm", "efast", "direct", "linear")


def _statuses(ds: xr.Dataset) -> set[str]:
    meanings = ds["status_flag"].attrs["flag_meanings"].split()
    return {meanings[v] for v in np.unique(ds["status_flag"])}


def test_evaluate_by_configuration_scores_the_fused_cube(tmp_path, config, fused, run):
    figures = tmp_path / "scores.csv"
    output = run("evaluate", config, "--report", figures)
    says(
        output,
        f"withheld dates 1: {WITHHELD}",
        "biastf",
        "direct",
        "linear",
        "nearest",
        "RMSE by band",
    )
    with figures.open() as file:
        rows = list(csv.DictReader(file))
    assert {r["date"][:10] for r in rows} == {WITHHELD}
    assert {r["method"] for r in rows} >= {"biastf", "direct", "linear", "nearest"}


def test_evaluate_by_flags_withholds_the_date(small_cubes, run):
    output = run(
        "evaluate", "--fine", small_cubes.fine, "--coarse", small_cubes.coarse, "--method",
        "direct", "--date", WITHHELD,
    )  # fmt: skip
    says(output, f"withheld dates 1: {WITHHELD}", "direct", "linear", "RMSE by band")


def test_methods_beside_a_file_are_scored_on_its_withheld_dates(tmp_path, config, run):
    page = tmp_path / "methods.html"
    methods = "--method", "starfm", "--method", "efast"
    output = run("evaluate", config, *methods, "--set", "method.options.window=9", "--report", page)
    says(output, f"withheld dates 1: {WITHHELD}", "starfm", "efast", "direct", "linear")
    data = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert data["run"]["dates"] == WITHHELD
    assert "fused cube" not in data["run"]
    assert data["methods"]["starfm"]["window"] == 9
    assert "biastf" not in data["methods"]


def test_evaluate_writes_a_report_of_the_fused_cube(tmp_path, config, fused, run):
    page = tmp_path / "out" / "report.html"
    output = run("evaluate", config, "--report", page)
    says(output, "cannot tell (scored dates: 1; at least 3 are needed)", "report in")
    data = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert data["run"]["fused cube"].endswith("fused.zarr")
    assert data["run"]["dates"] == WITHHELD
    assert data["methods"]["biastf"]["trained_on"] == ["2021-04-01", "2021-05-03"]
    text = page.read_text("utf-8")
    assert "What was run" in text
    assert text.count("<img ") == 2 + 2 + 4 + 4  # charts, images, error maps


def test_evaluate_by_design_predicts_anew(tmp_path, config, small_cubes, run):
    page = tmp_path / "gap.html"
    output = run(
        "evaluate", "--fine", small_cubes.fine, "--coarse", small_cubes.coarse, "--method",
        "direct", "--design", "leave-gap,days=9", "--date", WITHHELD, "--report", page,
    )  # fmt: skip
    says(output, "Every fine scene within 9 days of the scored date is withheld", "direct")
    design = json.loads(page.with_suffix(".json").read_text("utf-8"))["run"]["design"]
    assert "within 9 days" in design
    output = run("evaluate", config, "--design", "leave-region,rows=1,columns=2,min_clear=0")
    says(output, "cut into 1 x 2 parts", "biastf")


def test_train_by_flags(tmp_path, small_cubes, run):
    model = tmp_path / "m.safetensors"
    output = run(
        "train", "--fine", small_cubes.fine, "--coarse", small_cubes.coarse, "--checkpoint", model,
        "--set", "method.options.smoothing=2",
    )  # fmt: skip
    says(output, "fitted on 3 dates", "uncertainty from")
    says(run("info", model), "biastf-plus", "smoothing 2", "fitted on")
    flags = "--fine", small_cubes.fine, "--coarse", small_cubes.coarse
    with pytest.raises(ConfigError, match=facts("train", "biastf-plus", "biastf, stfdcnn")):
        run("train", *flags, "--set", "method.options.train.epochs=3")


# --- info ---------------------------------------------------------------------------------------


def test_info_tells_what_cubes_hold(small_cubes, fused, run):
    says(run("info", small_cubes.fine), "blue, green, red", "96 x 80 px of 30", "clear fraction")
    says(run("info", small_cubes.coarse), "48, 2021-04-01 to 2021-05-18", "(16, 10, 9)")
    says(run("info", fused[0]), "fused", "fused_two_sided", "biastf")


def test_info_tells_what_made_a_model(trained, run):
    says(run("info", trained[0]), "filters 4-4-4", "fitted on", "2021-05-03", "sha256")


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest"], "give a configuration file, or --fine and --coarse"),
        (["ingest", "--fine", "x", "--coarse", "y"], "nothing to ingest. Give a configuration"),
        (["train"], "give a configuration file, or --fine and --coarse"),
        (["fuse", "--fine", "x"], "give a configuration file, or --fine and --coarse"),
        (["evaluate"], "give a configuration file, or --fine and --coarse"),
        (
            ["fuse", "--fine", "x", "--coarse", "y", "--method", "starfmm"],
            "--method is 'starfmm'; expected one of nearest, linear",
        ),
        (
            ["fuse", "--fine", "x", "--coarse", "y", "--set", "window"],
            "--set is 'window'; expected section.key=value",
        ),
        (["verify", "x", "--set", "fuse.tile=9"], "this command reads no configuration"),
        (
            ["init", "--set", "fuse.tile=64"],
            "--set fuse.tile: the file is written with fine.folder",
        ),
        (
            ["paper", "--dataset", "cia", "--root", "x", "--set", "paper.crops=true"],
            "--set paper.crops: expected paper.training",
        ),
        (
            ["evaluate", "--fine", "x", "--coarse", "y", "--design", "forwards"],
            "design is 'forwards'; expected one of leave-one-out, leave-gap",
        ),
        (
            ["evaluate", "--fine", "x", "--coarse", "y", "--design", "forward,days=9"],
            "the design forward has no option 'days'; expected some of min_clear, history",
        ),
        (
            ["evaluate", "--fine", "x", "--coarse", "y", "--design", "leave-region,rows=two"],
            "rows of the design leave-region is 'two'; expected a number",
        ),
        (
            ["evaluate", "--fine", "x", "--coarse", "y", "--design", "forward", "--cube", "f"],
            "the cube f is scored as it was made",
        ),
        (
            ["evaluate", "--fine", "x", "--coarse", "y", "--report", "r.json"],
            "the report is r.json; expected a name that ends in .html",
        ),
        (["info", "absent.zarr"], "no cube at absent.zarr"),
        (["train", "absent.toml"], "no configuration at absent.toml"),
        (["fuse", "--fine", "x", "--coarse", "y", "--workers", "0"], "`cluster.workers`"),
        (["ingest", "--fine", "c", "--set", "fine.product=p"], "missing key `fine.folder`"),
        (
            ["ingest", "--set", "fine.product=p", "--set", "fine.folder=f"],
            "missing key `fine.cube`",
        ),
        (
            ["ingest", "--fine", "c", "--set", "fine.product=p", "--set", "fine.folder=f"],
            "unknown product 'p'",
        ),
        (
            ["ingest", "--coarse", "c", "--set", "coarse.product=mod09ga", "--set",
             "coarse.folder=f", "--set", "coarse.native_resolution=-5"],
            "`coarse.native_resolution`",
        ),
        (
            ["ingest", "--fine", "c", "--set", "fine.product=mod09ga", "--set", "fine.folder=f"],
            "f is not a folder",
        ),
    ],
)  # fmt: skip
def test_mistake_is_told_with_the_remedy(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BiastfError) as error:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def shell(*arguments):
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_error_is_one_message_and_exit_code_2_without_traceback(tmp_path):
    done = shell("info", tmp_path / "[absent].zarr")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    says(done.stderr, "error (CubeStructureError): no cube at", "[absent].zarr")


def test_debug_shows_the_traceback(tmp_path):
    done = shell("info", "--debug", tmp_path / "absent.zarr")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_unknown_option_is_a_usage_error():
    done = shell("fuse", "--metod", "direct")
    assert done.returncode == 2
    assert "--metod" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["demo", "ingest", "train", "fuse", "evaluate", "info"])
def test_every_command_explains_itself(command, run):
    output = run(command, "--help")
    says(output, f"biastf-xr {command}", "--help")
