"""What may come of an update: outcomes, and what each failure asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from biastf_xr.errors import ExitCode


class Outcome(StrEnum):
    """What came of a run.

    `RUNNING`: It is at work.
    `DONE`, `NOTHING_NEW`: All steps ended well; nothing had changed since the last run.
    `WARNING`: All steps ended well, and a check failed.
    `BUSY`: Another run was at work.
    `DIED`: It ended without a word: killed, or the machine went down.
    """

    RUNNING = "running"
    DONE = "done"
    NOTHING_NEW = "nothing new"
    WARNING = "warning"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    DIED = "died"
    PLANNED = "planned"

    @property
    def exit_code(self) -> ExitCode:
        """Return the code that the job ends with."""
        return _CODES.get(self, ExitCode.DONE)


# Outcomes that an error makes of a run; all others are failures.
_OF_ERRORS = {
    ExitCode.INTERRUPTED: Outcome.INTERRUPTED,
    ExitCode.TRY_AGAIN: Outcome.INCOMPLETE,
    ExitCode.BUSY: Outcome.BUSY,
}

_CODES = {
    Outcome.WARNING: ExitCode.CHECK_FAILED,
    Outcome.INCOMPLETE: ExitCode.TRY_AGAIN,
    Outcome.FAILED: ExitCode.NEEDS_A_PERSON,
    Outcome.DIED: ExitCode.NEEDS_A_PERSON,
    Outcome.BUSY: ExitCode.BUSY,
    Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
}


def outcome_of(error: BaseException) -> Outcome:
    """Return what an error makes of a run."""
    return _OF_ERRORS.get(ExitCode.of(error), Outcome.FAILED)


@dataclass(frozen=True)
class Failure:
    """A kind of failure.

    `errors`: Names of the errors.
    """

    errors: tuple[str, ...]
    meaning: str
    repair: str

    @property
    def anchor(self) -> str:
        """Return its place in the operations card."""
        return self.errors[0].lower()


FAILURES = (
    Failure(
        ("SceneError",),
        "The archive has no scene that can be used: an empty or unmounted folder, another product, "
        "or files that cannot be read.",
        "Look at the folder that the message names. Single bad files are listed under rejected "
        "scenes and stop nothing; replace them and they are taken the next night.",
    ),
    Failure(
        ("StoreWriteError", "OSError"),
        "Something cannot be written: the disk is full, the permissions are wrong, or the "
        "credentials of a bucket have expired.",
        "Free the disk (`biastf-xr tidy config.toml` removes what killed runs left) or renew the "
        "credentials, and run the same command. What was finished is kept.",
    ),
    Failure(
        ("FusionRunError", "WorkerDiedError"),
        "Some units failed each time they were tried; all others are in the cube, and theirs are "
        "flagged `failed`.",
        "The next run tries them again. If they fail again, the log beside the fused cube has the "
        "tracebacks: a chunk that cannot be decoded shows in `biastf-xr verify`; a worker that "
        "dies needs more `memory` or a smaller `tile`.",
    ),
    Failure(
        ("StoreLockedError",),
        "Another process is writing to the region.",
        "Wait for it. A process that is gone leaves no lock on a disk; behind a URL remove the "
        "object that the message names, or run `biastf-xr tidy config.toml`.",
    ),
    Failure(
        ("ClusterLostError",),
        "The scheduler is gone, or no worker came in time.",
        "See whether the scheduler runs and whether jobs or pods are pending; then run the same "
        "command.",
    ),
    Failure(
        ("CubeStructureError", "CubeExistsError"),
        "A cube is not what the configuration says: other bands, another product or other options, "
        "or something else lies at its path.",
        "Undo the change of the configuration, or choose a new path for the cube. `biastf-xr "
        "ingest config.toml --overwrite` builds the input cubes again.",
    ),
    Failure(
        ("GridMismatchError",),
        "Scenes lie on another grid than the cube: the provider changed its delivery, or a foreign "
        "scene is in the folder.",
        "Take the scenes out, or state a `[grid]` and build the cubes again.",
    ),
    Failure(
        ("ReflectanceRangeError",),
        "Values are no reflectance: another scale, another nodata value, or nothing is clear.",
        "Compare `[fine.options]` or `[coarse.options]` with the metadata of the product.",
    ),
    Failure(
        ("MissingPairError", "TargetDateError"),
        "There is nothing to fuse from: no clear fine scene near the days asked for, or no coarse "
        "scene.",
        "See `biastf-xr plan config.toml`; lower `min_clear`, raise `max_gap`, or wait for scenes.",
    ),
    Failure(
        ("CheckpointError",),
        "The model is missing, damaged, or fits other cubes.",
        "Put the file back from a copy, or remove it: unless `refit` is 'never' the next "
        "run fits a new one, which recomputes every date.",
    ),
    Failure(
        ("MethodError",),
        "The method cannot work on these cubes, or a package that it needs is not installed.",
        "Follow the message; `biastf-xr doctor` lists what is installed.",
    ),
    Failure(
        ("ConfigError",),
        "The configuration has an unknown key or a value that cannot be used.",
        "Correct the key that the message names. `biastf-xr update config.toml --dry-run` checks "
        "it without writing.",
    ),
    Failure(
        ("LeakError",),
        "A score would use a scene that the prediction has seen.",
        "After a change of `withhold` fit and fuse again; the next run does it where `refit` "
        "allows.",
    ),
    Failure(
        ("Died",),
        "The run ended without a word: it was killed (out of memory, power, a time limit).",
        "Run the same command: it does what is missing. If it dies again, look into the journal of "
        "the system and give it more memory, or a smaller `tile`.",
    ),
)  # fmt: skip

UNKNOWN = Failure(
    ("Other",),
    "An error that nobody foresaw.",
    "The log of the runs has the traceback. Run the same command once; if it fails again, report "
    "it with the log.",
)


def failure_of(error: str) -> Failure:
    """Find what is known of an error."""
    return next((f for f in FAILURES if error in f.errors), UNKNOWN)
