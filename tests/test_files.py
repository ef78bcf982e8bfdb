"""Files are replaced at once, or stay as they were."""

from __future__ import annotations

import pytest

from biastf_xr._files import replacing


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "new" / "file.json"
    for text in ("first", "second"):
        with replacing(path) as partial:
            assert partial.parent.parent == path.parent
            assert partial.name == path.name
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert [*path.parent.iterdir()] == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "file.json"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
