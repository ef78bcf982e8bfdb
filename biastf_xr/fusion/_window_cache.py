"""Windows of images that are read once and asked for again by the next unit of a tile."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class WindowCache:
    """Keeps the windows last used, up to a number of bytes; each is read by one thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], Any]) -> Any:
        """Return a window, reading it if it is not there; not to be changed in place."""
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = Future()
            self._entries.move_to_end(key)
        if not mine:
            return entry.result()
        try:
            entry.set_result(read())
        except BaseException as error:
            with self._lock:
                self._entries.pop(key, None)
            entry.set_exception(error)
            raise
        self._shrink()
        return entry.result()

    def _shrink(self) -> None:
        with self._lock:
            done = {k: e.result().nbytes for k, e in self._entries.items() if _has_result(e)}
            excess = sum(done.values()) - self.limit
            for key, size in done.items():
                if excess <= 0:
                    break
                del self._entries[key]
                excess -= size


def _has_result(entry: Future[Any]) -> bool:
    return entry.done() and entry.exception() is None
