"""The scheduled job of a region: `update`, its records, its status page and its leftovers."""

from biastf_xr.nightly.job import update
from biastf_xr.nightly.outcomes import ExitCode, Outcome
from biastf_xr.nightly.records import NightReport, StepRecord
from biastf_xr.nightly.status import status_path, write_status

__all__ = [
    "ExitCode",
    "NightReport",
    "Outcome",
    "StepRecord",
    "status_path",
    "update",
    "write_status",
]
