"""HDF4 in a process of its own.

A damaged file can end the program that the HDF4 library is part of, or make the library refuse
every file after it.  So a child has the library, and is started again after every error.  This
module is both: what asks, and, run as a program, the child.  A question is a line of JSON; an
answer too, with the bytes of an array after it.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

# Seconds after which an answer does not come any more.
PATIENCE = 120.0

_LOCK = threading.Lock()
_children: dict[int, subprocess.Popen[bytes]] = {}  # by the process that asks, which may be forked


class Hdf4Error(Exception):
    """A file cannot be read."""


def is_installed() -> bool:
    """Return whether there is a library to ask."""
    return importlib.util.find_spec("pyhdf") is not None


def look(path: Path) -> tuple[dict[str, tuple[tuple[int, ...], str]], str]:
    """Return shape and type of every data set, and the metadata of the grid."""
    found, _ = _ask({"do": "look", "path": str(path)})
    return {name: (tuple(shape), kind) for name, (shape, kind) in found["sets"].items()}, found[
        "grid"
    ]


def read(path: Path, name: str, key: tuple[Any, ...]) -> Any:
    """Read a window of a data set."""
    parts = [[k.start, k.stop, k.step] if isinstance(k, slice) else int(k) for k in key]
    found, data = _ask({"do": "read", "path": str(path), "name": name, "key": parts})
    return np.frombuffer(data, found["dtype"]).reshape(found["shape"])


def scale_of(path: Path, name: str) -> float | None:
    """Return the scale factor that a data set states."""
    value = _ask({"do": "scale", "path": str(path), "name": name})[0]["scale"]
    return None if value is None else float(value)


def _ask(question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
    """Ask the child of this process, which is started if there is none."""
    with _LOCK:
        child = _children.get(os.getpid())
        if child is None or child.poll() is not None:
            child = _children[os.getpid()] = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        waiting = threading.Timer(PATIENCE, child.kill)
        waiting.start()
        try:
            return _exchange(child.stdin, child.stdout, question)  # type: ignore[arg-type]
        except Hdf4Error:
            _end(child)
            raise
        except (OSError, ValueError, KeyError) as error:
            child.kill()
            raise Hdf4Error(f"the HDF4 library came to its end, code {_end(child)}") from error
        finally:
            waiting.cancel()


def _exchange(
    to: IO[bytes], back: IO[bytes], question: dict[str, Any]
) -> tuple[dict[str, Any], bytearray]:
    to.write(json.dumps(question).encode() + b"\n")
    to.flush()
    answer = json.loads(back.readline())
    if "error" in answer:
        raise Hdf4Error(answer["error"])
    data = bytearray(answer["bytes"])
    view = memoryview(data)
    while view and (count := back.readinto(view)):  # type: ignore[attr-defined]
        view = view[count:]
    if view:
        raise ValueError(f"{len(view)} bytes of an array are missing")
    return answer, data


def _end(child: subprocess.Popen[bytes]) -> int:
    """End a child; return its exit code."""
    _children.pop(os.getpid(), None)
    for pipe in (child.stdin, child.stdout):
        pipe.close()  # type: ignore[union-attr]
    return child.wait()


@atexit.register
def _end_own() -> None:
    if child := _children.get(os.getpid()):
        child.kill()
        _end(child)


# --- the child ------------------------------------------------------------------------------------


def serve() -> None:
    """Answer until nobody asks, or a file cannot be read."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints is no answer
    for line in sys.stdin.buffer:
        try:
            answer, data = _answer(json.loads(line))
        except Exception as error:  # noqa: BLE001  (the library raises whatever it likes)
            answer, data = {"error": str(error) or type(error).__name__}, b""
        answers.write(json.dumps(answer | {"bytes": len(data)}).encode() + b"\n" + data)
        answers.flush()
        if "error" in answer:
            return


def _answer(question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    from pyhdf.SD import SD, SDC

    kinds = {SDC.INT8: "i1", SDC.UINT8: "u1", SDC.INT16: "i2", SDC.UINT16: "u2",
             SDC.INT32: "i4", SDC.UINT32: "u4", SDC.FLOAT32: "f4", SDC.FLOAT64: "f8"}  # fmt: skip
    file = SD(question["path"])
    try:
        if question["do"] == "look":
            sets = {
                name: (
                    shape if isinstance(shape, (list, tuple)) else [shape],
                    kinds.get(kind, "V1"),
                )
                for name, (_, shape, kind, _) in file.datasets().items()
            }
            return {"sets": sets, "grid": str(file.attributes().get("StructMetadata.0", ""))}, b""
        data = file.select(question["name"])
        if question["do"] == "scale":
            return {"scale": data.attributes().get("scale_factor")}, b""
        key = tuple(slice(*k) if isinstance(k, list) else k for k in question["key"])
        values = np.asarray(data[key])
        return {"shape": values.shape, "dtype": values.dtype.str}, values.tobytes()
    finally:
        file.end()


if __name__ == "__main__":
    serve()
