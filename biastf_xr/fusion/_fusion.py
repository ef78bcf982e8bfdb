"""One fusion from two stores to a third: what is decided, what is there, what is left to do."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._axis import insert_days
from biastf_xr.cube._cube import Cube, drop_days
from biastf_xr.cube._guards import CubePair, check_same_structure, pair_cubes
from biastf_xr.cube._spec import CubeSpec, Layout
from biastf_xr.cube._template import build_template, history, write_template
from biastf_xr.errors import CubeStructureError, MethodError
from biastf_xr.fusion import _ledger
from biastf_xr.fusion._plan import ClearPixels, FusionPlan, build_plan
from biastf_xr.fusion._provenance import Archive, Provenance
from biastf_xr.methods import ready_method

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    import zarr
    from numpy.typing import NDArray

    from biastf_xr.fusion._plan import FusionRule
    from biastf_xr.methods.base import Method


@dataclass
class Work:
    """What is to be done, date by date and tile by tile."""

    todo: NDArray[np.bool_]  # (target, tile): what is to be made, or looked at
    there: NDArray[np.bool_]  # what was made before, from whatever inputs
    known: NDArray[np.uint64]  # hash of its coarse images where only these have changed, or 0
    depth: NDArray[np.uint64]  # on how many base dates it depended there

    @classmethod
    def everything(cls, plan: FusionPlan) -> Work:
        """Return the work on an output that does not exist."""
        shape = (plan.targets.size, len(plan.tiles))
        empty = np.zeros(shape, np.uint64)
        return cls(np.ones(shape, bool), np.zeros(shape, bool), empty, empty)


@dataclass
class Fusion:
    """A fusion from store to store."""

    output: Cube | None  # where it goes; None to plan only
    continues: bool  # whether a cube that is there is continued
    pair: CubePair  # without what is withheld
    spec: CubeSpec
    method: Method
    plan: FusionPlan
    provenance: Provenance

    @classmethod
    def between(
        cls,
        fine: Cube | xr.Dataset,
        coarse: Cube | xr.Dataset,
        output: Cube | None,
        method: str | Method,
        *,
        dates: Any,
        withhold: Any,
        tile: int,
        chunk: int = 256,
        rule: FusionRule | None,
        overwrite: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> Fusion:
        """Decide everything; reads metadata only unless the method is fitted; changes nothing.

        `output`: Looked at as it is now, whenever it was opened.
        `tile`, `chunk`: Largest shard and chunk of a new output, in pixels.
        """
        output = None if output is None else output.reopened()
        one, other = (
            cube.to_xarray(chunks=None) if isinstance(cube, Cube) else cube
            for cube in (fine, coarse)
        )
        pair = pair_cubes(drop_days(one, withhold), other)
        base_rule = rule.bracket if rule else None
        method = ready_method(method, pair, base_rule, options or {}).bind(pair)
        layout = Layout.build("fused", pair.alignment.shape, chunk=chunk, shard=tile)
        spec = _spec_of(pair, method, layout)
        continues = output is not None and not overwrite and output.exists()
        if output is not None and continues:
            spec = replace(spec, layout=_layout_found(output, spec))
        clear = None
        if isinstance(fine, Cube) and fine.clear_pixels is not None:
            clear = ClearPixels(fine.clear_pixels, fine.layout.shards[1:])
        plan = build_plan(pair, method, dates, rule, tile=spec.layout.shards[1:], clear=clear)
        archives = Archive.of(fine, "fine"), Archive.of(coarse, "coarse")
        provenance = Provenance(plan, method, *archives, pair.coarse_days)
        return cls(output, continues, pair, spec, method, plan, provenance)

    def work_left(self) -> Work:
        """Find what the output lacks, as its readers see it; changes nothing."""
        plan = self.plan
        if self.output is None or not self.continues:
            return Work.everything(plan)
        days = self.output.days
        have = np.isin(plan.targets, days)
        if not have.any():
            return Work.everything(plan)
        ledger = _ledger.open_ledger(self.output.group)
        indices = np.searchsorted(days, plan.targets)
        work = self.compare(ledger, indices, np.flatnonzero(have))
        work.todo[~have] = True
        lines, _ = _ledger.read_journal(ledger)
        target = {int(index): n for n, index in enumerate(indices) if have[n]}
        for line in lines:
            if int(line[0]) in target:
                made = line[2 + _ledger.FINE] != 0
                work.todo[target[int(line[0])], int(line[1])] = not made
        return work

    def compare(self, ledger: zarr.Group, indices: NDArray[np.intp], dates: Any = None) -> Work:
        """Find what an output has not, or was made from other inputs.

        `indices`: Of all targets on its time axis; `dates`: those to compare, all by default.
        """
        hashes, plan = self.provenance, self.plan
        shape = (plan.targets.size, len(plan.tiles))
        work = Work(*(np.zeros(shape, kind) for kind in (bool, bool, np.uint64, np.uint64)))
        record: Any = ledger["record"]
        for n in range(indices.size) if dates is None else dates:
            row = record[int(indices[n])].reshape(-1, len(_ledger.FIELDS))
            depth = row[:, _ledger.DEPTH]
            same = row[:, _ledger.FINE] == hashes.fine_hash(n, *_ledger.unpack_depth(depth))
            work.todo[n] = ~(same & (row[:, _ledger.COARSE] == hashes.coarse_hashes[n]))
            work.there[n] = row[:, _ledger.RECIPE] != 0
            work.known[n] = np.where(same, row[:, _ledger.CONTENT], 0)
            work.depth[n] = np.where(same, depth, 0)
        return work

    def claim_output(self, *, overwrite: bool, revise: bool) -> Cube:
        """Return the output, made or checked and prepared; its lock must be held.

        `revise`: Whether one made with another method or rule may be recomputed in place.
        """
        assert self.output is not None
        if not self.continues:
            with self.output.store.build("created", replace=overwrite) as edit:
                template = self.template()
                template.attrs |= self.attrs()
                write_template(template, self.spec, edit.store)
                tiles = self.plan.tiles.counts
                _ledger.create_ledger(edit.group, self.plan.targets.size, tiles)
            return self.output
        if not revise:
            _refuse_other_setting(self.output, self.provenance.setting)
        days, targets = self.output.days, self.plan.targets
        between = targets[(targets < days[-1]) & ~np.isin(targets, days)]
        if between.size:  # later ones are appended
            insert_days(self.output.store, between)
            self.output = self.output.reopened()
        return self.output

    def template(self) -> xr.Dataset:
        """Build the lazy, empty Dataset of the fused cube."""
        sides = zip(("before", "after"), self.plan.base_dates(), strict=True)
        coords = {
            side: ("time", days, {"long_name": f"nearest base date {side}"}) for side, days in sides
        }
        return build_template(self.spec, self.plan.targets, coords)

    def attrs(self) -> dict[str, str]:
        """Return the attributes that say how a cube was made."""
        described = json.dumps(self.method.describe(), sort_keys=True)
        return {"biastf_method": described, "biastf_setting": self.provenance.setting}


def _spec_of(pair: CubePair, method: Method, layout: Layout) -> CubeSpec:
    """Describe the cube that a fusion makes."""
    described = method.describe()
    attrs = {
        "source": f"{pair.fine.attrs.get('source', 'fine cube')}, "
        f"{pair.coarse.attrs.get('source', 'coarse cube')}",
        "history": history(pair.fine.attrs, f"planned with {described['method']}"),
        "biastf_method": json.dumps(described, sort_keys=True),
    }
    return CubeSpec("fused", pair.bands, pair.geobox, layout, attrs, uncertain=method.uncertain)


def _layout_found(output: Cube, spec: CubeSpec) -> Layout:
    """Return the layout of the output that is there, if it has the structure that is asked for."""
    found = output.spec
    if found.kind != "fused":
        raise CubeStructureError(
            f"{output.path} is a {found.kind} cube, not a fused one. Choose another output."
        )
    _ledger.open_ledger(output.group)
    check_same_structure(found, spec, output.path)
    return found.layout


def _refuse_other_setting(output: Cube, setting: str) -> None:
    """Refuse to recompute a cube by mistake."""
    found = str(output.group.attrs.get("biastf_setting", ""))
    if found == setting:
        return
    old, new = (json.loads(text or "{}") for text in (found, setting))
    keys = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    changes = "; ".join(f"{k} was {old.get(k)}, now asked for is {new.get(k)}" for k in keys)
    raise MethodError(
        f"{output.path} was made otherwise: {changes}. Ask to recompute it in place (`--revise`, "
        "revise=True), or choose another output."
    )
