"""What every date of every tile is to be made from, as hashes that are compared at once.

A fused pixel owes its value to the fine scenes of its base dates, to the coarse scenes around
its target and base dates, and to the method.  Of each tile and date this module has one hash
for the fine scenes and the method, and one for the coarse scenes, both independent of scenes that
have no clear pixel there.  A hash that differs from the one in the ledger is work to be done.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._series import days_near
from biastf_xr.cube._cube import Cube
from biastf_xr.cube._ledger import has_ledger
from biastf_xr.fusion._plan import window_sums
from biastf_xr.version import __version__

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.fusion._plan import FusionPlan
    from biastf_xr.methods.base import Method

# Goes up when the same inputs give other pixels: cubes of an older one are recomputed.
ARITHMETIC = 1

# A base date before a target and the same one after it are not the same input.
BEFORE, AFTER = np.uint64(5), np.uint64(7)


@dataclass(frozen=True)
class Archive:
    """What the days of a cube were ingested from."""

    sensor: str  # which cube it is
    scenes: dict[np.datetime64, list[list[str]]]  # id, version, fingerprint; suspects; by day

    @classmethod
    def of(cls, cube: Cube | xr.Dataset, sensor: str, *, screened: bool = True) -> Archive:
        """Take it from the ledger of a cube; a cube without one has no scenes.

        `screened`: Whether what is suspected of a scene counts too.
        """
        ledger = cube.ledger if isinstance(cube, Cube) and has_ledger(cube.group) else {}
        scenes = {
            d: [[e.id, e.version, e.fingerprint] for e in r.entries] for d, r in ledger.items()
        }
        for day, record in cube.screening.items() if screened and isinstance(cube, Cube) else ():
            scenes[day] += [["suspects", record.flags]] if record.flags else []
        return cls(sensor, scenes)

    def text(self, day: np.datetime64) -> str:
        """Describe a day."""
        scenes = self.scenes.get(day, [])
        return json.dumps({"sensor": self.sensor, "day": str(day), "scenes": scenes})

    def hash(self, day: np.datetime64) -> int:
        """Return the hash of a day and its scenes."""
        return hash_of(self.text(day))

    def hashes(self, days: Any) -> NDArray[np.uint64]:
        """Return the hashes of several days."""
        return np.array([self.hash(day) for day in days], np.uint64)


def hash_of(text: str) -> int:
    """Return the hash of a text as a number of 64 bits, never 0."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") or 1


@dataclass(frozen=True)
class Provenance:
    """What everything in a plan is to be made from."""

    plan: FusionPlan
    method: Method
    fine: Archive
    coarse: Archive
    coarse_days: NDArray[np.datetime64]  # of the coarse cube

    @cached_property
    def setting(self) -> str:
        """Return, as JSON, what holds for every date: the method and the rule."""
        rule = self.plan.rule
        return json.dumps(
            {
                "arithmetic": ARITHMETIC,
                "method": self.method.describe(),
                "bands": list(self.plan.bands),
                "coarse_gaps": rule.coarse_gaps,
                "coarse_max_gap": rule.coarse_max_gap,
                "keep_observed": rule.keep_observed,
            },
            sort_keys=True,
        )

    @cached_property
    def own_hashes(self) -> NDArray[np.uint64]:
        """Return, of every target and tile, what it owes to the method and its own acquisition."""
        plan = self.plan
        setting = [hash_of(f"{self.setting} {day}") for day in plan.targets]
        total = np.repeat(np.array(setting, np.uint64)[:, None], len(plan.tiles), axis=1)
        own = self.fine.hashes(plan.targets[plan.observed])
        total[plan.observed] += plan.seen[plan.observed] * own[:, None]
        return total

    @cached_property
    def base_hashes(self) -> NDArray[np.uint64]:
        """Return the hash of every base date."""
        return self.fine.hashes(self.plan.base)

    @cached_property
    def _ranks(self) -> tuple[NDArray[np.int16], NDArray[np.uint64]]:
        """Count, per tile, the base dates up to each; add up their hashes by that count."""
        covered = self.plan.covered
        shape = (covered.shape[0] + 1, covered.shape[1])
        count, running = np.zeros(shape, np.int16), np.zeros(shape, np.uint64)
        np.cumsum(covered, axis=0, dtype=np.int16, out=count[1:])
        np.cumsum(covered * self.base_hashes[:, None], axis=0, dtype=np.uint64, out=running[1:])
        by_rank = np.zeros_like(running)
        np.put_along_axis(by_rank, count.astype(np.intp), running, axis=0)
        return count, by_rank

    def fine_hash(
        self, target: int, before: NDArray[np.intp], after: NDArray[np.intp]
    ) -> NDArray[np.uint64]:
        """Return what a target owes to method and fine scenes, with so many base dates a side."""
        count, by_rank = self._ranks
        (first, split), (resume, last) = (
            (count[low[target]].astype(np.intp), count[high[target]].astype(np.intp))
            for low, high in self.plan.reach.sides
        )

        def _total(low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.uint64]:
            """Add up the hashes of the base dates of these ranks."""
            ends = np.take_along_axis(by_rank, np.stack([low, high]), axis=0)
            found: NDArray[np.uint64] = ends[1] - ends[0]
            return found

        total = self.own_hashes[target] + _total(np.maximum(split - before, first), split) * BEFORE
        total += _total(resume, np.minimum(resume + after, last)) * AFTER
        found: NDArray[np.uint64] = np.maximum(total, np.uint64(1))
        return found

    @cached_property
    def coarse_hashes(self) -> NDArray[np.uint64]:
        """Return, of every target and tile, what it owes to coarse scenes."""
        plan = self.plan
        running = np.zeros(self.coarse_days.size + 1, np.uint64)
        np.cumsum(self.coarse.hashes(self.coarse_days), dtype=np.uint64, out=running[1:])
        targets = self._around(running, plan.targets, plan.rule.own_gap)
        bases = self._around(running, plan.base, plan.rule.coarse_max_gap)
        total = targets[:, None] * np.uint64(3)  # the sides of the base dates count apart
        for mark, side in zip((BEFORE, AFTER), plan.reach.sides, strict=True):
            total = total + window_sums(plan.covered, bases * mark, *side)
        found: NDArray[np.uint64] = np.maximum(total, np.uint64(1))
        return found

    def _around(self, running: Any, days: Any, reach: int) -> NDArray[np.uint64]:
        """Add up the coarse scenes near some days."""
        step = np.timedelta64(reach, "D")
        low = np.searchsorted(self.coarse_days, days - step, "left")
        high = np.searchsorted(self.coarse_days, days + step, "right")
        total: NDArray[np.uint64] = running[high] - running[low]
        return total

    def bits(self, target: int, tile: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the bits by which the base dates of a tile are named."""
        reach = self.plan.reach
        before, after = self.plan.bases_of(target, tile)
        size = int(reach.split[target] - reach.first[target])
        return (
            tuple(1 << int(n - reach.first[target]) for n in before[::-1]),
            tuple(1 << int(size + n - reach.resume[target]) for n in after),
        )

    def recipe(self, target: int) -> str:
        """Describe what one date is made from."""
        plan = self.plan
        day, bases = plan.targets[target], self._bases_within_reach(target)
        near = days_near(self.coarse_days, [day, *bases], plan.rule.coarse_max_gap)
        return json.dumps(
            {
                "day": str(day),
                "bases": [[str(d), self.fine.hash(d)] for d in bases],
                "observed": self.fine.hash(day) if plan.observed[target] else None,
                "coarse": [[str(d), self.coarse.hash(d)] for d in self.coarse_days[near]],
                "setting": json.loads(self.setting),
                "biastf_xr": __version__,
            },
            sort_keys=True,
        )

    def _bases_within_reach(self, target: int) -> list[np.datetime64]:
        """List the base dates that a target may use, wherever they are clear."""
        sides = self.plan.reach.sides
        return [day for low, high in sides for day in self.plan.base[low[target] : high[target]]]

    def scene_texts(self, targets: Any) -> list[str]:
        """Describe every day that the recipes of some targets name."""
        plan = self.plan
        used = {day for t in targets for day in self._bases_within_reach(t)}
        used |= {plan.targets[t] for t in targets if plan.observed[t]}
        texts = [self.fine.text(d) for d in sorted(used)]
        texts += [self.coarse.text(d) for d in self.coarse_days]
        return [json.dumps(json.loads(text) | {"number": hash_of(text)}) for text in texts]

    def hash(self) -> str:
        """Return the hash of the whole plan."""
        total = hashlib.blake2b(digest_size=8)
        everything = np.full(len(self.plan.tiles), len(self.plan.base), np.intp)
        fine = [self.fine_hash(t, everything, everything) for t in range(self.plan.targets.size)]
        for part in (self.plan.targets.astype("int64"), *fine, self.coarse_hashes):
            total.update(part.tobytes())
        return total.hexdigest()
