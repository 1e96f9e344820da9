"""Files that matter are whole or as they were before."""

import json
from pathlib import Path

import pytest

from medseg.core.files import atomic, content_hash, write_json, write_text


class Killed(BaseException):
    """Ends a block the way an interrupt does: not as an Exception."""


def test_a_block_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "plan.yaml"
    for text in ("old", "new"):
        with atomic(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.endswith("plan.yaml")
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Killed])
def test_a_block_that_is_cut_short_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "weights"
    path.write_text("old")

    def write_half() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_is_cut_short_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="disk"), atomic(tmp_path / "new"):
        raise ValueError("disk")
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "case.safetensors"
    with atomic(path) as first, atomic(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last
    assert list(tmp_path.iterdir()) == [path]


def test_text_and_json_are_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Ödem\n")
    write_json(tmp_path / "a.json", {"structure": "Ödem", "volume": 1.5})
    assert (tmp_path / "a.txt").read_bytes() == "Ödem\n".encode()
    assert "Ödem" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"structure": "Ödem", "volume": 1.5}


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    for name, content in (("a", b"scan"), ("b", b"scan"), ("c", b"scam")):
        (tmp_path / name).write_bytes(content)
    first, second, third = (content_hash(tmp_path / name) for name in "abc")
    assert first == second != third
    assert first == "59ad1b2fc74287ded1bba7af67765d23ad4a49f1ae51902cc2ed3f8ebee96cfa", "as sha256sum says"
