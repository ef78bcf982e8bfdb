"""Who fits the networks: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from biastf_xr.methods._learning.loop import FitJob, FittedNetwork, TrainProgress, run_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def run_jobs(
    jobs: Sequence[FitJob], *, client: Any = None, progress: TrainProgress | None = None
) -> dict[str, FittedNetwork]:
    """Fit several networks at once.

    A network is fitted by one thread of a processor, whose sums then come out alike everywhere:
    the result has the same bytes with any number of cores and on any worker.

    `client`: Dask client whose workers run them; by default threads of this process do, one for
    each core, or one after the other on a GPU.
    `progress`: Called after every epoch of every network; for networks fitted elsewhere
    afterwards.
    """
    report = progress or (lambda *_: None)
    if client is None:
        fitted = _in_threads(jobs, progress)
    else:
        futures = [
            client.submit(_alone, client.scatter(job, hash=False), pure=False) for job in jobs
        ]
        fitted = client.gather(futures)
        for job, made in zip(jobs, fitted, strict=True):
            for epoch, losses in enumerate(made.history, 1):
                report(job.name, epoch, *losses)
    return {job.name: made for job, made in zip(jobs, fitted, strict=True)}


def _alone(job: FitJob, progress: TrainProgress | None = None) -> FittedNetwork:
    """Run a job with one thread."""
    with _single.held():
        torch.set_num_threads(1)  # of this thread
        return run_job(job, progress)


def _in_threads(jobs: Sequence[FitJob], progress: TrainProgress | None) -> list[FittedNetwork]:
    """Run jobs in threads; where one fails, the others stop after their epoch."""
    stop, said = threading.Event(), threading.Lock()

    def report(name: str, epoch: int, fitted: float, held: float) -> None:
        if stop.is_set():
            raise _StoppedError
        if progress:
            with said:
                progress(name, epoch, fitted, held)

    on_cpu = all(job.rule.device == "cpu" for job in jobs)
    count = min(len(jobs), os.cpu_count() or 1) if on_cpu else 1
    with _single.held(), ThreadPoolExecutor(count, thread_name_prefix="fit") as pool:
        futures = [pool.submit(partial(_alone, progress=report), job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            for future in futures:  # the reason, not what followed from it
                error = None if future.cancelled() else future.exception()
                if error is not None and not isinstance(error, _StoppedError):
                    raise error from None
            raise


class _StoppedError(Exception):
    """Another network of the fit failed."""


class _SingleThread:
    """One thread for each operation of torch while any fit runs, what it was afterwards."""

    def __init__(self) -> None:
        self._lock, self._held, self._before = threading.Lock(), 0, 1

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._held == 0:
                self._before = torch.get_num_threads()
            self._held += 1
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
                if self._held == 0:
                    torch.set_num_threads(self._before)


_single = _SingleThread()
