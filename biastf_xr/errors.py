"""Exceptions of biastf_xr: one tree, every leaf also a builtin.

A message says what was wrong, what was got, what was expected and what to do.
"""


class BiastfError(Exception):
    """Base of every error raised on purpose by biastf_xr."""


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
