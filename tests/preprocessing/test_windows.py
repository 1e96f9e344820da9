"""Slabs to windows: every new plane once, with all that it reads, and no slab kept."""

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from medseg.preprocessing.interpolate import Resize
from medseg.preprocessing.windows import windows

PLANES = [(1, 1), (1, 5), (2, 7), (7, 3), (9, 9), (12, 31), (31, 12), (20, 1)]


def numbered(planes: int) -> torch.Tensor:
    """(1, planes, 1, 2): each plane holds its number."""
    return torch.arange(planes, dtype=torch.float32).reshape(1, planes, 1, 1).expand(1, planes, 1, 2)


def cut(whole: torch.Tensor, rng: np.random.Generator) -> list[torch.Tensor]:
    """Random slabs, some of a single plane, some of none."""
    places = np.sort(rng.integers(0, whole.shape[1] + 1, rng.integers(0, whole.shape[1] + 2)))
    return list(whole.tensor_split(torch.from_numpy(places), dim=1))


def resize(present: int, size: int, order: int, axis: int | None = None) -> Resize:
    return Resize((present, 1, 2), (size, 1, 2), (order, order, order), axis)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(("present", "size"), PLANES)
def test_every_new_plane_comes_once_with_what_it_reads(present: int, size: int, order: int) -> None:
    rng = np.random.default_rng(present * size)
    reads = resize(present, size, order).reads(0)
    for _ in range(20):
        came: list[int] = []
        for window in windows(iter(cut(numbered(present), rng)), resize(present, size, order)):
            came += window.planes
            for plane in window.planes:
                for read in (reads.lower[plane], reads.upper[plane]):
                    assert window.logits[0, read - window.first, 0, 0] == read
        assert came == list(range(size))


def test_splines_get_the_whole_volume() -> None:
    for slabs in ([numbered(5)], [numbered(5)[:, :2], numbered(5)[:, 2:]]):
        (window,) = windows(slabs, resize(5, 8, 3))
        assert (window.first, window.planes) == (0, range(8))
        assert window.logits[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4]
    in_slices = Resize((5, 1, 2), (8, 3, 3), (0, 3, 3), axis=0)  # here they read one slice at a time
    assert [window.first for window in windows([numbered(5)[:, :2], numbered(5)[:, 2:]], in_slices)] == [0, 2]


def test_a_slab_is_let_go_before_the_next_is_asked_for() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def slabs() -> Iterator[torch.Tensor]:
        for start in range(0, 12, 3):
            assert not any(slab() is not None for slab in alive)
            slab = numbered(12)[:, start : start + 3].clone()
            alive.append(weakref.ref(slab))
            yield slab
            del slab

    for window in windows(slabs(), resize(12, 25, 1)):
        assert window.logits.shape[1] <= 3
        del window
    assert len(alive) == 4


def test_slabs_that_do_not_make_up_the_volume_are_refused() -> None:
    for slabs in ([numbered(4)], [numbered(6)], [], [torch.zeros(1, 5, 2, 2)]):
        with pytest.raises(ValueError, match=r"grid of \(5, 1, 2\)|of 5 planes"):
            list(windows(slabs, resize(5, 8, 1)))


def test_doubles_are_read_as_floats() -> None:
    (window,) = windows([numbered(3).double()], resize(3, 3, 1))
    assert window.logits.dtype == torch.float32
