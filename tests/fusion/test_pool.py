"""Handing out units, and the windows that workers keep."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from biastf_xr.errors import ClusterLostError, WorkerDiedError
from biastf_xr.fusion._pool import ClusterPool, Queue, ThreadPool
from biastf_xr.fusion._report import UnitOutcome
from biastf_xr.fusion._window_cache import WindowCache


def test_a_worker_stays_on_its_tile_and_takes_over_the_rest_of_others():
    queue = Queue(iter([[1, 2, 3, 4], [5, 6]]))
    assert [queue.next_for(w) for w in "abab"] == [1, 5, 2, 6]
    # b has nothing left and no tile is new: the later half of a's.
    assert queue.next_for("b") == 4
    assert queue.next_for("a") == 3
    queue.put_back(5)
    assert queue.next_for("a") == 5
    queue.put_back(2, last=True)
    queue.put_back(1)
    assert not queue.empty()
    assert [queue.next_for("a") for _ in range(2)] == [1, 2]
    assert queue.next_for("a") is queue.next_for("b") is None


def test_what_a_lost_worker_had_before_it_is_done_by_others():
    queue = Queue(iter([[1, 2, 3]]))
    assert queue.next_for("gone") == 1
    assert not queue.empty()
    assert sorted([queue.next_for("b"), queue.next_for("b")]) == [2, 3]
    assert queue.empty()


def test_a_queue_is_not_empty_for_want_of_workers():
    queue = Queue(iter([[1], [2, 3]]))
    assert not queue.empty()
    assert [queue.next_for("a") for _ in range(3)] == [1, 2, 3]
    assert queue.empty()


def test_threads_give_back_results_and_errors():
    pool = ThreadPool()
    name = next(iter(pool.workers()))
    pool.submit(1, name, _made, 1, 5)
    pool.submit(2, name, lambda: 1 / 0)
    found = {}
    while len(found) < 2:
        done = pool.wait(5)
        found[done.slot] = done
    pool.close()
    assert found[1].pixels == 5
    assert isinstance(found[2].error, ZeroDivisionError)
    assert "ZeroDivisionError" in found[2].trace
    assert pool.wait(0.01) is None


def test_a_cluster_that_is_gone_is_named():
    class Gone:
        status = "closed"

    pool = ClusterPool(Gone(), gpu=False)
    with pytest.raises(ClusterLostError, match="scheduler"):
        pool.workers()
    with pytest.raises(ClusterLostError, match="scheduler"):
        pool.wait(0.01)


def test_only_workers_that_own_a_gpu_do_units_where_one_is_needed():
    class Mixed:
        status = "running"

        def scheduler_info(self, n_workers):
            return {
                "workers": {
                    "cpu": {"nthreads": 8, "resources": {}},
                    "gpu": {"nthreads": 2, "resources": {"GPU": 1}},
                }
            }

    assert ClusterPool(Mixed(), gpu=True).workers() == {"gpu": 2}
    assert ClusterPool(Mixed(), gpu=False).workers() == {"cpu": 8, "gpu": 2}


def test_a_window_is_read_once_however_many_ask():
    cache, count = WindowCache(1000), [0]

    def read():
        time.sleep(0.05)
        count[0] += 1
        return np.zeros(10)

    threads = [threading.Thread(target=cache.get, args=("a", read)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == [1]


def test_windows_last_used_are_kept_within_the_limit():
    cache, read = WindowCache(200), []

    def get(key):
        cache.get(key, lambda: read.append(key) or np.zeros(10))

    for key in "abacab":
        get(key)
    # 80 bytes each: two fit. b went when c came, c when b came back.
    assert "".join(read) == "abcb"


def test_an_error_of_reading_is_not_kept():
    cache = WindowCache(100)
    with pytest.raises(OSError, match="broken"):
        cache.get("a", lambda: (_ for _ in ()).throw(OSError("broken")))
    assert cache.get("a", lambda: np.ones(1)) == 1


def test_a_unit_of_a_worker_that_died_comes_back():
    from biastf_xr.cluster import connect

    with connect(workers=1, threads=1) as client:
        pool = ClusterPool(client, gpu=False)
        (first,) = pool.workers()
        pool.submit(1, first, _die)
        pool.submit(2, first, _made, 2, 7)
        found, deadline = {}, time.monotonic() + 60
        while len(found) < 2 and time.monotonic() < deadline:
            pool.workers()
            done = pool.wait(0.2)
            if done is not None:
                found[done.slot] = done
        assert {type(d.error) for d in found.values()} == {WorkerDiedError}
        while not (there := set(pool.workers()) - {first}) and time.monotonic() < deadline:
            time.sleep(0.2)
        pool.submit(2, there.pop(), _made, 2, 7)
        while (done := pool.wait(1)) is None:
            pass
        assert (done.slot, done.pixels) == (2, 7)


def _made(slot, pixels):
    return UnitOutcome(slot, pixels=pixels)


def _die():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
