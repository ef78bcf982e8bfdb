"""A region whose cubes are there, so that a run takes a second."""

from __future__ import annotations

import pytest

from biastf_xr.config import read_config

TEXT = """
[fine]
product = "landsat-c2-l2"
folder = "{scenes.landsat}"
cube = "{cubes.fine}"
[coarse]
product = "mod09ga"
folder = "{scenes.modis}"
cube = "{cubes.coarse}"
[method]
name = "{method}"
[fuse]
output = "fused.zarr"
start = 2021-04-15
end = 2021-04-18
{fuse}
[cluster]
kind = "in-process"
[update]
steps = {steps}
{update}
"""


@pytest.fixture
def region(tmp_path, small_scenes, small_cubes):
    """Return a function that writes the configuration and reads it."""

    def make(update="", fuse="", method="direct", steps=("fuse",)):
        text = TEXT.format(
            scenes=small_scenes, cubes=small_cubes, update=update, fuse=fuse, method=method,
            steps=list(steps),
        )  # fmt: skip
        (tmp_path / "config.toml").write_text(text)
        return read_config(tmp_path / "config.toml")

    return make
