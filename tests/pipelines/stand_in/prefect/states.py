"""States of a run."""

from __future__ import annotations

from types import SimpleNamespace


class _State:
    def __init__(self, name=None, message=""):
        self.name, self.message = name or type(self).__name__, message
        self.type = SimpleNamespace(value=type(self).__name__.upper())

    def is_completed(self):
        return isinstance(self, Completed)


class Completed(_State):
    pass


class Failed(_State):
    pass
