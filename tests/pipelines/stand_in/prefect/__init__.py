"""As much of Prefect as the flow uses, for machines without it: states, retries, a log."""

from __future__ import annotations

import logging
from types import SimpleNamespace

from prefect.states import Failed


class _Task:
    """A function that returns a state; a failed one is tried again where its condition says so."""

    def __init__(self, do, retries=0, retry_condition_fn=None, **_):
        self.do, self.retries, self.condition = do, retries, retry_condition_fn

    def with_options(self, **_):
        return self

    def __call__(self, *given, return_state):
        for left in range(self.retries, -1, -1):
            state = self.do(*given)
            again = isinstance(state, Failed) and self.condition(self, SimpleNamespace(), state)
            if not (left and again):
                return state
        raise AssertionError


def task(**options):
    return lambda do: _Task(do, **options)


def flow(name):
    return lambda do: lambda config, return_state: do(config) if return_state else None


def get_run_logger():
    return logging.getLogger("prefect")
