"""The commands: what a person types, turned into configuration and handed to the steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from biastf_xr.config import Config
    from biastf_xr.evaluation.designs import Design

app = typer.Typer(
    name="biastf-xr",
    help="Daily fine-resolution reflectance cubes from Landsat and MODIS.\n\n"
    "A run is one TOML file: `ingest`, `train`, `plan`, `fuse`, `evaluate` read it in turn; "
    "`update` brings everything up to date. "
    "Every step also takes flags for the common case. Start with `biastf-xr demo`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[
    Path | None, typer.Argument(help="TOML file of the run.", metavar="[CONFIG.toml]")
]
FineCube = Annotated[str | None, typer.Option(help="Fine cube (Zarr).")]
CoarseCube = Annotated[str | None, typer.Option(help="Coarse cube (Zarr).")]
DAY = ["%Y-%m-%d"]
Withhold = Annotated[
    list[datetime] | None,
    typer.Option(formats=DAY, help="Fine scene not to use; may be repeated."),
]
Workers = Annotated[int | None, typer.Option(help="Worker processes; one per core by default.")]
Address = Annotated[
    str | None, typer.Option(help="Scheduler of a running Dask cluster, tcp://host:8786.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace what is there.")]
Method = Annotated[
    str,
    typer.Option(
        help="nearest, linear, direct, efast, fitfc, starfm, estarfm, fsdaf, or the checkpoint of "
        "a fitted method."
    ),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="Option of the method, as window=31; may be repeated. The methods page "
        "of the documentation lists them.",
    ),
]
Output = Annotated[str, typer.Option(help="Zarr store: a folder, a URL, or icechunk://folder.")]
Start = Annotated[datetime | None, typer.Option(formats=DAY, help="First day.")]
End = Annotated[datetime | None, typer.Option(formats=DAY, help="Last day.")]
Tile = Annotated[int, typer.Option(min=16, help="Largest tile and shard, in pixels.")]
Revise = Annotated[bool, typer.Option(help="Make a cube of another method or rule anew, in place.")]


def _days(values: list[datetime] | None) -> tuple[str, ...]:
    return tuple(f"{v:%Y-%m-%d}" for v in values or ())


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; goes before the command.")
    ] = False,
) -> None:
    """Take the options of all commands."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder to work in.")] = Path("demo_output"),
    size: Annotated[int, typer.Option(min=96, help="Rows and columns of the region.")] = 256,
    days: Annotated[int, typer.Option(min=64, help="Length of the season.")] = 144,
    workers: Workers = None,
) -> None:
    """Run the whole job on the embedded region: scenes to a scored daily cube, with pictures.

    Example: `biastf-xr demo --output demo_output`
    """
    from biastf_xr.cli.demo import run_demo

    run_demo(output, size=size, days=days, workers=workers)


@app.command()
def ingest(
    context: typer.Context,
    config: ConfigFile = None,
    product: Annotated[
        str | None,
        typer.Option(
            help="landsat-c2-l2, hls, mod09ga, mcd43a4, vnp09ga, vnp43, geotiff, benchmark or stac."
        ),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="Folder of the scenes, or a catalogue.")
    ] = None,
    cube: Annotated[
        str | None, typer.Option(help="Store to write: a folder, a URL, or icechunk://folder.")
    ] = None,
    kind: Annotated[str, typer.Option(help="fine or coarse.")] = "fine",
    pattern: Annotated[
        str | None, typer.Option(help="geotiff: file name with %Y %m %d or %j, as L_%Y%m%d.tif.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="geotiff: bands in the order of the file, as green,red,nir.")
    ] = None,
    factor: Annotated[float, typer.Option(help="geotiff: reflectance per unit, as 1e-4.")] = 1.0,
    nodata: Annotated[float | None, typer.Option(help="geotiff: value of missing pixels.")] = None,
    crs: Annotated[
        str | None, typer.Option(help="geotiff: CRS of files that carry none, as EPSG:32613.")
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="geotiff: pixel size of files without CRS.")
    ] = None,
    origin: Annotated[
        str, typer.Option(help="geotiff: x,y of the upper left corner of files without CRS.")
    ] = "0,0",
    native_resolution: Annotated[
        float | None,
        typer.Option(help="True pixel size of coarse images delivered on a finer grid."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the product, as mask_snow=true; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[datetime] | None, typer.Option(formats=DAY, help="Day to leave out; may be repeated.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Fail if a scene is rejected.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Bring cubes up to date with their archives: only what is new, late or reprocessed is read.

    Scenes that cannot be used are listed with the reason and do not stop the others.

    Examples: `biastf-xr ingest config.toml` (both cubes, and a check of the two sensors), or

    `biastf-xr ingest --product geotiff --folder scenes --pattern L_%Y%m%d.tif --bands green,red,nir
    --factor 1e-4 --crs EPSG:32613 --resolution 30 --cube fine.zarr --kind fine`
    """
    import pydantic

    from biastf_xr.cli.cubes import ingest_source, ingest_step
    from biastf_xr.config import Source, explain
    from biastf_xr.cube.stores import locate
    from biastf_xr.errors import ConfigError, SceneError

    if config is not None:
        settings = _read(config, context, "overwrite", "strict")
        ingest_step(settings, overwrite=overwrite, strict=strict)
        return
    if product is None or folder is None or cube is None:
        raise ConfigError("give a configuration file, or --product, --folder and --cube.")
    if kind not in {"fine", "coarse"}:
        raise ConfigError(f"--kind is {kind!r}; expected fine or coarse.")
    options: dict[str, Any] = {}
    if product == "geotiff":
        options = {"pattern": pattern, "layers": bands, "factor": factor, "nodata": nodata}
        if pattern is None or bands is None:
            raise ConfigError("product geotiff needs --pattern and --bands.")
        options["layers"] = [b.strip() for b in bands.split(",")]
        if crs is not None:
            if resolution is None:
                raise ConfigError("--crs states the grid only together with --resolution.")
            options["grid"] = {"crs": crs, "resolution": resolution, "origin": _point(origin)}
    try:
        source = Source(
            product=product,
            folder=folder,
            cube=locate(cube, Path()),
            native_resolution=native_resolution,
            exclude=tuple(v.date() for v in exclude or ()),
            options={k: v for k, v in options.items() if v is not None} | _options(option),
        )
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error)) from error
    report = ingest_source(source, kind, overwrite=overwrite)
    if strict and report.rejected:
        raise SceneError(f"{len(report.rejected)} scenes were rejected.")


@app.command()
def train(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    output: Annotated[Path, typer.Option(help="Checkpoint to write.")] = Path("model.safetensors"),
    withhold: Withhold = None,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the samples.")] = 30,
    samples: Annotated[int, typer.Option(min=8, help="Patches to learn from.")] = 1024,
    method: Annotated[
        str, typer.Option(help="biastf-plus, biastf (the networks of the paper), or stfdcnn.")
    ] = "biastf-plus",
    inputs: Annotated[
        str,
        typer.Option(
            help="biastf: what a network sees: change, change+fine, change+fine+coarse, or "
            "all-changes."
        ),
    ] = "change",
    weights: Annotated[
        str, typer.Option(help="biastf: of the two sides: change, time, equal, or learned.")
    ] = "change",
    denoise: Annotated[
        float, typer.Option(help="biastf: Gaussian on the coarse change, in coarse pixels.")
    ] = 0.0,
    dates: Annotated[
        str,
        typer.Option(help="Dates to learn from: all, flanking (around --target), or earlier."),
    ] = "all",
    target: Annotated[
        datetime | None, typer.Option(formats=DAY, help="Day to be predicted; never learned from.")
    ] = None,
    balance: Annotated[
        str, typer.Option(help="Draw patches alike over pairs of dates (none), or over change.")
    ] = "none",
    option: MethodOption = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Torch device, cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="fp32, bf16, or fp16 on CUDA.")] = "fp32",
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint of a model to refine, of another region, say.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on from the last epoch if the same fit was interrupted.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option(help="Fit on so many worker processes; by default in this one.")
    ] = None,
    address: Address = None,
) -> None:
    """Fit a method on the clear dates of two cubes.

    `biastf-plus`, the default, takes seconds. Networks (`biastf`, `stfdcnn`) take minutes; their
    losses are drawn beside the model, and most flags are theirs.

    Examples: `biastf-xr train config.toml`, or

    `biastf-xr train --fine fine.zarr --coarse coarse.zarr --withhold 2001-07-11`, or

    `biastf-xr train --fine fine.zarr --coarse coarse.zarr --method biastf --inputs change+fine`
    """
    from biastf_xr.cli import steps

    if config is not None:
        steps.train_step(_read(config, context))
        return
    section: dict[str, Any] = {
        "name": method,
        "checkpoint": output,
        "seed": seed,
        "resume": resume,
        "options": _options(option),
    }
    if method == "biastf-plus":
        _refuse_flags(context, NETWORK_FLAGS, "has no network. Leave them out, or name --method")
    else:
        section |= {
            "samples": {
                "count": samples,
                "dates": dates,
                "target": target and target.date(),
                "balance": balance,
            },
            "train": {"epochs": epochs, "device": device, "precision": precision},
            "start": start,
            "train_on": "here" if workers is None and address is None else "cluster",
        }
    if method == "biastf":
        section |= {"network": {"inputs": inputs}, "weights": weights, "denoise": denoise}
    settings = _flags(
        fine,
        coarse,
        method=section,
        fuse={"withhold": _days(withhold)},
        cluster={"workers": workers, "address": address},
    )
    steps.train_step(settings)


@app.command()
def plan(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    method: Method = "direct",
    option: MethodOption = None,
    output: Output = "fused.zarr",
    start: Start = None,
    end: End = None,
    withhold: Withhold = None,
    tile: Tile = 1024,
    trial: Annotated[
        bool, typer.Option(help="Try the method for a few seconds, to estimate the time.")
    ] = True,
) -> None:
    """Show what `fuse` would do: dates and their base dates, how much, how long. Reads no pixel.

    Examples: `biastf-xr plan config.toml`, or

    `biastf-xr plan --fine fine.zarr --coarse coarse.zarr --method model.safetensors`
    """
    from biastf_xr.cli import steps

    if config is not None:
        settings = _read(config, context, "trial")
    else:
        section = _fuse_section(output, start, end, withhold, tile)
        settings = _flags(fine, coarse, method=_method(method, option), fuse=section)
    steps.plan_step(settings, trial=trial)


@app.command()
def fuse(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    method: Method = "direct",
    option: MethodOption = None,
    output: Output = "fused.zarr",
    start: Start = None,
    end: End = None,
    withhold: Withhold = None,
    tile: Tile = 1024,
    device: Annotated[str, typer.Option(help="Torch device of the workers, cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="fp32, bf16, or fp16 on CUDA.")] = "fp32",
    workers: Workers = None,
    address: Address = None,
    revise: Revise = False,
    overwrite: Overwrite = False,
) -> None:
    """Predict the fine image of every day and write it into the fused cube.

    What the cube has from the same inputs is kept: after an interruption the same command does
    what is missing, after a late scene what that scene changes. Exit code 3: some units failed.

    Examples: `biastf-xr fuse config.toml`, or

    `biastf-xr fuse --fine fine.zarr --coarse coarse.zarr --method model.safetensors
    --start 2020-10-02 --end 2020-11-11 --output fused.zarr`
    """
    from biastf_xr.cli import steps

    if config is not None:
        settings = _read(config, context, "overwrite", "revise")
    else:
        settings = _flags(
            fine,
            coarse,
            method=_method(method, option) | {"device": device, "precision": precision},
            fuse=_fuse_section(output, start, end, withhold, tile),
            cluster={"workers": workers, "address": address},
        )
    steps.fuse_step(settings, overwrite=overwrite, revise=revise)


@app.command()
def update(
    config: Annotated[Path, typer.Argument(help="TOML file of the run.", metavar="CONFIG.toml")],
) -> None:
    """Bring everything up to date: ingest what is new, refit if `refit` says so, fuse what changed.

    The scheduled job. A late or reprocessed scene, or a filled coarse gap, makes only the dates and
    tiles anew that it changes; run twice, the second does nothing.

    Example: `biastf-xr update config.toml`
    """
    from biastf_xr.cli import steps
    from biastf_xr.config import read_config

    steps.update_step(read_config(config))


@app.command()
def evaluate(
    context: typer.Context,
    config: ConfigFile = None,
    fine: FineCube = None,
    coarse: CoarseCube = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method, or a checkpoint; may be repeated, as of several the first takes "
            "`--option`. `biastf-plus`, the default, is fitted anew without each date."
        ),
    ] = None,
    option: MethodOption = None,
    date: Annotated[
        list[datetime] | None,
        typer.Option(
            formats=DAY, help="Date to withhold; may be repeated. Default: every inner one."
        ),
    ] = None,
    cube: Annotated[
        str | None, typer.Option(help="Score this fused cube instead of predicting.")
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(
            help="What is withheld: leave-one-out (the default), leave-gap, forward or "
            "leave-region."
        ),
    ] = None,
    gap_days: Annotated[
        int | None,
        typer.Option(help="leave-gap: scenes so many days before and after go too; default 32."),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(help="leave-region: rows x columns of parts, as 2x2, the default."),
    ] = None,
    min_clear: Annotated[
        float, typer.Option(help="Clear fraction a date needs to be withheld by default.")
    ] = 0.9,
    csv: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a report to this HTML file, and its numbers beside it as JSON."),
    ] = None,
) -> None:
    """Score on withheld fine scenes, always beside the free baselines, and say what is better.

    With a configuration, scores its fused cube on its withheld dates; where it withholds none, or
    with `--design`, withholds scenes and predicts them anew.

    Examples: `biastf-xr evaluate config.toml --report report.html`, or

    `biastf-xr evaluate --fine fine.zarr --coarse coarse.zarr --date 2001-07-11 --method biastf
    --method estarfm`

    A cloudy season, 24 days on either side of each date without a scene:

    `biastf-xr evaluate config.toml --design leave-gap --gap-days 24`

    Near real time, from the past alone; and fitted on three quarters of the area, scored on the
    fourth:

    `biastf-xr evaluate config.toml --design forward`

    `biastf-xr evaluate config.toml --design leave-region --parts 2x2`
    """
    from biastf_xr.cli import steps

    names = method or ["biastf-plus"]
    chosen = _design(design, gap_days, parts)
    if config is not None:
        beside = ("date", "cube", "design", "gap_days", "parts", "min_clear", "csv", "report")
        settings = _read(config, context, *beside)
    else:
        settings = _flags(fine, coarse, method=_method(names[0], option))
    steps.evaluate_step(
        settings,
        dates=_days(date),
        cube=cube,
        also=tuple(names[1:]),
        design=chosen,
        min_clear=min_clear,
        csv=csv,
        report=report,
    )


@app.command()
def info(
    path: Annotated[str, typer.Argument(help="A cube or a checkpoint.")],
    other: Annotated[
        list[str] | None, typer.Option("--beside", help="Another cube for the calendar.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the calendar into this PNG.")] = None,
) -> None:
    """Show what a cube or a checkpoint holds: grid, dates, gaps, size, a calendar, the history.

    Examples: `biastf-xr info demo_output/cubes/fused.zarr`, or

    `biastf-xr info fine.zarr --beside coarse.zarr --picture calendar.png`
    """
    from biastf_xr.cli.show import show_cube, show_model

    if Path(path).is_file():
        show_model(Path(path))
        return
    show_cube(path)
    if picture is not None:
        from biastf_xr.pictures import draw_calendar

        draw_calendar([path, *(other or [])], path=picture)
        typer.echo(f"calendar in {picture}")


@app.command()
def verify(path: Annotated[str, typer.Argument(help="A cube.")]) -> None:
    """Read a whole cube back: checksums, masks, ranges, unfinished days. Exit code 1 if damaged.

    Example: `biastf-xr verify fine.zarr`
    """
    from biastf_xr.cli.cubes import verify_step

    if not verify_step(path):
        raise typer.Exit(1)


@app.command()
def export(
    path: Annotated[str, typer.Argument(help="A cube.")],
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    date: Annotated[
        list[datetime] | None,
        typer.Option(formats=DAY, help="Date to export; may be repeated. Default: all."),
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="As red,nir or status_flag. Default: all bands.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, or int16 (numbers of 0.0001).")] = "float32",
    overwrite: Overwrite = False,
) -> None:
    """Write Cloud-Optimised GeoTIFFs for GIS, one per date and band.

    Example: `biastf-xr export fused.zarr cogs --date 2020-10-20 --bands nir`
    """
    from biastf_xr.cli.cubes import export_step
    from biastf_xr.errors import ConfigError

    if dtype not in {"float32", "int16"}:
        raise ConfigError(f"--dtype is {dtype!r}; expected float32 or int16.")
    names = [b.strip() for b in bands.split(",")] if bands else None
    export_step(path, folder, dates=_days(date), bands=names, dtype=dtype, overwrite=overwrite)


@app.command()
def paper(
    dataset: Annotated[str, typer.Option(help="cia or lgc.")],
    root: Annotated[Path, typer.Option(help="Folder into which the download was unpacked.")],
    method: Annotated[
        list[str] | None, typer.Option(help="Method to run; may be repeated. Default: all.")
    ] = None,
    target: Annotated[
        list[int] | None,
        typer.Option(help="Pair to predict, as 10; may be repeated. Default: those of the paper."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of everything. Default: paper_cia or paper_lgc.")
    ] = None,
    training: Annotated[
        str,
        typer.Option(
            help="Pairs that a learned method is fitted on for each target: flanking (beside it), "
            "earlier (all before it), or others (all but it)."
        ),
    ] = "flanking",
    coarse: Annotated[
        str, typer.Option(help="MODIS at its native 500 m, or on the 25 m grid as delivered.")
    ] = "native",
    crop: Annotated[
        bool, typer.Option("--crop/--full", help="Other authors' crop, or the whole frame.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="METHOD.NAME=VALUE, as estarfm.window=31 or biastf.train.epochs=10; may be "
            "repeated."
        ),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    revise: Annotated[bool, typer.Option(help="Replace results of other settings.")] = False,
) -> None:
    """Run the protocol of Li et al. (2020) on its data, and print both results cell by cell.

    Predicts pairs 8 to 14 of CIA, or 7 to 13 of LGC, with every method, and puts the scores beside
    Tables 2 to 4 of the paper. Finished results are kept: after an interruption the same command
    goes on. Exit code 3: some results are missing.

    The paper's dates, the order of its first three columns, base dates and training data are
    inferred, not published; the tables say so.

    Example: `biastf-xr paper --dataset cia --root downloads --method estarfm --method biastf
    --target 10`
    """
    from biastf_xr.cli.paper import method_options, paper_step
    from biastf_xr.evaluation.paper_protocol import Protocol
    from biastf_xr.methods import METHODS

    names = tuple(dict.fromkeys(method or METHODS))
    protocol = Protocol(
        dataset=dataset,
        methods=names,
        targets=tuple(sorted(set(target or ()))),
        training=training,  # type: ignore[arg-type]
        coarse=coarse,  # type: ignore[arg-type]
        crop=crop,
    )
    protocol = replace(protocol, options=method_options(names, option))
    paper_step(root, output or Path(f"paper_{dataset}"), protocol, revise=revise, figures=figures)


cluster = typer.Typer(help="Where a run does its work.", no_args_is_help=True)
app.add_typer(cluster, name="cluster")


@cluster.command("render")
def render_cluster(
    config: Annotated[Path, typer.Argument(help="TOML file of the run.", metavar="CONFIG.toml")],
) -> None:
    """Print the job script, manifest or commands of the `[cluster]` section; starts nothing.

    Example: `biastf-xr cluster render pipelines/clusters/slurm.toml`
    """
    from biastf_xr.cluster import render
    from biastf_xr.config import read_config

    typer.echo(render(read_config(config).cluster.spec()), nl=False)


datasets = typer.Typer(help="The published benchmark sets.", no_args_is_help=True)
app.add_typer(datasets, name="datasets")


@datasets.command("list")
def list_datasets() -> None:
    """List the benchmark sets that can be ingested as they are downloaded."""
    from biastf_xr.cli.show import show_datasets

    show_datasets()


@datasets.command("info")
def dataset_info(
    name: Annotated[str, typer.Argument(help="cia, lgc, ahb, tianjin or daxing.")],
    folder: Annotated[Path | None, typer.Argument(help="A download to compare.")] = None,
) -> None:
    """Say where to get a set, what it should look like, and what a download lacks.

    Example: `biastf-xr datasets info cia downloads/CIA`
    """
    from biastf_xr.cli.show import show_dataset

    if not show_dataset(name, folder):
        raise typer.Exit(1)


# Flags of `train` that only networks have.
NETWORK_FLAGS = ("epochs", "samples", "inputs", "weights", "denoise", "dates", "target", "balance",
                 "device", "precision", "start", "workers", "address")  # fmt: skip


def _given(context: typer.Context, names: Iterable[str]) -> list[str]:
    """Tell which of these flags were typed."""
    return [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]


def _refuse_flags(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse flags that would silently be ignored."""
    from biastf_xr.errors import ConfigError

    given = _given(context, names)
    if given:
        raise ConfigError(f"{', '.join(given)}: biastf-plus {why} biastf or stfdcnn.")


def _read(path: Path, context: typer.Context, *beside: str) -> Config:
    """Read the file; refuse flags that it would silently overrule."""
    from biastf_xr.config import read_config
    from biastf_xr.errors import ConfigError

    given = _given(context, [n for n in context.params if n not in ("config", *beside)])
    if given:
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in beside) or "no flag"
        raise ConfigError(
            f"{', '.join(given)} beside {path}: expected {allowed} with a configuration file, "
            "which states everything else. Write it into the file, or leave the file out."
        )
    return read_config(path)


def _flags(fine: str | None, coarse: str | None, **sections: Any) -> Config:
    """Build a configuration from flags."""
    import pydantic

    from biastf_xr.config import Config, explain
    from biastf_xr.errors import ConfigError

    if fine is None or coarse is None:
        raise ConfigError("give a configuration file, or --fine and --coarse.")
    try:
        return Config.model_validate(
            {
                "fine": {"product": "cube", "folder": ".", "cube": fine},
                "coarse": {"product": "cube", "folder": ".", "cube": coarse},
                **sections,
            }
        )
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error)) from error


def _fuse_section(
    output: str, start: datetime | None, end: datetime | None, withhold: Any, tile: int
) -> dict[str, Any]:
    """Build the section of what to predict."""
    from biastf_xr.cube.stores import locate

    return {
        "output": locate(output, Path()),
        "start": start and start.date(),
        "end": end and end.date(),
        "withhold": _days(withhold),
        "tile": tile,
    }


def _method(text: str, options: list[str] | None = None) -> dict[str, Any]:
    """Read ``--method``: a name, or the path of a checkpoint; and its ``--option``."""
    from biastf_xr.errors import ConfigError
    from biastf_xr.methods import METHODS, name_of_model

    if text in METHODS:
        return {"name": text, "options": _options(options)}
    if options:
        raise ConfigError(
            f"--option {options[0]} beside the checkpoint {text}, which has its options. Leave it "
            "out, or name a method."
        )
    if not Path(text).exists():
        raise ConfigError(
            f"--method is {text!r}; expected one of {', '.join(METHODS)}, or the file of a fitted "
            "method."
        )
    return {"name": name_of_model(text), "checkpoint": Path(text), "refit": "never"}


def _design(name: str | None, gap_days: int | None, parts: str | None) -> Design | None:
    """Read ``--design`` and its options; None where none is given."""
    from biastf_xr.errors import ConfigError
    from biastf_xr.evaluation.designs import design_named

    if name is None and gap_days is None and parts is None:
        return None
    shape = None
    if parts is not None:
        rows, mark, columns = parts.partition("x")
        if not (mark and rows.strip().isdecimal() and columns.strip().isdecimal()):
            raise ConfigError(f"--parts is {parts!r}; expected rows x columns, as 2x2.")
        shape = int(rows), int(columns)
    return design_named(name or "leave-one-out", gap_days=gap_days, parts=shape)


def _options(texts: list[str] | None) -> dict[str, Any]:
    """Read ``--option``: name=value, the value as in TOML, or a plain word."""
    import tomllib

    from biastf_xr.errors import ConfigError

    options: dict[str, Any] = {}
    for text in texts or ():
        name, mark, value = text.partition("=")
        if not mark:
            raise ConfigError(f"--option is {text!r}; expected name=value, as window=31.")
        try:
            options |= tomllib.loads(f"{name} = {value}")
        except tomllib.TOMLDecodeError:
            options[name.strip()] = value.strip()
    return options


def _point(text: str) -> tuple[float, float]:
    from biastf_xr.errors import ConfigError

    try:
        x, y = (float(v) for v in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--origin is {text!r}; expected x,y.") from error
    return x, y
