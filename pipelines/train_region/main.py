"""Fit a region's model, compare it with the one in use, and take it only if it is not worse.

``python main.py config.toml [--dry-run]``.  Both models predict the same scenes, which neither has
seen.  The new one is taken if its error, root mean square, mean over bands and dates, is at most
(1 + tolerance) times that of the model in use; where none is in use, that of the better of linear
and direct.  What is compared is what is taken: the model is not fitted again afterwards.

Exit codes of `biastf_xr.errors.ExitCode`: 0 taken, or the same model; 1 fitted and not taken;
2 an error that needs a person; 4 another run is at work; 130 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
from pydantic import Field

from biastf_xr import Region
from biastf_xr._files import copy_file, own_folder, own_name, read_bytes, read_text, write_text
from biastf_xr.config import Config, Section, build_config, explain
from biastf_xr.cube import open_cube
from biastf_xr.cube.stores._lock import lock_folder
from biastf_xr.errors import BiastfError, ConfigError, ExitCode, MissingPairError
from biastf_xr.fusion._report import utc_now
from biastf_xr.methods import load_method

if TYPE_CHECKING:
    from biastf_xr.evaluation import Scores

NEW, IN_USE = "new model", "model in use"


class Training(Section):
    """The section of the file that says how models are compared.

    `scenes`: Newest clear scenes that are held out of the fit; those of `[fuse] withhold` where
    it names some.
    `min_clear`: Clear fraction that they need.
    `tolerance`: By which share the error of the new model may be larger.
    `ingest`: Whether the cubes are brought up to date first.
    """

    scenes: Annotated[int, Field(ge=1)] = 3
    min_clear: Annotated[float, Field(gt=0, le=1)] = 0.7
    tolerance: Annotated[float, Field(gt=-1)] = 0.0
    ingest: bool = True


@dataclass(frozen=True)
class Decision:
    """What came of a comparison.

    `taken`: Whether the new model is now in use.
    `why`: The rule, with its numbers.
    `dates`: Scenes that were compared on.
    `errors`: Root mean square error by method.
    `model`, `replaced`: Hashes of the new model and of the one that was in use, "" where there
    was none.
    """

    taken: bool
    why: str
    dates: tuple[str, ...]
    errors: dict[str, float]
    model: str
    replaced: str
    at: str


def read(path: Path) -> tuple[Config, Training]:
    """Read the file."""
    try:
        data = tomllib.loads(read_text(path))
        section = Training.model_validate(data.pop("train", {}))
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}, [train]: {explain(error)}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used: {error}.") from error
    config = build_config(data, path)
    if not config.method.learned:
        raise ConfigError(f"{path}: method {config.method.name!r} needs no fit.")
    return config, section


def held_out(config: Config, section: Training) -> list[str]:
    """Choose the scenes to compare on: the newest inner ones that the model in use has not seen."""
    from biastf_xr.cube._guards import pair_cubes
    from biastf_xr.evaluation._designs import inner_dates

    if config.fuse.withhold:
        return sorted(map(str, config.fuse.withhold))
    fine, coarse = (open_cube(p, chunks=None) for p in (config.fine.cube, config.coarse.cube))
    inner = inner_dates(pair_cubes(fine, coarse), section.min_clear)
    seen = trained_on(config.method.checkpoint)
    unseen = [str(day) for day in inner if str(day) not in seen]
    if not unseen:
        raise MissingPairError(
            f"the model in use has learned from all {inner.size} scenes that could be compared on. "
            "Wait for new scenes, name some in `withhold` of [fuse] and fit twice, or move the "
            "model away to begin again."
        )
    return sorted(unseen[::-2][: section.scenes])


def trained_on(checkpoint: Path) -> set[str]:
    """Return the dates that the model in use has learned from."""
    if not checkpoint.exists():
        return set()
    return set(load_method(checkpoint).describe().get("trained_on", ()))


def compare(config: Config, candidate: Path, dates: list[str]) -> Scores:
    """Score both models, and the simple baselines, on the same pixels."""
    from biastf_xr.evaluation import LeaveOneOut, evaluate

    device = {"device": config.method.device, "precision": config.method.precision}
    models: dict[str, Any] = {NEW: load_method(candidate, **device)}
    if config.method.checkpoint.exists():
        models[IN_USE] = load_method(config.method.checkpoint, **device)
    return evaluate(
        open_cube(config.fine.cube), open_cube(config.coarse.cube), models, dates=dates,
        design=LeaveOneOut(together=True), rule=config.fuse.rule(),
    )  # fmt: skip


def decide(scores: Scores, section: Training, candidate: Path, model: Path) -> Decision:
    """Return whether the new model is taken.

    `candidate`, `model`: The new model and the one in use, which may be missing.
    """
    errors = {str(k): float(v) for k, v in scores.by_date().mean().items()}
    reference = IN_USE if IN_USE in errors else min(("linear", "direct"), key=lambda n: errors[n])
    limit = (1 + section.tolerance) * errors[reference]
    taken = errors[NEW] <= limit
    why = (
        f"error {errors[NEW]:.5f}, of {reference} {errors[reference]:.5f}, tolerance "
        f"{section.tolerance:g}: {'not worse' if taken else 'worse'}"
    )
    dates = tuple(scores.dates["date"])
    return Decision(taken, why, dates, errors, digest(candidate), digest(model), utc_now())


def digest(path: Path) -> str:
    """Hash a file."""
    return hashlib.sha256(read_bytes(path)).hexdigest() if path.exists() else ""


def beside(model: Path, what: str) -> Path:
    """Return the name of another model of the region."""
    return model.with_name(f"{model.stem}.{what}{model.suffix}")


def take(candidate: Path, model: Path) -> None:
    """Put the new model in the place of the one in use, which is kept as the previous one."""
    if model.exists():
        copy_file(model, beside(model, "previous"))
    card = candidate.with_name(f"{candidate.name}.json")
    candidate.replace(model)
    if card.exists():
        card.replace(model.with_name(f"{model.name}.json"))


def run(config: Config, section: Training) -> ExitCode:
    """Fit, compare, decide."""
    from biastf_xr.evaluation import write_report

    if section.ingest:
        Region(config).ingest()
    dates = held_out(config, section)
    model = config.method.checkpoint
    candidate = own_name(beside(model, "candidate"))
    method = config.method.model_copy(update={"checkpoint": candidate})
    fuse = config.fuse.model_copy(update={"withhold": tuple(dates)})
    Region(config.model_copy(update={"method": method, "fuse": fuse})).fit()
    if digest(candidate) == digest(model):
        print("the fit gives the model that is in use")
        candidate.unlink()
        return ExitCode.DONE
    scores = compare(config, candidate, dates)
    print(scores)
    made = decide(scores, section, candidate, model)
    name = made.at.replace(":", "").replace("-", "")
    folder = own_folder(own_folder(Region(config).folder) / "training")
    write_report(folder / f"{name}-report.html", scores, title=f"New model of {model.name}",
                 run={"decision": made.why})  # fmt: skip
    if made.taken:
        take(candidate, model)
    write_text(folder / f"{name}.json", json.dumps(asdict(made), indent=1) + "\n")
    did = f"now in use as {model}" if made.taken else f"not taken; it stays as {candidate}"
    print(f"{made.why}; the new model is {did}")
    return ExitCode.DONE if made.taken else ExitCode.CHECK_FAILED


def main() -> int:
    """Read the command line and run, alone on the region."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    here = Path(__file__).with_name("config.toml")
    parser.add_argument("config", nargs="?", type=Path, default=here)
    parser.add_argument("--dry-run", action="store_true", help="say on what would be compared")
    given = parser.parse_args()
    try:
        config, section = read(given.config)
        if given.dry_run:
            used = config.method.checkpoint
            print(f"would hold out {', '.join(held_out(config, section))} and compare with "
                  f"{used if used.exists() else 'the better of linear and direct'}")  # fmt: skip
            return ExitCode.DONE
        with lock_folder(Region(config).folder):
            return run(config, section)
    except (BiastfError, KeyboardInterrupt) as error:
        print(f"error ({type(error).__name__}): {error}", file=sys.stderr)
        return ExitCode.of(error)


if __name__ == "__main__":
    sys.exit(main())
