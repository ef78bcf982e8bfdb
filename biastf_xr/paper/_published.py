"""The results that Li et al. (2020) publish: their Tables 2, 3 and 4.

The numbers are those of the paper.  Three things are readings, because the headers of the tables
could not be read and the paper gives no dates:

* the order of the methods: the last column is BiaSTF for certain; ESTARFM, FSDAF and STFDCNN for
  the first three are inferred from the acknowledgement and from how the columns behave;
* the dates: "8th pair" is taken for the 8th of the pairs that the set comes with, in time;
* the bands: 1 to 6 are taken for blue, green, red, nir, swir1, swir2, the order of the files.

References
----------
Li Y., Li J., He L., Chen J., Plaza A., Sci. China Inf. Sci. 63, 140302, 2020,
doi 10.1007/s11432-019-2805-y.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from biastf_xr.errors import ConfigError
from biastf_xr.evaluation._image_sums import BEST

if TYPE_CHECKING:
    import pandas as pd

Dataset = Literal["cia", "lgc"]

# Columns of the tables; the order of the first three is inferred.
PUBLISHED_METHODS = ("estarfm", "fsdaf", "stfdcnn", "biastf")

# The measures, in the order of Table 2.
MEASURES = ("RMSE", "CC", "ERGAS", "SSIM", "SAM")

# Targets: ordinals of the pairs that the paper predicts, and the one it shows band by band.
TARGETS: dict[str, tuple[int, ...]] = {"cia": tuple(range(8, 15)), "lgc": tuple(range(7, 14))}
BAND_BY_BAND: dict[str, int] = {"cia": 10, "lgc": 8}


def published(dataset: str | None = None, table: int | None = None) -> pd.DataFrame:
    """Return the published results."""
    if dataset is not None:
        check_dataset(dataset)
    rows = _rows()
    keep = np.ones(len(rows), bool)
    for column, value in (("dataset", dataset), ("table", table)):
        if value is not None:
            keep &= rows[column].to_numpy() == value
    return rows[keep].reset_index(drop=True)


def check_dataset(dataset: str) -> None:
    """Refuse a set that the paper has no results of."""
    if dataset not in get_args(Dataset):
        raise ConfigError(
            f"the paper has no results on {dataset!r}; expected one of {list(get_args(Dataset))}."
        )


def best_of(values: pd.Series, measure: str) -> str | None:
    """Name the best of several values of one measure.

    `values`: Values by name; NaN is left out.
    """
    known = values.dropna()
    if known.empty:
        return None
    return str(known.idxmax() if BEST[measure] == "high" else known.idxmin())


@cache
def _rows() -> pd.DataFrame:
    import pandas as pd

    with files(__package__).joinpath("published.csv").open(encoding="utf-8") as file:
        wide = pd.read_csv(file)
    keys = [c for c in wide.columns if c not in PUBLISHED_METHODS]
    return wide.melt(keys, list(PUBLISHED_METHODS), var_name="method", value_name="value")
