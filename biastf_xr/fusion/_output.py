"""The fused cube that a run writes: made, continued, extended, and compared with its inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr.cube._axis import append_days, insert_days
from biastf_xr.cube._cube import drop_days, layout_of, open_cube, read_group, spec_of
from biastf_xr.cube._guards import CubePair, check_same_structure, pair_cubes
from biastf_xr.cube._ledger import read_clear_pixels, stored_days
from biastf_xr.cube._spec import CubeSpec, Layout, to_days
from biastf_xr.cube._template import history_line, write_template
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import CubeStructureError, MethodError
from biastf_xr.fusion import _ledger as books
from biastf_xr.fusion._inputs import AFTER, BEFORE, Archive, Inputs
from biastf_xr.fusion._plan import ClearPixels, build_plan
from biastf_xr.fusion._scene import prepare
from biastf_xr.fusion._template import fused_spec, fused_template
from biastf_xr.fusion._worker import Task

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from biastf_xr.cube.stores.base import CubeStore, Edit
    from biastf_xr.fusion._plan import FusionRule, Unit
    from biastf_xr.methods.base import Method, Prepared


@dataclass
class Work:
    """What is to be done, date by date and tile by tile.

    `todo`: Shape ``(target, tile)``: what is to be made, or at least looked at.
    `there`: What has been made before, from whatever inputs.
    `known`: Digest of the coarse images where only coarse scenes have changed; 0 elsewhere.
    `depth`: On how many base dates it depended there.
    """

    todo: NDArray[np.bool_]
    there: NDArray[np.bool_]
    known: NDArray[np.uint64]
    depth: NDArray[np.uint64]


@dataclass
class Output:
    """The output of a run.

    `inputs`: The plan, and what everything is to be made from.
    `pair`: The cubes it is made from.
    `states`: What the method prepared, by base date, for all targets.
    `places`: Places of the targets on its time axis.
    `recipes`: Places of the recipes, by target.
    """

    store: CubeStore
    spec: CubeSpec
    inputs: Inputs
    pair: CubePair
    states: dict[np.datetime64, Prepared] = field(default_factory=dict)
    places: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    recipes: dict[int, int] = field(default_factory=dict)

    def extend(self, edit: Edit) -> None:
        """Insert or append every target on the time axis."""
        import zarr

        targets = self.inputs.plan.targets
        days = stored_days(zarr.open_group(edit.store, mode="r", use_consolidated=False))
        new = targets[~np.isin(targets, days)]
        if new.size:
            append_days(edit.store, new)
            edit.checkpoint(f"days up to {new[-1]}")
            days = np.concatenate([days, new])
        self.places = np.searchsorted(days, targets)

    def remember(self, ledger: zarr.Group, work: Work) -> None:
        """Write down from what the work is going to be made."""
        wanted = np.flatnonzero(work.todo.any(axis=1))
        texts = {int(t): self.inputs.recipe(int(t)) for t in wanted}
        books.remember(ledger, "scenes", self.inputs.scene_texts(wanted))
        numbers = books.remember(ledger, "recipes", texts.values())
        self.recipes = {t: numbers[text] for t, text in texts.items()}

    def prepare(self, work: Work) -> None:
        """Let the method look at the whole scenes that the work needs."""
        inputs = self.inputs
        wanted = np.asarray(work.todo.any(axis=1))
        self.states = prepare(inputs.method, self.pair, inputs.plan, wanted)

    def task(self, unit: Unit, slot: int, work: Work) -> Task:
        """Build what travels to a worker."""
        inputs, tile, dates = self.inputs, unit.number, list(unit.dates)
        lines = np.zeros((len(dates), books.LINE), np.uint64)
        lines[:, 0], lines[:, 1] = self.places[dates], tile
        lines[:, 2 + books.FINE] = inputs.own_words[dates, tile]
        lines[:, 2 + books.COARSE] = inputs.coarse_words[dates, tile]
        lines[:, 2 + books.RECIPE] = [self.recipes[t] for t in dates]
        lines[:, 2 + books.DEPTH] = work.depth[dates, tile]
        known = tuple(int(v) for v in work.known[dates, tile])
        rewrites = bool(work.there[dates, tile].any())
        bases = unit.bracket.base_dates if self.states else ()
        states = {day: self.states[day].of(dates) for day in bases if day in self.states}
        before, after = inputs.plan.bases_of(dates[0], tile)
        words = inputs.base_words[before[::-1]] * BEFORE, inputs.base_words[after] * AFTER
        bits = tuple(inputs.bits(t, tile) for t in dates)
        return Task(slot, unit, lines, known, rewrites, words, bits, states)

    def describe(self, edit: Edit) -> None:
        """Bring the cube's coordinates and attributes up to date with the plan."""
        import zarr

        group = zarr.open_group(edit.store, mode="r+", use_consolidated=False)
        for name, days in zip(("before", "after"), self.inputs.plan.base_dates(), strict=True):
            array: Any = group[name]
            values = array[:]
            values[self.places] = days.astype("datetime64[s]").view("int64")
            array[:] = values
        group.attrs.update(method_attrs(self.inputs))

    def add_history(self, edit: Edit, text: str) -> None:
        """Add a line to the history of the cube."""
        import zarr

        group = zarr.open_group(edit.store, mode="r+", use_consolidated=False)
        lines = str(group.attrs.get("history", "")).splitlines()
        group.attrs["history"] = "\n".join([*lines, history_line(text)])


def find_work(
    inputs: Inputs, ledger: zarr.Group, places: NDArray[np.intp], dates: Any = None
) -> Work:
    """Find what an output has not, or was made from other inputs.

    `dates`: Places of the targets to compare; all by default.
    """
    coarse = inputs.coarse_words
    work = Work(*(np.zeros(coarse.shape, t) for t in (bool, bool, np.uint64, np.uint64)))
    record: Any = ledger["record"]
    for n in range(places.size) if dates is None else dates:
        row = record[int(places[n])].reshape(-1, len(books.FIELDS))
        depth = row[:, books.DEPTH]
        same = row[:, books.FINE] == inputs.fine_word(n, *books.unpack_depth(depth))
        work.todo[n] = ~(same & (row[:, books.COARSE] == coarse[n]))
        work.there[n] = row[:, books.RECIPE] != 0
        work.known[n] = np.where(same, row[:, books.CONTENT], 0)
        work.depth[n] = np.where(same, depth, 0)
    return work


def all_work(inputs: Inputs) -> Work:
    """Return the work on an output that does not exist."""
    shape = (inputs.plan.targets.size, len(inputs.plan.tiles))
    empty = np.zeros(shape, np.uint64)
    return Work(np.ones(shape, bool), np.zeros(shape, bool), empty, empty)


def work_left(output: str, inputs: Inputs) -> Work:
    """Find what a fused cube lacks, as its readers see it; changes nothing."""
    days = to_days(open_cube(output, chunks=None, days="all")["time"].values)
    targets = inputs.plan.targets
    have = np.isin(targets, days)
    if not have.any():
        return all_work(inputs)
    ledger = books.open_ledger(store_at(output).reader())
    places = np.searchsorted(days, targets)
    work = find_work(inputs, ledger, places, np.flatnonzero(have))
    work.todo[~have] = True
    lines, _ = books.read_journal(ledger)
    target = {int(p): n for n, p in enumerate(places) if have[n]}
    for line in lines:
        if int(line[0]) in target:
            made = line[2 + books.FINE] != 0
            work.todo[target[int(line[0])], int(line[1])] = not made
    return work


def open_output(
    fine: str,
    coarse: str,
    output: str,
    method: Method,
    *,
    tile: int,
    overwrite: bool,
    revise: bool,
    dates: Any,
    withhold: Any,
    rule: FusionRule | None,
) -> Output:
    """Plan a run, and make its output or check the one that is there.

    `tile`: Largest shard of a new output, in pixels.
    `revise`: Whether an output made with another method or rule may be made anew in place.
    """
    store = store_at(output)
    pair = open_pair(fine, coarse, withhold)
    method = method.bind(pair)
    there = store.exists() and not overwrite
    spec = fused_spec(pair, method, shard=tile)
    if there:
        spec = replace(spec, layout=_found_layout(output, spec))
    inputs = plan_inputs(fine, coarse, pair, method, dates, rule, spec.layout)
    if there:
        _check_setting(output, inputs, revise=revise)
        _make_room(store, output, inputs.plan.targets)
    else:
        with store.build("created", replace=overwrite) as edit:
            template = fused_template(spec, inputs.plan)
            template.attrs |= method_attrs(inputs)
            write_template(template, spec, edit.store)
            books.create_ledger(edit.store, inputs.plan.targets.size, inputs.plan.tiles.counts)
    return Output(store, spec, inputs, pair)


def open_pair(fine: str, coarse: str, withhold: Any) -> CubePair:
    """Open the two cubes of a run."""
    cube = drop_days(open_cube(fine, chunks=None), withhold)
    return pair_cubes(cube, open_cube(coarse, chunks=None))


def plan_inputs(
    fine: str,
    coarse: str,
    pair: CubePair,
    method: Method,
    dates: Any,
    rule: FusionRule | None,
    layout: Layout,
) -> Inputs:
    """Plan a run, and say what everything is to be made from; reads metadata only."""
    counts = read_clear_pixels(read_group(fine))
    clear = None
    if counts is not None:
        clear = ClearPixels(counts, layout_of(open_cube(fine, chunks=None)).shards[1:])
    tile = layout.shards[1:]
    plan = build_plan(pair, method, dates, rule, tile=(tile[0], tile[1]), clear=clear)
    archives = Archive.read(fine, "fine"), Archive.read(coarse, "coarse")
    return Inputs(plan, method, *archives, pair.coarse_days)


def method_attrs(inputs: Inputs) -> dict[str, str]:
    """Return the attributes that say how a cube was made."""
    described = json.dumps(inputs.method.describe(), sort_keys=True)
    return {"biastf_method": described, "biastf_setting": inputs.setting}


def _found_layout(output: str, spec: CubeSpec) -> Layout:
    """Return the layout of the output that is there, if it has the structure that is asked for."""
    found = open_cube(output, chunks=None, days="all")
    if found.attrs["biastf_kind"] != "fused":
        raise CubeStructureError(
            f"{output} is a {found.attrs['biastf_kind']} cube, not a fused one. Choose another "
            "output."
        )
    books.open_ledger(store_at(output).reader())
    check_same_structure(spec_of(found), spec, output)
    return layout_of(found)


def _check_setting(output: str, inputs: Inputs, *, revise: bool) -> None:
    """Refuse to make a cube anew by mistake."""
    found = str(read_group(output).attrs.get("biastf_setting", ""))
    if revise or found == inputs.setting:
        return
    old, new = (json.loads(text or "{}") for text in (found, inputs.setting))
    keys = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    told = "; ".join(f"{k} was {old.get(k)}, now asked for is {new.get(k)}" for k in keys)
    raise MethodError(
        f"{output} was made otherwise: {told}. Ask to make it anew in place (`--revise`, "
        "revise=True), or choose another output."
    )


def _make_room(store: CubeStore, output: str, targets: NDArray[np.datetime64]) -> None:
    """Insert targets before the last day that is there; later ones are appended."""
    days = to_days(open_cube(output, chunks=None, days="all")["time"].values)
    between = targets[(targets < days[-1]) & ~np.isin(targets, days)]
    if between.size:
        insert_days(store, between)
