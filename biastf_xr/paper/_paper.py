"""The paper's protocol on its own data sets: predict the published targets with every method.

A `PaperProtocol` states what is predicted from what; predictions and scores are kept in a folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biastf_xr._days import to_days
from biastf_xr._files import own_folder, own_name, read_bytes, write_text
from biastf_xr._tables import plain
from biastf_xr.brackets import BracketRule
from biastf_xr.cube._cube import bands_of
from biastf_xr.cube._guards import pair_cubes
from biastf_xr.cube.stores import store_at
from biastf_xr.errors import BiastfError, ConfigError, CubeExistsError, LeakError, MissingPairError
from biastf_xr.evaluation.metrics import score_image
from biastf_xr.fusion._lazy import fuse
from biastf_xr.fusion._plan import FusionRule
from biastf_xr.methods import LEARNED, fit, get_method
from biastf_xr.paper._inputs import find_download, make_cubes
from biastf_xr.paper._maps import image_of, on_fine_grid
from biastf_xr.paper._protocol import CROPS, Cell, PaperProtocol
from biastf_xr.paper._published import MEASURES
from biastf_xr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from biastf_xr.methods.base import Float, Method
    from biastf_xr.paper._inputs import Download

# Called with the stage ("ingest", "predict"), the steps done, the steps in all, and what is next.
PaperProgress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class PaperRun:
    """A run of the protocol, kept in a folder.

    `scores`: Columns pair, date, measure, band, method, value, pixels, share: the pixels
    scored, and their share of those that the three fine images show clearly.
    `made`, `kept`: What was computed by this run, and what was there.
    `failed`: Why a cell has no result.
    `fine`, `coarse`: The cubes, cropped, lazy.
    """

    folder: Path
    protocol: PaperProtocol
    scores: Any
    made: tuple[Cell, ...]
    kept: tuple[Cell, ...]
    failed: dict[Cell, str]
    fine: xr.Dataset
    coarse: xr.Dataset

    def prediction(self, pair: int, method: str) -> xr.Dataset:
        """Open the prediction of a cell.

        Returned: Lazy: the bands, dims ``(y, x)``, reflectance, NaN where there is none.
        """
        import xarray as xr

        path = _prediction_store(self.folder, Cell(pair, method))
        found: xr.Dataset = xr.open_zarr(store_at(path).reader(), decode_coords="all")
        return found


def cells_of(
    root: Path | str, folder: Path | str, protocol: PaperProtocol, *, revise: bool = False
) -> tuple[dict[Cell, dict[str, Any]], tuple[Cell, ...], Download]:
    """Return what `run_paper` would do; reads no image.

    `revise`: Whether results of other inputs or settings may be replaced.
    """
    cells = [Cell(t, m) for t in protocol.targets for m in protocol.methods]
    days = sorted({d for c in cells for d in protocol.needed(c.pair, c.method)})
    download = find_download(protocol.dataset, root, days)
    records = {c: _record(protocol, c, download) for c in cells}
    return records, _kept(Path(folder), records, revise=revise), download


def run_paper(
    root: Path | str,
    folder: Path | str,
    protocol: PaperProtocol,
    *,
    revise: bool = False,
    progress: PaperProgress | None = None,
) -> PaperRun:
    """Run the paper's protocol on a download, and keep every prediction and score in a folder.

    Eager, one target and one method at a time.  What the folder has from the same inputs and
    settings is kept: an interrupted run is completed by the next one.  A method that cannot do a
    target does not stop the others.

    `revise`: Whether results of other inputs or settings may be replaced.
    `progress`: Called after every scene that is ingested, and before every cell.
    """
    folder = Path(folder)
    report = progress or (lambda *_: None)
    records, kept, download = cells_of(root, folder, protocol, revise=revise)
    fine, coarse = make_cubes(
        download, folder / "cubes", protocol.coarse,
        lambda done, of, name: report("ingest", done, of, name),
    )  # fmt: skip
    fine = _cropped(fine, protocol)
    failed: dict[Cell, str] = {}
    todo = [c for c in records if c not in kept]
    target: _Target | None = None
    for done, cell in enumerate(todo):
        report("predict", done, len(todo), f"{protocol.day(cell.pair)} {cell.method}")
        try:
            if target is None or target.pair != cell.pair:
                target = _Target.load(protocol, cell.pair, fine, coarse)
            _make(folder, protocol, cell, records[cell], target, fine, coarse)
        except BiastfError as error:
            failed[cell] = f"{type(error).__name__}: {error}"
    if todo:
        report("predict", len(todo), len(todo), "")
    made = tuple(c for c in todo if c not in failed)
    scores = _scores(folder, protocol, [c for c in records if c not in failed])
    return PaperRun(folder, protocol, scores, made, kept, failed, fine, coarse)


@dataclass(frozen=True)
class _Target:
    """What the predictions of one target are judged by."""

    pair: int
    truth: Float
    valid: NDArray[np.bool_]

    @classmethod
    def load(
        cls, protocol: PaperProtocol, pair: int, fine: xr.Dataset, coarse: xr.Dataset
    ) -> _Target:
        """Read the truth; valid is where all images of the three dates are."""
        days = [protocol.day(k) for k in (pair - 1, pair, pair + 1)]
        alignment = pair_cubes(fine, coarse).alignment
        valid = np.ones(alignment.shape, bool)
        for day in days:
            valid &= np.isfinite(image_of(fine, day)).all(axis=0)
            seen = on_fine_grid(image_of(coarse, day), alignment, "nearest")
            valid &= np.isfinite(seen).all(axis=0)
        truth = image_of(fine, days[1])
        if not valid.any():
            raise MissingPairError(
                f"no pixel is clear in the images of both sensors on {', '.join(days)}."
            )
        return cls(pair, truth, valid)


def _make(
    folder: Path,
    protocol: PaperProtocol,
    cell: Cell,
    record: dict[str, Any],
    target: _Target,
    fine: xr.Dataset,
    coarse: xr.Dataset,
) -> None:
    """Predict, score, and keep both; the score last, so that it stands for a whole cell."""
    started = time.perf_counter()
    method = _built(folder, protocol, cell, fine, coarse)
    rest = _only(fine, protocol.bases(cell.pair, cell.method))
    rule = FusionRule(bracket=BracketRule(max_layers=1, min_clear=0.0), coarse_gaps="leave")
    fused = fuse(rest, coarse, method, dates=[protocol.day(cell.pair)], rule=rule)
    bands = bands_of(fine)
    image = fused[list(bands)].isel(time=0, drop=True).load()
    values = np.stack([image[band].values for band in bands])
    scored = target.valid & np.isfinite(values).all(axis=0)
    if not scored.any():
        raise MissingPairError(
            f"{cell.method} predicted none of the {int(target.valid.sum()):,} pixels that are "
            f"clear on the dates around {protocol.day(cell.pair)}."
        )
    nan = np.float32(np.nan)
    scores = score_image(
        np.where(scored, values, nan), np.where(scored, target.truth, nan), bands, protocol.ratio
    )
    _write_prediction(_prediction_store(folder, cell), image)
    found = {
        "record": record,
        "made_by": plain(method.describe()),
        "seconds": round(time.perf_counter() - started, 2),
        "pixels": int(scored.sum()),
        "share": float(scored.sum() / target.valid.sum()),
        "scores": [[m, b, v] for (m, b), v in scores.items() if m in MEASURES],
    }
    own_folder(folder / "cells")
    write_text(_score_file(folder, cell), json.dumps(found, indent=1))


def _built(
    folder: Path, protocol: PaperProtocol, cell: Cell, fine: xr.Dataset, coarse: xr.Dataset
) -> Method:
    """Build the method; fit a learned one on a cube that has not the target."""
    options = dict(protocol.options.get(cell.method, {}))
    if cell.method not in LEARNED:
        return get_method(cell.method, **options)
    rest = _only(fine, protocol.trained_on(cell.pair))
    method = fit(rest, coarse, cell.method, **options)
    if protocol.day(cell.pair) in method.describe().get("trained_on", []):
        raise LeakError(f"{cell.method} was trained on its target {protocol.day(cell.pair)}.")
    save: Any = getattr(method, "save", None)
    if save:
        method = save(own_name(own_folder(folder / "models") / f"{cell}.safetensors"))
    return method


def _only(cube: xr.Dataset, days: tuple[str, ...]) -> xr.Dataset:
    """Keep the named days of a cube, so that nothing downstream can read the others."""
    return cube.isel(time=np.flatnonzero(np.isin(to_days(cube["time"]), to_days(days))))


def _cropped(fine: xr.Dataset, protocol: PaperProtocol) -> xr.Dataset:
    if not protocol.crop:
        return fine
    y, x, rows, cols = CROPS[protocol.dataset]
    if y + rows > fine.sizes["y"] or x + cols > fine.sizes["x"]:
        raise ConfigError(
            f"the crop of {protocol.dataset} ends at row {y + rows}, column {x + cols}; the images "
            f"have {fine.sizes['y']} and {fine.sizes['x']}. Run the full frame."
        )
    return fine.isel(y=slice(y, y + rows), x=slice(x, x + cols))


def _write_prediction(path: Path, image: xr.Dataset) -> None:
    from biastf_xr.cube._encoding import codecs, round_mantissa

    bands = [str(b) for b in image.data_vars]
    kept = image.drop_encoding()
    for band in bands:
        kept[band] = kept[band].copy(data=round_mantissa(kept[band].values))
    shape = tuple(min(512, kept.sizes[d]) for d in ("y", "x"))
    encoding = {band: {"chunks": shape, "compressors": codecs(4)} for band in bands}
    own_folder(path.parent)
    store = store_at(own_name(path))
    with store.lock(), store.build("prediction", replace=True) as edit:
        kept.to_zarr(edit.store, mode="w-", encoding=encoding, consolidated=False)


def _prediction_store(folder: Path, cell: Cell) -> Path:
    return folder / "predictions" / f"{cell}.zarr"


def _score_file(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell}.json"


def _record(protocol: PaperProtocol, cell: Cell, download: Download) -> dict[str, Any]:
    """Return all that a cell's result depends on, as JSON."""
    learned = cell.method in LEARNED
    return {
        "version": __version__,
        "dataset": protocol.dataset,
        "pair": cell.pair,
        "date": protocol.day(cell.pair),
        "method": cell.method,
        "options": plain(protocol.options.get(cell.method, {})),
        "bases": list(protocol.bases(cell.pair, cell.method)),
        "trained_on": list(protocol.trained_on(cell.pair)) if learned else [],
        "coarse": protocol.coarse,
        "crop": list(CROPS[protocol.dataset]) if protocol.crop else None,
        "ratio": protocol.ratio,
        "files": download.stamps(protocol.needed(cell.pair, cell.method)),
    }


def _kept(
    folder: Path, records: Mapping[Cell, dict[str, Any]], *, revise: bool
) -> tuple[Cell, ...]:
    """Find the cells that are there already; refuse those of other settings or inputs."""
    kept, other = [], {}
    for cell, record in records.items():
        path = _score_file(folder, cell)
        if not (path.exists() and _prediction_store(folder, cell).exists()):
            continue
        known = json.loads(read_bytes(path))["record"]
        if known == record:
            kept.append(cell)
        else:
            other[cell] = [k for k in record if known.get(k) != record[k]]
    if other and not revise:
        cell, keys = next(iter(other.items()))
        raise CubeExistsError(
            f"{folder} has {len(other)} results of other inputs or settings, as {cell}, which "
            f"differs in {', '.join(keys)}. Choose another folder, or have them recomputed: "
            "--revise (`revise=True`)."
        )
    return tuple(kept)


def _scores(folder: Path, protocol: PaperProtocol, cells: list[Cell]) -> Any:
    import pandas as pd

    columns = ["pair", "date", "measure", "band", "method", "value", "pixels", "share"]
    rows = []
    for cell in cells:
        found = json.loads(read_bytes(_score_file(folder, cell)))
        rows += [
            (cell.pair, protocol.day(cell.pair), measure, band, cell.method, value,
             found["pixels"], found["share"])
            for measure, band, value in found["scores"]
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
