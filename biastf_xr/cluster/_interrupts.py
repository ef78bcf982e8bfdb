"""Loaded by worker processes of this machine: Ctrl-C is the driver's business.

A terminal sends it to the whole process group.  The driver ends the run and its cluster in order;
a worker that ended by itself would lose its unit and print a traceback.
"""

from __future__ import annotations

import logging
import signal
import threading

from biastf_xr._outside import guard_logs


def dask_setup(_: object) -> None:
    """Leave interrupts to the driver, secrets out of logs; called by Dask as the worker starts."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard_logs()
    # It would warn of every unit that an interrupted driver takes back.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
