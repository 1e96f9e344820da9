"""gzip in and out: what is damaged is noticed, and equal content gives equal bytes."""

import gzip
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from medseg.io.formats import gz

CONTENT = np.random.default_rng(0).integers(0, 9, size=300_000, dtype=np.uint8).tobytes()


@pytest.fixture(params=["isal", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of the engines, whichever this machine chooses."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(gz, "engine", zlib)


def packed(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    return path


def read(path: Path, offset: int, count: int, beyond: int = 1 << 20) -> tuple[bytes, bool]:
    found, whole = gz.read(path, offset, count, beyond)
    return found.tobytes(), whole


@pytest.mark.usefixtures("engine")
class TestReading:
    def test_any_part_of_the_content(self, tmp_path: Path) -> None:
        path = packed(tmp_path, gzip.compress(CONTENT))
        assert path.stat().st_size > 65536, "the file is read in pieces"
        for offset, count in ((0, 300_000), (352, 299_648), (200_000, 5), (0, 0)):
            assert read(path, offset, count) == (CONTENT[offset : offset + count], True)

    def test_less_than_was_asked_for(self, tmp_path: Path) -> None:
        path = packed(tmp_path, gzip.compress(b"abcdef"))
        assert read(path, 2, 100) == (b"cdef", True)
        assert read(path, 100, 100) == (b"", True)

    def test_several_members_and_padding_are_one_content(self, tmp_path: Path) -> None:
        path = packed(tmp_path, gzip.compress(b"abc") + b"\0\0\0" + gzip.compress(CONTENT) + b"\0" * 600)
        assert read(path, 1, 10_000) == ((b"abc" + CONTENT)[1:10_001], True)
        assert read(path, 1, 300_002) == (b"bc" + CONTENT, True)

    def test_what_follows_is_left_alone(self, tmp_path: Path) -> None:
        assert read(packed(tmp_path, gzip.compress(b"abc") + b"a comment"), 0, 3) == (b"abc", True)

    @pytest.mark.parametrize("where", [-8, -1, 40_000])
    def test_damage_is_noticed(self, tmp_path: Path, where: int) -> None:
        data = bytearray(gzip.compress(CONTENT))
        data[where] ^= 0xFF
        with pytest.raises(gz.ERRORS):
            gz.read(packed(tmp_path, bytes(data)), 0, len(CONTENT))

    @pytest.mark.parametrize("lost", [1, 8, 60_000])
    def test_an_end_that_is_missing_is_noticed(self, tmp_path: Path, lost: int) -> None:
        found, whole = gz.read(packed(tmp_path, gzip.compress(CONTENT)[:-lost]), 0, len(CONTENT))
        assert not whole
        assert CONTENT.startswith(found.tobytes())
        assert (len(found) == len(CONTENT)) == (lost <= 8)

    def test_nothing_is_unpacked_far_beyond_what_is_wanted(self, tmp_path: Path) -> None:
        path = packed(tmp_path, gzip.compress(bytes(200_000_000)))
        tracemalloc.start()
        try:
            assert read(path, 0, 1000) == (bytes(1000), True)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 150_000_000


@pytest.mark.usefixtures("engine")
def test_what_is_packed_comes_back_and_says_nothing_of_when() -> None:
    parts = [CONTENT[:10], b"", memoryview(CONTENT)[10:]]
    data = b"".join(gz.pack(parts))
    assert gzip.decompress(data) == CONTENT
    assert data == b"".join(gz.pack(parts))
    assert data[3:8] == bytes(5), "no name and no time"
    assert len(data) < len(CONTENT)


def test_the_fast_engine_is_chosen_where_it_is_there() -> None:
    pytest.importorskip("isal")
    assert gz.engine is sys.modules["isal.isal_zlib"]
