"""What a fit of the variant "plus" leaves: a few numbers and all that made them, in one file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from biastf_xr.errors import CheckpointError, MethodError
from biastf_xr.methods.plus.settings import PlusRule

if TYPE_CHECKING:
    from pathlib import Path

FORMAT, NAME = 1, "biastf-plus"


@dataclass(frozen=True)
class PlusCard:
    """What was learned of two sensors, and from what.

    `bands`: Bands it holds for.
    `ratio`: Coarse over fine pixel size.
    `rule`: The options; see `PlusRule`.
    `response`: What the coarse sensor makes of a fine change of 1, by band.
    `spread`: Standard deviation of the coarse change that the fine sensor does not share, by
    band.
    `noise`, `jitter`: Noise of one coarse observation, by band; see
    `biastf_xr._series.Smoothing`.
    `error`: By number of base dates ("one", "two"), for every band the three terms of the
    variance of the error; see `biastf_xr.methods.plus._uncertainty`.
    `trust`: By number of base dates, how far predictions depart from interpolation in time: 1
    where that pays on known dates, less down to 0 where it does not.
    `calibrated`: By number of base dates, how many dates the terms were fitted on; 0 where they
    are assumed.
    `days`: Fine dates the fit has seen, ascending.
    `coverage`: By number of base dates, share of errors within the nominal 68 % interval on
    those dates.
    `versions`: Versions of the libraries.
    `format`: Version of this card.
    """

    bands: tuple[str, ...]
    ratio: float
    rule: dict[str, Any]
    response: tuple[float, ...]
    spread: tuple[float, ...]
    noise: tuple[float, ...]
    jitter: tuple[float, ...]
    error: dict[str, tuple[tuple[float, ...], ...]]
    trust: dict[str, float]
    calibrated: dict[str, int]
    days: tuple[str, ...]
    coverage: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    method: str = NAME


def write_model(path: Path, card: PlusCard) -> str:
    """Write a model.

    `path`: File to write; written beside its place and moved there when complete.
    """
    from safetensors.numpy import save

    data = save({}, metadata={"card": json.dumps(asdict(card), sort_keys=True)})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
    return hashlib.sha256(data).hexdigest()


def read_model(path: Path) -> tuple[PlusCard, str]:
    """Read a model."""
    from biastf_xr.methods.biastf._checkpoint import read_fields

    fields = read_fields(path)
    found = fields.get("format")
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        raise CheckpointError(
            f"{path} has card format {found}, this biastf_xr reads {FORMAT}. "
            + ("It was written by a newer version: update biastf_xr" if newer else "Fit it again")
            + f"; it was written by {fields.get('versions', {}).get('biastf_xr')}."
        )
    try:
        card = PlusCard(**{k: _frozen(v) for k, v in fields.items()})
        PlusRule(**card.rule)
    except (TypeError, KeyError, MethodError) as error:
        raise CheckpointError(f"{path}: its card cannot be used ({error}).") from error
    return card, hashlib.sha256(path.read_bytes()).hexdigest()


def _frozen(value: Any) -> Any:
    """Turn JSON's lists back into tuples."""
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, dict):
        return {k: _frozen(v) for k, v in value.items()}
    return value
