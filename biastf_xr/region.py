"""A region: one TOML file, and every step of its run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr import _sensors
from biastf_xr._days import to_days
from biastf_xr._summary import Summary, Told, size
from biastf_xr._update.job import run_update
from biastf_xr._update.leftovers import remove_leftovers
from biastf_xr._update.records import folder_of
from biastf_xr._update.status import status_path, write_status
from biastf_xr._urls import public
from biastf_xr.config import read_config
from biastf_xr.cube._cube import bands_of, drop_days, open_cube
from biastf_xr.cube._guards import pair_cubes, season_of
from biastf_xr.cube._quality import count_flags, explain
from biastf_xr.cube._spec import PAIR_FLAG
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import BiastfError, ConfigError, CubeStructureError, MissingPairError
from biastf_xr.methods import BASELINES, check_options, fit, get_method, load_method, method_class

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from biastf_xr._doctor import Check
    from biastf_xr._update.job import OnStep
    from biastf_xr._update.leftovers import Leftover
    from biastf_xr._update.records import UpdateReport
    from biastf_xr.config import Config
    from biastf_xr.cube._ingest import IngestReport
    from biastf_xr.evaluation import Design, Gallery, Scores
    from biastf_xr.evaluation._designs import Fold
    from biastf_xr.fusion._preview import Preview
    from biastf_xr.fusion._report import RunReport, RunState
    from biastf_xr.fusion._screen_store import ScreenReport
    from biastf_xr.methods.base import Method
    from biastf_xr.publish.catalogue import PublishReport

# Called with a stage of a step, how much of it is done, how much there is (None where that is not
# known), and a note.
Progress = Callable[[str, int, int | None, str], None]


# What follows for a day of a pair that has a flag.
DOUBTS = {
    "low_correlation": "left out of pairs",
    "shifted": 'correct it with `shift = "auto"` in [coarse]',
}


@dataclass(frozen=True, repr=False)
class Ingested(Told):
    """What an ingest did to both cubes, or would do.

    Attributes
    ----------
    fine, coarse : IngestReport
        What was taken, and what was not and why.
    pairs : xarray.Dataset or None
        How well the sensors agree on every day that both have; None where there is no such day, and
        of a dry run.
    moved : str
        What became of ``shift = "auto"``; empty where nothing was to be measured.
    screening : ScreenReport or None
        What is suspected in the fine cube; None where nothing was screened.
    """

    fine: IngestReport
    coarse: IngestReport
    pairs: xr.Dataset | None = None
    moved: str = ""
    screening: ScreenReport | None = None

    def _summary(self) -> Summary:
        facts: dict[str, Any] = {}
        tables: dict[str, Any] = {}
        for kind in ("fine", "coarse"):
            one = Summary.of(getattr(self, kind))
            facts |= {f"{kind} {name}": value for name, value in one.facts.items()}
            tables |= {f"{kind} {name}": table for name, table in one.tables.items()}
        facts |= {"registration": self.moved} if self.moved else {}
        if self.pairs is None:
            return Summary("Ingest", facts, tables, ("no pair of one day was compared",))
        if self.screening is not None:
            one = Summary.of(self.screening)
            facts |= {"screening": one.facts["screening"]}
            tables |= one.tables
        flags = self.pairs["pair_flag"].values
        facts["pairs of one day"] = count_flags(flags)
        notes = [
            f"{str(day)[:10]} {explain(self.pairs, day)}; {consequence}"
            for flag, consequence in DOUBTS.items()
            for day in self.pairs["time"].values[flags == PAIR_FLAG[flag]]
        ]
        return Summary("Ingest", facts, tables, tuple(notes))


@dataclass(frozen=True, repr=False)
class Fitted(Told):
    """What a fit learned from, or would learn from.

    Attributes
    ----------
    method : str
        Name of the method.
    learned : bool
        Whether it needs a fit.
    checkpoint : pathlib.Path
        Where it is kept.
    bands : tuple of str
        Bands that were learned.
    withheld, days : tuple of str
        Days that were kept from the fit, and days that it learned from; ISO format.
    model : Method or None
        The method, ready to fuse; None of a dry run.
    picture : pathlib.Path or None
        The losses of networks, drawn beside the model.
    seconds : float
        How long the fit took.
    """

    method: str
    learned: bool
    checkpoint: Path
    bands: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    model: Method | None = None
    picture: Path | None = None
    seconds: float = 0.0

    def _summary(self) -> Summary:
        if not self.learned:
            return Summary(f"Method {self.method} needs no training")
        there = "" if self.model or self.checkpoint.exists() else ", not there yet"
        facts: dict[str, Any] = {
            "model": f"{self.checkpoint}{there}",
            "bands": ", ".join(self.bands),
            "withheld": ", ".join(self.withheld) or "nothing",
        }
        if self.model is None:
            facts["to be fitted on"] = f"{len(self.days)} dates: {', '.join(self.days)}"
            return Summary(f"Fit of {self.method}", facts)
        facts["fitted on"] = f"{len(self.days)} dates ({self.days[0]} to {self.days[-1]})"
        facts["time"] = f"{self.seconds:.0f} s"
        facts |= {"losses": str(self.picture)} if self.picture else {}
        model: Any = self.model
        return Summary(f"Fit of {self.method}", facts, notes=tuple(model.remarks()))


@dataclass(frozen=True, repr=False)
class Evaluation(Told):
    """How good predictions of withheld scenes are, or what would be withheld and predicted.

    Attributes
    ----------
    inputs : dict of str
        The cubes, by what they are.
    cube : str or None
        The fused cube that was scored as it is; None where scenes were withheld and predicted.
    dates : tuple of str
        Days that were scored, ISO format.
    design : str
        What was withheld, as a sentence.
    methods : tuple of str
        Names of the methods.
    folds : tuple of Fold
        What was withheld and predicted, round by round.
    scores : Scores or None
        The measures; None of a dry run.
    """

    inputs: dict[str, str]
    cube: str | None
    dates: tuple[str, ...]
    design: str = ""
    methods: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    scores: Scores | None = None
    _gallery: Gallery | None = None

    def _summary(self) -> Summary:
        import pandas as pd

        if self.scores is not None:
            return Summary.of(self.scores)
        dates = ", ".join(self.dates)
        if self.cube is not None:
            return Summary("Evaluation", {"fused cube": self.cube, "scored": dates})
        facts = {"design": self.design, "methods": ", ".join(self.methods), "scored": dates}
        folds = [
            {"withheld": ", ".join(map(str, f.withheld)), "scored": ", ".join(map(str, f.score))}
            for f in self.folds
        ]
        return Summary("Evaluation", facts, {"rounds": pd.DataFrame(folds)})

    def write_report(
        self, path: str | Path, *, title: str = "Evaluation on withheld scenes", **about: Any
    ) -> Path:
        """Write the report: one HTML file, and its numbers beside it as JSON.

        Parameters
        ----------
        path : str or pathlib.Path
            The HTML file; the numbers have its name and end in ``.json``.
        title : str
            Title of the page.
        **about
            What else the page says of the run.

        Returns
        -------
        pathlib.Path
            The HTML file.

        Raises
        ------
        ConfigError
            If the name does not end in ``.html``, or nothing was scored.
        """
        from biastf_xr.evaluation import write_report

        if Path(path).suffix not in {".html", ".htm"}:
            raise ConfigError(f"the report is {path}; expected a name that ends in .html.")
        if self.scores is None:
            raise ConfigError(f"nothing was scored for the report {path}: it was a dry run.")
        run = self.inputs | about
        return write_report(Path(path), self.scores, title=title, run=run, gallery=self._gallery)


class Region:
    """A region: its configuration, and every step of its run.

    Every step reads and writes what the configuration names, prints nothing and returns what it
    did.  A dry run returns what the step would do, and writes nothing.

    Parameters
    ----------
    config : Config
        The run, as of `biastf_xr.config.read_config`.

    Examples
    --------
    >>> from biastf_xr import Region
    >>> region = Region.from_file("region.toml")  # doctest: +SKIP
    >>> region.ingest().fine.rejected  # doctest: +SKIP
    {}
    >>> region.fit().days  # doctest: +SKIP
    ('2021-04-01', '2021-05-03')
    >>> region.fuse()  # doctest: +SKIP
    >>> region.evaluate().scores  # doctest: +SKIP
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def from_file(cls, path: str | Path, changes: Mapping[str, Any] | None = None) -> Region:
        """Read the TOML file of a region.

        Parameters
        ----------
        path : str or pathlib.Path
            The file; relative paths in it are relative to its folder.
        changes : mapping, optional
            Keys that override the file, by section.

        Returns
        -------
        Region
            The region.

        Raises
        ------
        ConfigError
            If the file is missing, not TOML, or a key or value is not usable.
        """
        return cls(read_config(path, changes))

    def __repr__(self) -> str:
        c = self.config
        return (
            f"Region({c.fine.product} and {c.coarse.product}, {c.method.name}, "
            f"{public(c.fuse.output)!r})"
        )

    @property
    def folder(self) -> Path:
        """Return the folder of the records, the log, the status page and the report of updates."""
        return folder_of(self.config)

    # --- steps ------------------------------------------------------------------------------------

    def ingest(
        self,
        *,
        overwrite: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Ingested:
        """Bring both cubes up to date with their archives, and compare the sensors.

        Raises what `biastf_xr.cube.ingest` does.

        Parameters
        ----------
        overwrite : bool
            Build both cubes from the start.
        dry_run : bool
            Open no scene and change nothing.
        progress : callable, optional
            Called as scenes and days are finished.

        Returns
        -------
        Ingested
            What was done to both cubes, and how well the sensors agree.
        """
        say = progress or _ignore
        done = _sensors.ingest_both(self.config, say, overwrite=overwrite, dry_run=dry_run)
        if dry_run or done[2] is None:
            return Ingested(*done)
        return Ingested(*done, self._screen(say))

    def fit(self, *, dry_run: bool = False, progress: Progress | None = None) -> Fitted:
        """Fit the method without the withheld dates, and save it.

        Raises what `biastf_xr.fit` does.

        Parameters
        ----------
        dry_run : bool
            Fit nothing.
        progress : callable, optional
            Called after every epoch of a network, and every date of other methods.

        Returns
        -------
        Fitted
            The method, and what it learned from.
        """
        config, method = self.config, self.config.method
        plan = Fitted(method.name, learned=method.learned, checkpoint=method.checkpoint)
        if not method.learned:
            return plan if dry_run else replace(plan, model=self.method())
        fine, coarse = self._cubes()
        fine, withheld = drop_days(fine, self._withheld()), self._withheld()
        plan = replace(plan, bands=bands_of(fine), withheld=withheld)
        if dry_run:
            pair = pair_cubes(fine, coarse)
            options = check_options(method.name, method.options)
            rule = config.fuse.rule().bracket
            chosen = method_class(method.name).training_days(pair, options, rule)
            return replace(plan, days=tuple(map(str, chosen)))
        started = time.perf_counter()
        with ExitStack() as stack:
            client = None
            if method.train_on == "cluster":
                from biastf_xr.cluster import connect

                client = stack.enter_context(connect(config.cluster.spec()))
            model: Any = fit(
                fine,
                coarse,
                method.name,
                client=client,
                path=method.checkpoint,
                progress=_staged(progress, "train"),
                **config.fit_options(),
            )
        picture = None
        if hasattr(model, "plot_history"):
            path = method.checkpoint.with_name(f"{method.checkpoint.name}.png")
            picture = model.plot_history(path)
        seconds = time.perf_counter() - started
        days = tuple(model.card.days)
        return replace(plan, days=days, model=model, picture=picture, seconds=seconds)

    def plan(self, *, trial: bool = True) -> Preview:
        """Return what `fuse` would do; reads metadata only.

        Raises what `biastf_xr.plan` does.

        Parameters
        ----------
        trial : bool
            Try the method for a few seconds, to estimate the time.

        Returns
        -------
        Preview
            The plan, a table of dates, and totals.
        """
        from biastf_xr.fusion._preview import plan

        return plan(*self._paths(), self.method(), trial=trial, **self._fusion_options())

    def fuse(
        self,
        *,
        overwrite: bool = False,
        revise: bool = False,
        progress: Progress | None = None,
    ) -> RunReport:
        """Predict the days that the fused cube has not, or has from other inputs.

        `plan` is its dry run.  Raises what `biastf_xr.write_fused` does; what was finished is kept.

        Parameters
        ----------
        overwrite : bool
            Replace a fused cube that is there by a new one.
        revise : bool
            Recompute a cube of another method or rule in place.
        progress : callable, optional
            Called when the cluster is there, and after every unit.

        Returns
        -------
        RunReport
            What was done.
        """
        from biastf_xr.cluster import connect
        from biastf_xr.fusion._run import write_fused

        say, spec = progress or _ignore, self.config.cluster.spec()
        with ExitStack() as stack:

            def connected() -> Any:
                """Return the cluster, once there is something to do."""
                client = stack.enter_context(connect(spec))
                say("cluster", 1, 1, _about(client))
                return client

            return write_fused(
                *self._paths(),
                self.method(),
                client=connected,
                gpu=spec.gpu,
                overwrite=overwrite,
                revise=revise,
                progress=lambda state: say("fuse", state.done, state.total, _speed(state)),
                log=_log_path(self.config.fuse.output),
                **self._fusion_options(),
            )

    def evaluate(
        self,
        *,
        dates: Any = (),
        cube: str | None = None,
        method: str | Method | None = None,
        also: Sequence[str] = (),
        design: Design | None = None,
        pictures: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Score predictions of scenes that they were made without, beside the simple baselines.

        A fused cube made with withheld dates is scored as it is.  Otherwise scenes are withheld as
        the design says, and a learned method is fitted without them.

        Parameters
        ----------
        dates : array_like of dates
            Dates to score; by default the withheld ones, else those that the design chooses.
        cube : str, optional
            Fused cube to score; by default that of the region where it withholds dates.
        method : str or Method, optional
            What predicts; by default the method of the region.
        also : sequence of str
            More methods to predict with, each with its defaults.
        design : Design, optional
            What is withheld; by default each date in turn.
        pictures : bool
            Keep small pictures of every date for the report.
        dry_run : bool
            Predict nothing.
        progress : callable, optional
            Called before every prediction.

        Returns
        -------
        Evaluation
            The scores, and what was withheld and predicted.

        Raises
        ------
        ConfigError
            If a cube and a design are given.
        LeakError
            If a prediction has seen what it is scored on.
        MissingPairError
            If there is no date to withhold, or a method could be scored on no date.
        """
        from biastf_xr.evaluation import Gallery, LeaveOneOut, evaluate, score_cube

        config = self.config
        if cube is not None and design is not None:
            raise ConfigError(
                f"the cube {cube} is scored as it was made; a design withholds scenes and predicts "
                "again. Give one of the two."
            )
        fine, coarse = self._cubes()
        inputs = {"fine cube": config.fine.cube, "coarse cube": config.coarse.cube}
        gallery = Gallery() if pictures else None
        shared: dict[str, Any] = {"rule": config.fuse.rule(), "on_prediction": gallery}
        asked = tuple(map(str, to_days(dates, "the date to score")))
        if cube is None and design is None and method is None and not asked and self._withheld():
            cube = config.fuse.output
        if cube is not None:
            inputs["fused cube"] = cube
            days = asked or self._withheld()
            found = None if dry_run else score_cube(
                open_cube(cube), fine, coarse, list(days), name=config.method.name, **shared
            )  # fmt: skip
            return Evaluation(inputs, cube, days, scores=found, _gallery=gallery)
        pair, rule = pair_cubes(fine, coarse), design or LeaveOneOut()
        chosen = to_days(asked) if asked else rule.choose(pair)
        about: dict[str, Any] = {
            "dates": tuple(map(str, chosen)),
            "design": rule.describe(),
            "methods": tuple(dict.fromkeys((*BASELINES, config.method.name, *also))),
            "folds": tuple(rule.folds(pair, chosen)),
        }
        if dry_run:
            return Evaluation(inputs, None, **about)
        if method is None:
            refit = config.method.learned and config.method.refit != "never"
            method = config.method.name if refit else self.method()
        done = [0]

        def _count(day: str, name: str) -> None:
            """Report a prediction."""
            done[0] += 1
            if progress:
                progress("evaluate", done[0], None, f"{day} {name}")

        scores = evaluate(
            fine,
            coarse,
            [method, *also],
            design=rule,
            dates=chosen,
            fit_options=config.fit_options() if config.method.learned else None,
            progress=_count,
            **shared,
        )
        return Evaluation(inputs, None, scores=scores, _gallery=gallery, **about)

    def export(
        self, folder: str | Path, *, progress: Progress | None = None, **options: Any
    ) -> list[Path]:
        """Write days of the fused cube as Cloud-Optimised GeoTIFFs.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where the files go.
        progress : callable, optional
            Called as files are finished.
        **options
            As of `biastf_xr.cube.export_cogs`: ``dates``, ``bands``, ``dtype``,
            ``overwrite``, ``dry_run``.

        Returns
        -------
        list of pathlib.Path
            The files.
        """
        from biastf_xr.cube._export import export_cogs

        say = _staged(progress, "export")
        return export_cogs(self.config.fuse.output, folder, progress=say, **options)

    def publish(
        self, folder: str | Path, *, progress: Progress | None = None, **options: Any
    ) -> PublishReport:
        """Write a static STAC catalogue of the fused cube, or bring it up to date.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where the catalogue goes.
        progress : callable, optional
            Called as dates are finished.
        **options
            As of `biastf_xr.publish.catalogue.publish`: ``licence``, ``dates``, ``dry_run`` and
            others.

        Returns
        -------
        PublishReport
            What was done.
        """
        from biastf_xr.publish.catalogue import publish

        say = _staged(progress, "publish")
        return publish(self.config.fuse.output, folder, progress=say, **options)

    # --- upkeep -----------------------------------------------------------------------------------

    def update(
        self,
        *,
        dry_run: bool = False,
        today: dt.date | None = None,
        progress: Progress | None = None,
        on_step: OnStep | None = None,
    ) -> UpdateReport:
        """Bring everything up to date: the scheduled job.

        Ingests what is new, fits the method if `refit` says so, fuses what that changes, scores the
        newest scene that can be withheld, writes the report, exports and publishes; then writes the
        record of the run and the status page.  A step that fails ends the run, except that units
        which failed do not keep the rest from being scored and handed on.  What was finished is
        kept, and the next run goes on.  Errors are in the report, they are not raised.

        Parameters
        ----------
        dry_run : bool
            Write nothing, neither records nor cubes.
        today : datetime.date, optional
            The day that ages are counted from; today in UTC by default.
        progress : callable, optional
            Called as of the single steps.
        on_step : callable, optional
            Called after every step with its record and what the step returned.

        Returns
        -------
        UpdateReport
            What every step did, and the exit code that a scheduler should see.

        Examples
        --------
        >>> report = Region.from_file("region.toml").update()  # doctest: +SKIP
        >>> report.exit_code  # doctest: +SKIP
        <ExitCode.DONE: 0>
        """
        return run_update(
            self, dry_run=dry_run, today=today, progress=progress or _ignore, on_step=on_step
        )

    def status(self, *, dry_run: bool = False, today: dt.date | None = None) -> Path:
        """Write the status page from the records and the cubes as they are.

        Parameters
        ----------
        dry_run : bool
            Write nothing.
        today : datetime.date, optional
            The day that ages are counted from; today in UTC by default.

        Returns
        -------
        pathlib.Path
            The page.

        Raises
        ------
        StoreWriteError
            If it cannot be written.
        """
        return status_path(self.config) if dry_run else write_status(self.config, today=today)

    def tidy(self, *, dry_run: bool = False) -> tuple[Leftover, ...]:
        """Remove what killed runs left: unfinished builds, retired copies, temporary files.

        Parameters
        ----------
        dry_run : bool
            Remove nothing.

        Returns
        -------
        tuple of Leftover
            What was found, and why it stays where it does.
        """
        return remove_leftovers(self.config, dry_run=dry_run)

    def doctor(self, folder: str | Path = ".") -> list[Check]:
        """Check this machine and the run: what will work, what will not, what to do about it.

        Parameters
        ----------
        folder : str or pathlib.Path
            Folder to write to, to see whether that works; left as it was.

        Returns
        -------
        list of Check
            What was checked.
        """
        from biastf_xr._doctor import check_machine, check_run

        return [*check_machine(Path(folder)), *check_run(self.config)]

    # --- parts ------------------------------------------------------------------------------------

    def method(self) -> Method:
        """Return the configured method, a learned one from its checkpoint.

        Returns
        -------
        Method
            The method, ready to fuse.

        Raises
        ------
        CheckpointError
            If the model is missing or damaged.
        ConfigError
            If it is a model of another method.
        """
        section = self.config.method
        if not section.learned:
            return get_method(section.name, **section.options)
        method = load_method(section.checkpoint, device=section.device, precision=section.precision)
        if method.name != section.name:
            raise ConfigError(
                f"`method.name` is {section.name!r} and {section.checkpoint} is a model of "
                f"{method.name!r}. Name that method, or fit the one that is named."
            )
        return method

    def grids(self) -> tuple[GeoBox | None, GeoBox | None]:
        """Return the analysis grids of the section ``[grid]``.

        Zone and pixels are those of the fine cube, before it is there of the fine scenes, where the
        section does not state them.

        Returns
        -------
        tuple of odc.geo.geobox.GeoBox or None
            The fine and the coarse grid; None where the scenes keep their pixels.

        Raises
        ------
        ConfigError
            If the region or the CRS cannot be used.
        """
        return _sensors.grids(self.config)

    def missing_inputs(self) -> str:
        """Return what `plan` and `fuse` need that is not there yet.

        Returns
        -------
        str
            "the cubes", "the model", or "" where nothing is missing.
        """
        *cubes, _ = self._paths()
        if not all(store_at(path).exists() for path in cubes):
            return "the cubes"
        method = self.config.method
        return "the model" if method.learned and not method.checkpoint.exists() else ""

    def _paths(self) -> tuple[str, str, str]:
        return self.config.fine.cube, self.config.coarse.cube, self.config.fuse.output

    def _cubes(self) -> tuple[xr.Dataset, xr.Dataset]:
        return open_cube(self.config.fine.cube), open_cube(self.config.coarse.cube)

    def _screen(self, say: Progress) -> ScreenReport | None:
        """Bring the screening of the fine cube up to date, or take it out."""
        from biastf_xr.fusion._screen_store import clear_screen, update_screen

        config = self.config
        if not config.fuse.screen:
            clear_screen(config.fine.cube)
            return None
        try:
            return update_screen(
                config.fine.cube,
                config.coarse.cube,
                withhold=config.fuse.withhold,
                progress=lambda day, done, total: say("screen", done, total, day),
            )
        except MissingPairError:  # none is left without the withheld scenes: `fuse` says so
            return None
        except (BiastfError, OSError, RuntimeError, ValueError) as error:
            # A chunk is damaged: `fuse` names it. A store that is locked or full, or a cube that
            # does not fit, is nothing of a library's, and ends the ingest.
            damaged = isinstance(error, CubeStructureError) and error.__cause__ is not None
            if isinstance(error, BiastfError) and not damaged:
                raise
            say("screening", 1, 1, f"nothing was screened, the cubes cannot be read: {error}")
            return None

    def _withheld(self) -> tuple[str, ...]:
        return tuple(map(str, self.config.fuse.withhold))

    def _fusion_options(self) -> dict[str, Any]:
        """Return which days are fused, and from what."""
        section = self.config.fuse
        return {
            "dates": self._target_dates(),
            "withhold": list(self._withheld()),
            "rule": section.rule(),
            "tile": section.tile,
        }

    def _target_dates(self) -> Any:
        """Return the days to predict."""
        start, end = self.config.fuse.start, self.config.fuse.end
        if start is None and end is None:
            return "daily"
        season = season_of(open_cube(self.config.coarse.cube, chunks=None))
        first = np.datetime64(start) if start else season[0]
        last = np.datetime64(end) if end else season[1]
        if last < first:
            raise ConfigError(
                f"no day to fuse: start {first}, end {last}; the coarse cube spans {season[0]} to "
                f"{season[1]}."
            )
        return [str(d) for d in np.arange(first, last + np.timedelta64(1, "D"))]


def _ignore(stage: str, done: int, total: int | None, note: str) -> None:
    """Report progress to nobody."""


def _staged(progress: Progress | None, stage: str) -> Callable[[str, int, int], None] | None:
    """Return the progress of a single stage, as the functions of the library take it."""
    return progress and (lambda name, done, total: progress(stage, done, total, name))


def _about(client: Any) -> str:
    """Return where the units of a run are computed."""
    from biastf_xr.cluster import dashboard

    if client is None:
        return "units run in threads of this process"
    link = dashboard(client)
    where = f"dashboard {link}" if link else "dashboard: install the extra `dashboard`"
    about = f"cluster with {len(client.nthreads())} workers, {where}"
    address = client.scheduler.address
    if address.startswith(("tls:", "gateway:", "inproc:")):
        return about
    return f"{about}; no TLS: whoever reaches {address} can run code as you"


def _speed(state: RunState) -> str:
    """Return how fast a run is, and how much memory its workers have."""
    memory = state.memory.values()
    workers = f"; workers {size(min(memory))} to {size(max(memory))}" if memory else ""
    return f"{state.rate:.2f} Mpx/s{workers}"


def _log_path(output: str) -> Path:
    """Return the log of the units: beside the cube, or here for a cube behind a URL."""
    place = store_at(output).beside
    return place.with_name(f"{place.name}.log.jsonl")
