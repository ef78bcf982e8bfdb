"""Exceptions of biastf_xr: one tree, every leaf also a builtin.

A message says what was wrong, what was got, what was expected and what to do.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Self

from biastf_xr._outside import visible


class BiastfError(Exception):
    """Base of every error raised on purpose by biastf_xr.

    Its message is one line without secrets, whatever it was made of.

    Parameters
    ----------
    *args
        The message.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*(visible(arg) if isinstance(arg, str) else arg for arg in args))


class GridMismatchError(BiastfError, ValueError):
    """Two grids that should agree do not (CRS, alignment, resolution, extent)."""


class CubeStructureError(BiastfError, ValueError):
    """A Dataset or store is not the cube that was asked for."""


class CubeExistsError(BiastfError, FileExistsError):
    """A store is already there and would have to be overwritten."""


class StoreLockedError(BiastfError, BlockingIOError):
    """Another process writes to the store."""


class StoreWriteError(BiastfError, OSError):
    """A store cannot be written (disk full, no permission)."""


class SceneError(BiastfError, OSError):
    """A scene on disk is missing, incomplete or unreadable."""


class ReflectanceRangeError(BiastfError, ValueError):
    """Values are not surface reflectance in 0..1 (unscaled digital numbers, or nothing valid)."""


class MissingPairError(BiastfError, LookupError):
    """No clear fine/coarse pair of dates exists where one is needed."""


class TargetDateError(BiastfError, ValueError):
    """A date to predict lies outside what the cubes can support."""


class MethodError(BiastfError, ValueError):
    """A fusion method is unknown, not fitted, or has unusable parameters."""


class CheckpointError(BiastfError, ValueError):
    """A checkpoint is unreadable, was altered, or does not fit the cubes."""


class ConfigError(BiastfError, ValueError):
    """A configuration file or option is not usable."""


class FusionRunError(BiastfError, RuntimeError):
    """Work units of a fusion run failed, again and again; the others were finished."""


class WorkerDiedError(BiastfError, RuntimeError):
    """A worker died while it had a unit in hand."""


class ClusterLostError(BiastfError, ConnectionError):
    """The cluster that a run was on is gone."""


class LeakError(BiastfError, ValueError):
    """A score would use what the prediction was not allowed to see."""


class ExitCode(IntEnum):
    """What a command, and the scheduled job, says to whatever started it.

    Attributes
    ----------
    meaning : str
        What the code says.
    remedy : str
        What is to be done about it.
    """

    DONE = 0, "Done, or nothing to do.", "Nothing."
    CHECK_FAILED = (
        1,
        "A check failed: a damaged cube, a missing file, a result older or worse than allowed.",
        "Read the warnings on the status page. Do scenes still arrive? Is the scored scene cloudy?",
    )
    NEEDS_A_PERSON = (
        2,
        "An error that would happen again, in one message.",
        "Read the message, repair what it names, and run the same command.",
    )
    TRY_AGAIN = (
        3,
        "All was done but some units or results.",
        "Nothing: the next run tries them again. If they fail again, `biastf-xr verify` the cubes.",
    )
    BUSY = (
        4,
        "Another run is at work on the same region.",
        "Nothing, unless every run says so: then stop the process that the message names.",
    )
    INTERRUPTED = (
        130,  # 128 + SIGINT, as shells have it
        "Interrupted with Ctrl-C or SIGTERM; what is finished is kept.",
        "Run the same command: it goes on.",
    )

    meaning: str
    remedy: str

    def __new__(cls, value: int, meaning: str = "", remedy: str = "") -> Self:
        """Return the member of a number."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning, code.remedy = meaning, remedy
        return code

    @classmethod
    def of(cls, error: BaseException) -> ExitCode:
        """Return the code of a run that ended with an error.

        Parameters
        ----------
        error : BaseException
            The error.

        Returns
        -------
        ExitCode
            The code.
        """
        if isinstance(error, KeyboardInterrupt):
            return cls.INTERRUPTED
        if isinstance(error, FusionRunError):
            return cls.TRY_AGAIN
        return cls.BUSY if isinstance(error, StoreLockedError) else cls.NEEDS_A_PERSON
