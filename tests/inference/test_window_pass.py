"""A look at a volume: what the networks are shown, in which order answers come, and what happens when memory ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from builders import INFERENCE, make_configuration

from medseg.core.errors import Cancelled, MedsegError
from medseg.core.progress import Progress
from medseg.inference.memory import MemoryPlan, Resources
from medseg.inference.rolling_mean import RollingMean
from medseg.inference.tiles import Views
from medseg.inference.window_pass import WindowPass, check_finite
from medseg.plans.sections.inference import Inference

CPU = torch.device("cpu")


class Spy:
    """Answers with its input and half of it, and notes how many tiles it was given at once."""

    def __init__(self, most: int = 1000, factor: float = 1.0) -> None:
        self.seen: list[int] = []
        self.most = most
        self.factor = factor

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        if len(tiles) > self.most:
            raise torch.OutOfMemoryError(f"out of memory for {len(tiles)} tiles")
        self.seen.append(len(tiles))
        return torch.cat([tiles * self.factor, tiles / 2], dim=1)


def make_pass(
    image: torch.Tensor,
    tile: list[int],
    members: list[Callable[[torch.Tensor], torch.Tensor]],
    tile_batch: int = 2,
    **settings: object,
) -> WindowPass:
    configuration = make_configuration(len(tile), patch_voxels=tile)
    inference = Inference.model_validate({**INFERENCE, **settings})
    views = Views.of(image.shape[1:], configuration, inference)
    resources = Resources(MemoryPlan(tile_batch, False, torch.float32, False), CPU)
    return WindowPass(members, image, views, resources)


@pytest.mark.parametrize("seed", range(10))
def test_slabs_make_up_the_volume_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tile = rng.integers(1, 4, size=2 + seed % 2) * 4
    image = torch.from_numpy(rng.normal(size=(1, *rng.integers(1, 30, size=3))).astype(np.float32))
    step, batch = float(rng.choice([0.4, 0.5, 0.75])), int(rng.integers(1, 9))
    window_pass = make_pass(
        image, tile.tolist(), [Spy(), Spy(factor=3.0)], batch, mirror=bool(seed % 3), step_fraction=step
    )
    whole = torch.cat(list(window_pass.logits()), dim=1)
    torch.testing.assert_close(whole, torch.cat([2 * image, image / 2]), rtol=1e-4, atol=1e-5)


def test_slabs_come_while_later_tiles_are_not_looked_at_yet() -> None:
    spy, image = Spy(), torch.randn(1, 40, 8, 8)
    slabs = make_pass(image, [8, 8, 8], [spy], tile_batch=1).logits()
    first = next(slabs)
    assert first.shape[1] == 4
    assert len(spy.seen) == 1
    assert sum(slab.shape[1] for slab in slabs) == 36
    assert len(spy.seen) == 9


def test_the_sums_are_no_larger_than_a_tile_and_a_step() -> None:
    window_pass = make_pass(torch.randn(1, 64, 8, 12), [8, 8, 8], [Spy()], tile_batch=3)
    deepest = 0
    for _ in window_pass.logits():
        assert window_pass.means is not None
        deepest = max(deepest, window_pass.means.depth)
    assert deepest <= 16
    assert window_pass.means is None


def test_a_constant_network_gives_constant_logits() -> None:
    def constant(tiles: torch.Tensor) -> torch.Tensor:
        return torch.tensor([-2.0, 7.0]).reshape(1, 2, 1, 1, 1).expand(len(tiles), 2, *tiles.shape[2:])

    whole = torch.cat(list(make_pass(torch.randn(1, 21, 9, 13), [8, 8, 8], [constant], 4).logits()), dim=1)
    torch.testing.assert_close(whole[0], torch.full((21, 9, 13), -2.0))
    torch.testing.assert_close(whole[1], torch.full((21, 9, 13), 7.0))


@pytest.mark.parametrize("tile_batch", [1, 3, 50])
def test_even_tiles_that_are_alike_go_through_once(tile_batch: int) -> None:
    image = torch.zeros(1, 8, 8, 64)
    image[..., :8] = torch.randn(8, 8, 8)
    spy = Spy()
    window_pass = make_pass(
        image, [8, 8, 8], [spy, Spy(factor=3.0)], tile_batch, mirror=True
    )  # 15 tiles, 2 with content
    whole = torch.cat(list(window_pass.logits()), dim=1)
    torch.testing.assert_close(whole, torch.cat([2 * image, image / 2]), rtol=1e-4, atol=1e-5)
    assert sum(spy.seen) == 2 * 8 + 1


def test_nearly_even_tiles_are_only_alike_if_the_plan_says_so() -> None:
    torch.manual_seed(0)
    image = 1 + 1e-4 * torch.rand(1, 8, 8, 64)
    image[..., 40:] += 1
    seen = []
    for skip in (False, True):
        spy = Spy()
        whole = torch.cat(list(make_pass(image, [8, 8, 8], [spy], 1, skip_empty_tiles=skip).logits()), dim=1)
        torch.testing.assert_close(whole[:1], image, rtol=1e-3, atol=0)
        seen.append(sum(spy.seen))
    assert seen == [15, 3]  # all; or the two intensities, and the tile between them


def test_too_large_answers_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.inference.window_pass._REMEMBERED_BYTES", 100)
    spy, image = Spy(), torch.zeros(1, 8, 8, 64)
    whole = torch.cat(list(make_pass(image, [8, 8, 8], [spy], 2).logits()), dim=1)
    assert whole.abs().max() == 0
    assert sum(spy.seen) == 8  # once in each batch of two


def test_progress_counts_tiles() -> None:
    events: list[Progress] = []
    window_pass = make_pass(torch.randn(1, 8, 8, 20), [8, 8, 8], [Spy()], 3, mirror=True)
    list(window_pass.logits(events.append))
    assert {event.stage for event in events} == {"tiles"}
    assert {event.total for event in events} == {4}
    done = [event.done for event in events]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 4)


def test_a_callback_can_cancel() -> None:
    def stop(event: Progress) -> None:
        if event.done == 2:
            raise Cancelled

    spy = Spy()
    with pytest.raises(Cancelled):
        list(make_pass(torch.randn(1, 8, 8, 40), [8, 8, 8], [spy], 1).logits(stop))
    assert len(spy.seen) == 2


@pytest.mark.parametrize("most", [1, 2, 5])
def test_less_memory_means_smaller_batches_and_the_same_answer(most: int) -> None:
    events: list[Progress] = []
    image, spy = torch.randn(1, 20, 8, 8), Spy(most)
    window_pass = make_pass(image, [8, 8, 8], [spy, Spy(most, factor=3.0)], 8, mirror=True)
    whole = torch.cat(list(window_pass.logits(events.append)), dim=1)
    torch.testing.assert_close(whole, torch.cat([2 * image, image / 2]), rtol=1e-4, atol=1e-5)
    assert max(spy.seen) <= most
    assert sum(spy.seen) == 4 * 8  # nothing that was done is done again
    notes = [event.info["note"] for event in events if "note" in event.info]
    assert notes
    assert all(note.startswith("Not enough memory: now") for note in notes)
    assert f"out of memory for {2 * window_pass.resources.tile_batch} tiles" in notes[-1]


def test_too_little_memory_for_one_tile_is_an_error_and_other_errors_stay_what_they_are() -> None:
    image = torch.randn(1, 8, 8, 8)
    with pytest.raises(MedsegError, match="not enough memory for a single tile: out of memory for 1 tiles"):
        list(make_pass(image, [8, 8, 8], [Spy(0)]).logits())

    def broken(tiles: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        list(make_pass(image, [8, 8, 8], [broken]).logits())


def test_memory_that_ends_anywhere_in_a_pass_leaves_the_answer_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tiles are cut, where they are added, where finished planes are handed on: each fails now and then."""
    calls = 0

    def failing(work: Callable[..., Any]) -> Callable[..., Any]:
        def once_in_a_while(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls in (1, 9, 40):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return work(*arguments)

        return once_in_a_while

    image = torch.randn(1, 20, 8, 8)
    for owner, name in ((Views, "cut"), (RollingMean, "add"), (RollingMean, "finish")):
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing(getattr(owner, name)))
            spy, other = Spy(), Spy(factor=3.0)
            window_pass = make_pass(image, [8, 8, 8], [spy, other], 64, mirror=True)
            whole = torch.cat(list(window_pass.logits()), dim=1)
        torch.testing.assert_close(whole, torch.cat([2 * image, image / 2]), rtol=1e-4, atol=1e-5)
        assert window_pass.resources.notes, name
        assert sum(spy.seen) == sum(other.seen) == 4 * 8, name


def test_large_logits_whose_sum_overflows_are_no_fault() -> None:
    check_finite(torch.full((1, 2, 2, 2), 3e38), torch.float32)
    with pytest.raises(MedsegError):
        check_finite(torch.tensor([1.0, float("nan")]), torch.float32)
