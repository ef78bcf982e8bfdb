"""A dry run: what every step would do with archive and cubes as they are.  Writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biastf_xr.cube.stores import store_at
from biastf_xr.nightly.records import StepRecord
from biastf_xr.nightly.work import STEPS, wants_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from biastf_xr.config import Config, Source

PLANNED, SKIPPED = "planned", "skipped"


def outlook(config: Config) -> tuple[StepRecord, ...]:
    """Return what every step would do."""
    return tuple(_steps(config))


def _steps(config: Config) -> Iterator[StepRecord]:
    news = {"fine": new_scenes(config.fine), "coarse": new_scenes(config.coarse)}
    looks: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
        "ingest": lambda: _ingest(news),
        "train": lambda: _train(config, fine_news=bool(news["fine"])),
        "fuse": lambda: _fuse(config, news),
        "evaluate": lambda: _evaluate(config),
        "report": lambda: ("if the newest withheld scene is scored", {}),
        "export": lambda: _export(config),
        "publish": lambda: _publish(config),
    }
    for name in STEPS:
        if name not in config.nightly.steps:
            yield StepRecord(name, SKIPPED, note="not among `steps`")
            continue
        note, counts = looks[name]()
        yield StepRecord(name, PLANNED, counts=counts, note=note)


def new_scenes(source: Source) -> list[str]:
    """List the scenes that an ingest would read; reads names and metadata only."""
    from biastf_xr.cube._ingest import preview_ingest
    from biastf_xr.sources import build_product

    found = preview_ingest(
        build_product(source.product, **source.options),
        source.folder,
        source.cube,
        start=str(source.start) if source.start else None,
        end=str(source.end) if source.end else None,
        exclude=tuple(map(str, source.exclude)),
    )
    return [name for names in found.days.values() for name in names]


def _ingest(news: dict[str, list[str]]) -> tuple[str, dict[str, Any]]:
    return "", {f"{kind} scenes to read": len(ids) for kind, ids in news.items()}


def _train(config: Config, *, fine_news: bool) -> tuple[str, dict[str, Any]]:
    if not config.method.learned:
        return f"{config.method.name} needs no fit", {}
    why = wants_fit(config, fine_news=fine_news)
    return (f"fit, because {why}" if why else "the model stays"), {}


def _fuse(config: Config, news: dict[str, list[str]]) -> tuple[str, dict[str, Any]]:
    from biastf_xr.fusion._preview import plan
    from biastf_xr.steps.fuse import fusion_options
    from biastf_xr.steps.train import built_method

    cubes = config.fine.cube, config.coarse.cube
    if not all(store_at(path).exists() for path in cubes):
        return "known once the cubes are there", {}
    if config.method.learned and not config.method.checkpoint.exists():
        return "known once the method is fitted", {}
    shown = plan(
        *cubes, config.fuse.output, built_method(config), trial=False, **fusion_options(config)
    )
    counts = {"units": shown.totals.units, "Mpx and dates": round(shown.totals.pixels / 1e6, 3)}
    more = any(news.values())
    return "as the cubes are now; the scenes to read add to it" if more else "", counts


def _evaluate(config: Config) -> tuple[str, dict[str, Any]]:
    from biastf_xr.errors import MissingPairError
    from biastf_xr.nightly.accuracy import choose_trial

    if not config.fuse.withhold and (
        not all(store_at(path).exists() for path in (config.fine.cube, config.coarse.cube))
        or (config.method.learned and not config.method.checkpoint.exists())
    ):
        return "known once cubes and model are there", {}
    try:
        trial = choose_trial(config)
    except MissingPairError as error:
        return f"not scored: {error}", {}
    return trial.how, {"scene": trial.date}


def _export(config: Config) -> tuple[str, dict[str, Any]]:
    from biastf_xr.nightly.handover import EXPORTED, days_to_hand_on

    folder = config.nightly.folder
    if config.nightly.export is None or folder is None:
        return "`export` names no folder", {}
    if not store_at(config.fuse.output).exists():
        return "known once the fused cube is there", {}
    days = days_to_hand_on(config.fuse.output, folder / EXPORTED)
    return "and the days that are made", {"days": len(days)}


def _publish(config: Config) -> tuple[str, dict[str, Any]]:
    from biastf_xr.publish.catalogue import publish

    folder = config.nightly.publish
    if folder is None:
        return "`publish` names no folder", {}
    if not store_at(config.fuse.output).exists():
        return "known once the fused cube is there", {}
    found = publish(config.fuse.output, folder, dry_run=True)
    return "and the days that are made", {"days": len(found.added) + len(found.updated)}
