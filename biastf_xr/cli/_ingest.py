"""The command that brings cubes up to date with their archives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from biastf_xr.cli._app import RUN, app
from biastf_xr.cli._command import DryRun, command
from biastf_xr.cli._parameters import DAY, ConfigFile, Overwrite, complete_product
from biastf_xr.cli._settings import read_settings, source_of_flags


@command(app, panel=RUN, interrupted="What is finished is kept; the same command goes on.")
def ingest(
    context: typer.Context,
    config: ConfigFile = None,
    product: Annotated[
        str | None,
        typer.Option(
            help="landsat-c2-l2, hls, mod09ga, mcd43a4, vnp09ga, vnp43, geotiff, "
            "benchmark or stac.",
            autocompletion=complete_product,
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
    strict: Annotated[bool, typer.Option("--strict", help="Fail if a scene is rejected.")] = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Any:
    """Bring cubes up to date with their archives: only what is new, late or reprocessed is read.

    Scenes that cannot be used are listed with the reason and do not stop the others.

    Examples: `biastf-xr ingest config.toml` (both cubes, and a check of the two sensors), or

    `biastf-xr ingest --product geotiff --folder scenes --pattern L_%Y%m%d.tif --bands green,red,nir
    --factor 1e-4 --crs EPSG:32613 --resolution 30 --cube fine.zarr --kind fine`
    """
    from biastf_xr.errors import ConfigError, SceneError
    from biastf_xr.steps.ingest import ingest_source, ingest_step
    from biastf_xr.steps.preview import preview_ingest_step, preview_source

    if config is not None:
        settings = read_settings(config, context, "overwrite", "strict")
        if dry_run:
            return preview_ingest_step(settings, overwrite=overwrite)
        fine, coarse = ingest_step(settings, overwrite=overwrite, strict=strict)
        return {"fine": fine, "coarse": coarse}
    if kind not in {"fine", "coarse"}:
        raise ConfigError(f"--kind is {kind!r}; expected fine or coarse.")
    source = source_of_flags(
        product,
        folder,
        cube,
        geotiff={
            "pattern": pattern,
            "bands": bands,
            "factor": factor,
            "nodata": nodata,
            "crs": crs,
            "resolution": resolution,
            "origin": origin,
        },
        native_resolution=native_resolution,
        exclude=exclude,
        option=option,
    )
    if dry_run:
        return preview_source(source, kind, overwrite=overwrite)
    report = ingest_source(source, kind, overwrite=overwrite)
    if strict and report.rejected:
        raise SceneError(f"{len(report.rejected)} scenes were rejected.")
    return report
