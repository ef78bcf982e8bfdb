"""Which scenes of an archive go into a cube: the difference between the two, scene by scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from biastf_xr._outside import visible
from biastf_xr.cube._ledger import DayRecord, Entry, entry_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from biastf_xr.sources.base import Scene

Day = np.datetime64


@dataclass
class Selection:
    """What is to be done."""

    days: dict[Day, tuple[Scene, ...]] = field(default_factory=dict)  # () takes a day out
    rejected: dict[str, str] = field(default_factory=dict)  # why a scene is not taken, by id
    replaced: dict[str, str] = field(default_factory=dict)  # ids of older processings, by new id
    kept: list[str] = field(default_factory=list)  # ids no longer in the archive
    unchanged: list[str] = field(default_factory=list)  # ids that are as they were


@dataclass
class Offer:
    """What an archive offers."""

    days: dict[Day, list[Scene]] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)  # why a scene is not taken, by id
    excluded: list[str] = field(default_factory=list)  # ids
    superseded: dict[str, str] = field(default_factory=dict)  # by id, of which another is taken


def usable(
    scenes: Iterable[Scene], *, start: Day | None, end: Day | None, exclude: frozenset[Day]
) -> Offer:
    """Sort out what an archive offers: of every acquisition the latest processing."""
    newest: dict[str, Scene] = {}
    offer = Offer()
    for scene in scenes:
        if not np.isnat(scene.date) and (
            (start is not None and scene.date < start) or (end is not None and scene.date > end)
        ):
            continue
        if scene.problem:
            offer.rejected[scene.id] = visible(scene.problem)
        elif scene.date in exclude:
            offer.excluded.append(scene.id)
        else:
            known = newest.setdefault(scene.acquisition, scene)
            if scene.version > known.version:
                newest[scene.acquisition] = scene  # a dict keeps the position of the first
                offer.superseded[known.id] = scene.id
            elif known is not scene:
                _set_aside(scene, known, offer)
    for scene in newest.values():
        offer.days.setdefault(scene.date, []).append(scene)
    return offer


def _set_aside(scene: Scene, known: Scene, offer: Offer) -> None:
    """Note a scene that is not taken, as another is: of one name and version they must be one."""
    if scene.id != known.id or scene.version != known.version:
        offer.superseded[scene.id] = known.id
    elif dict(scene.files) != dict(known.files):
        one, other = (min(map(str, s.files.values())) for s in (known, scene))
        offer.rejected[scene.id] = (
            f"is there twice: {one} is taken, {other} is not. Give them names of their own."
        )


def compare(
    offered: Mapping[Day, list[Scene]], ledger: Mapping[Day, DayRecord], exclude: frozenset[Day]
) -> Selection:
    """Find what an archive has that a cube has not."""
    selection = Selection()
    for day in sorted({*offered, *ledger}):
        record = ledger.get(day, DayRecord(()))
        if day in exclude:
            if day in ledger:
                selection.days[day] = ()
            continue
        _compare_day(day, offered.get(day, []), record, selection)
    return selection


def _compare_day(day: Day, scenes: list[Scene], record: DayRecord, selection: Selection) -> None:
    known = {e.key: e for e in record.entries}
    gone = [e for key, e in known.items() if key not in {s.acquisition for s in scenes}]
    selection.kept += [e.id for e in gone]
    changed = [s for s in scenes if _differs(s, known.get(s.acquisition))]
    if record.finished and not changed:
        selection.unchanged += [s.id for s in scenes]
        return
    if gone and record.entries:
        # A mosaic without one of its scenes would lose pixels that the cube has.
        for scene in changed or scenes:
            selection.rejected[scene.id] = (
                f"{day} is composed with {', '.join(e.id for e in gone)}, which is no longer in "
                "the folder; recomposing it would lose pixels. Put that scene back, or exclude "
                "the day first."
            )
        return
    if scenes:
        selection.days[day] = tuple(scenes)
    for scene in changed:
        old = known.get(scene.acquisition)
        if old is not None:
            selection.replaced[scene.id] = old.id


def _differs(scene: Scene, entry: Entry | None) -> bool:
    """Return whether a scene is new, newer, or another file of the same name."""
    if entry is None:
        return True
    if scene.version < entry.version:
        return False  # the cube has a newer processing than the archive
    return entry_of(scene).fingerprint != entry.fingerprint
