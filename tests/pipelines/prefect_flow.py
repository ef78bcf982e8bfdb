"""Run the Prefect flow; see test_deployments.py.

Against a server of its own on the loopback, or, where Prefect is not installed, with a stand-in.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

folder = Path(sys.argv[1])
REAL = importlib.util.find_spec("prefect") is not None
if not REAL:
    sys.path.insert(0, str(Path(__file__).with_name("stand_in")))
sys.path.insert(0, str(folder / "prefect"))
import flow  # noqa: E402


def attempts(codes, monkey):
    """Run the flow with a stand-in for the process that ends with these codes in turn."""
    asked = []

    def run(command, **options):
        asked.append(command)
        return SimpleNamespace(stdout="said", stderr="", returncode=codes[len(asked) - 1])

    monkey.run = run
    state = flow.regional_daily("config.toml", return_state=True)
    return state, asked


def try_all():
    """Run it with every way to end."""
    flow.update = flow.update.with_options(retry_delay_seconds=0)
    flow.subprocess = SimpleNamespace(run=None)
    for codes, kind, name, tries in (
        ([0], "COMPLETED", "Completed", 1),
        ([1], "COMPLETED", "CheckFailed", 1),
        ([4], "COMPLETED", "Busy", 1),
        ([2], "FAILED", "Failed", 1),
        ([3, 0], "COMPLETED", "Completed", 2),
        ([3, 3, 3], "FAILED", "Failed", 3),
    ):
        state, asked = attempts(codes, flow.subprocess)
        assert (state.type.value, state.name, len(asked)) == (kind, name, tries), (codes, state)
        assert asked[0][-2:] == ["update", "config.toml"]


if REAL:
    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        with get_client(sync_client=True) as client:
            assert str(client.api_url).startswith("http://127.0.0.1:"), client.api_url
        try_all()
        with get_client(sync_client=True) as client:
            assert len(client.read_flow_runs()) == 6
else:
    try_all()
sys.stdout.write("the flow does what its README says\n")
