"""The measures of several methods on several dates, as tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._summary import Summary, Told
from biastf_xr.evaluation._calibration import LEVELS
from biastf_xr.evaluation._statistics import REFERENCES, Comparison, compare_with_rivals
from biastf_xr.evaluation._tally import CHANGE_CLASSES, DISTANCE_CLASSES
from biastf_xr.methods import BASELINES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from biastf_xr.evaluation._judged import Judged
    from biastf_xr.evaluation._tally import Tally

CLASSES = {"change": CHANGE_CLASSES, "distance": DISTANCE_CLASSES}

_COLUMNS = {
    "table": ("date", "method", "measure", "band", "value", "pixels"),
    "classes": (
        "date", "method", "kind", "class", "band", "pixels", "RMSE", "MAE", "bias",
    ),
    "coverage": ("date", "method", "band", "nominal", "inside", "pixels"),
    "dates": ("date", "before", "after", "distance", "pixels", "share"),
}  # fmt: skip


def _table(name: str, rows: Sequence[dict[str, Any]] = ()) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(_COLUMNS[name]))


@dataclass(frozen=True)
class Note:
    """Something that could not be computed.

    `date`: The date, or "" for all.
    `method`: The method, or "" for all.
    """

    date: str
    method: str
    reason: str

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.date, self.method) if part)
        return f"{about}: {self.reason}"


@dataclass(frozen=True, repr=False)
class Scores(Told):
    """Measures of several methods on several dates.

    `table`: Columns date, method, measure, band, value, pixels.
    `ratio`: Fine over coarse pixel size that ERGAS was computed with.
    `classes`: Columns date, method, kind ("change" or "distance"), class, band, pixels, RMSE,
    MAE, bias.
    `coverage`: Of methods that state an uncertainty: columns date, method, band, nominal,
    inside, pixels.
    `dates`: Columns date, before, after (nearest reachable base dates), distance (days to the
    nearer), pixels, share (of the area).
    `notes`: What could not be computed.
    `methods`: The description of each method.
    """

    table: pd.DataFrame
    ratio: float
    classes: pd.DataFrame = field(default_factory=partial(_table, "classes"))
    coverage: pd.DataFrame = field(default_factory=partial(_table, "coverage"))
    dates: pd.DataFrame = field(default_factory=partial(_table, "dates"))
    notes: tuple[Note, ...] = ()
    design: str = ""
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)

    def _summary(self) -> Summary:
        days = self.table.drop_duplicates("date")
        facts = {
            "design": self.design,
            "withheld dates": f"{len(days)}: {', '.join(days['date'])}",
            "pixels": f"{int(days['pixels'].mean()):,} a date on average, the same of all methods",
            "ratio in ERGAS": f"{self.ratio:.4f} (fine over coarse pixel)",
        }
        notes = [str(one) for one in self.comparisons()]
        notes += [f"not computed: {note}" for note in self.notes]
        notes += [f"{name}: stated uncertainty off by at most {gap:.1f} points of coverage"
                  for name, gap in self.calibration_gaps().items()]  # fmt: skip
        tables = {
            "mean over bands and dates": self.summary().rename_axis("method"),
            "RMSE by date": self.by_date().rename_axis("date"),
            "RMSE by band": self.by_band().rename_axis("method"),
            "RMSE over that of the better of linear and direct": self.ratio_table().drop(
                index=[*BASELINES], errors="ignore"),
        }  # fmt: skip
        made = {name: table for name, table in tables.items() if len(table)}
        return Summary("Scores", facts, made, tuple(notes))

    def summary(self, band: str = "mean") -> pd.DataFrame:
        """Average the measures over the dates."""
        part = self.table[self.table["band"] == band]
        wide = _pivot(part, "method", "measure")
        return wide[list(dict.fromkeys(part["measure"]))]

    def by_date(self, measure: str = "RMSE", band: str = "mean") -> pd.DataFrame:
        """Return one measure for every date.

        Returned: Dates as rows, methods as columns; NaN where a method could not be scored.
        """
        part = self.table[(self.table["measure"] == measure) & (self.table["band"] == band)]
        return _pivot(part, "date", "method")

    def by_band(self, measure: str = "RMSE") -> pd.DataFrame:
        """Return one measure for every band, averaged over the dates."""
        part = self.table[self.table["measure"] == measure]
        wide = _pivot(part, "method", "band")
        return wide[list(dict.fromkeys(part["band"]))]

    def by_class(self, kind: str, measure: str = "RMSE", band: str = "mean") -> pd.DataFrame:
        """Return one measure for every class of pixels, over all dates together.

        `kind`: Classes by the true change since the nearest clear fine image, root mean square over
        the bands in reflectance; or by the days to the nearer base date.
        """
        part = self.classes[self.classes["kind"] == kind]
        power = 2 if measure == "RMSE" else 1
        part = part.assign(total=part[measure] ** power * part["pixels"])
        sums = part.groupby(["method", "class", "band"], sort=False)[["total", "pixels"]].sum()
        mean = (sums["total"] / sums["pixels"]) ** (1 / power)
        values = mean.rename("value").reset_index()
        if band != "mean":
            values = values[values["band"] == band]
        wide = _pivot(values, "method", "class")
        return wide[[c for c in CLASSES[kind] if c in wide.columns]]

    def class_pixels(self, kind: str) -> pd.Series[int]:
        """Count the pixels of every class, over all dates."""
        part = self.classes[self.classes["kind"] == kind]
        one = part.drop_duplicates(["date", "class"])
        return one.groupby("class", sort=False)["pixels"].sum()

    def calibration(self) -> pd.DataFrame:
        """Return nominal and observed coverage of stated uncertainties, over dates and bands."""
        sums = self.coverage.groupby(["nominal", "method"], sort=False)[["inside", "pixels"]].sum()
        shares = (sums["inside"] / sums["pixels"]).rename("value")
        return _pivot(shares.reset_index(), "nominal", "method")

    def calibration_gaps(self) -> dict[str, float]:
        """Return the largest deviation of observed from nominal coverage, in points, by method."""
        shares = self.calibration()
        return {
            str(name): float(100 * np.abs(column - shares.index.to_numpy(float)).max())
            for name, column in shares.items()
        }

    def comparisons(self, measures: Sequence[str] = ("RMSE",)) -> list[Comparison]:
        """Compare every method with "linear", "direct" and its best rival, date by date."""
        scored = list(self.by_date().columns)
        chosen = [m for m in scored if m not in BASELINES] or scored
        wide = {measure: self.by_date(measure) for measure in measures}
        return [
            one
            for method in chosen
            for measure in measures
            for one in compare_with_rivals(wide[measure], method, measure)
        ]

    def ratio_table(self) -> pd.DataFrame:
        """Sum up the RMSE of every date over that of the best of "linear" and "direct"."""
        import pandas as pd

        rows = {
            method: {
                "dates": int(column.notna().sum()),
                "mean ratio": column.mean(),
                "worst ratio": column.max(),
                "worst date": column.idxmax(),
            }
            for method, column in self.ratios().items()
            if column.notna().any()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    def ratios(self, references: Sequence[str] = REFERENCES) -> pd.DataFrame:
        """Return the RMSE of every date over that of the best reference.

        `references`: The methods of which the best counts, date by date.
        Returned: Dates as rows, all methods as columns; below 1 is better than the best of them.
        """
        wide = self.by_date()
        best = wide[[r for r in references if r in wide.columns]].min(axis=1)
        return wide.div(best, axis=0)


class ScoreBook:
    """Collects dates until the tables are made."""

    def __init__(self, bands: tuple[str, ...], ratio: float) -> None:
        self.bands, self.ratio = bands, ratio
        self.notes: list[Note] = []
        self.methods: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}

    def note(self, date: str, method: str, reason: str) -> None:
        """Keep what could not be computed."""
        self.notes.append(Note(date, method, reason))

    def add(self, judged: Judged, tally: Tally) -> None:
        """Enter one date; one that has no pixel to compare is noted."""
        day = str(judged.day)
        if not tally.pixels:
            shares = {m: f"{n / tally.area:.0%}" for m, n in tally.predicted.items()}
            self.note(day, "", "no pixel is clear in the withheld scene and predicted by every "
                      f"method; predicted shares are {shares}. Check the scene's clear fraction, "
                      "and max_gap, min_clear and coarse_max_gap.")  # fmt: skip
            return
        apart = [abs(int((d - judged.day).astype(int)))
                 for d in (judged.before, judged.after) if d is not None]  # fmt: skip
        self._rows["dates"].append({
            "date": day, "before": str(judged.before or ""), "after": str(judged.after or ""),
            "distance": min(apart, default=np.nan), "pixels": tally.pixels,
            "share": tally.pixels / tally.area,
        })  # fmt: skip
        self._rows["table"] += [
            {"date": day, "method": method, "measure": measure, "band": band, "value": value,
             "pixels": tally.pixels}
            for method, sums in tally.images.items()
            for (measure, band), value in sums.measures(self.bands, self.ratio).items()
        ]  # fmt: skip
        self._rows["classes"] += [
            {"date": day, "method": method, "kind": kind, "class": label, "band": band,
             "pixels": m.count, "RMSE": m.rmse, "MAE": m.mae, "bias": m.bias}
            for (method, kind, label), of_bands in tally.classes.items()
            for band, m in zip(self.bands, of_bands, strict=True) if m.count
        ]  # fmt: skip
        self._rows["coverage"] += [
            {"date": day, "method": method, "band": band, "nominal": level, "inside": inside,
             "pixels": one.count}
            for method, of_bands in tally.inside.items()
            for band, one in zip(self.bands, of_bands, strict=True) if one.count
            for level, inside in zip(LEVELS, one.inside, strict=True)
        ]  # fmt: skip

    def scored(self) -> set[str]:
        """Return the methods that were scored on some date."""
        return {row["method"] for row in self._rows["table"]}

    def finish(self, design: str) -> Scores:
        """Make the tables."""
        frames = {name: _table(name, rows) for name, rows in self._rows.items()}
        return Scores(
            ratio=self.ratio, notes=tuple(self.notes), design=design, methods=self.methods, **frames
        )


def _pivot(frame: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    """Spread out the column "value", in the order of the rows; NaN counts as nothing."""
    wide = frame.pivot_table(index=index, columns=columns, values="value", sort=False, dropna=False)
    return wide.reindex(list(dict.fromkeys(frame[index])))
