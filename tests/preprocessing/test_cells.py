"""Both ways to the exact answer: the torch operations for every device, and the compiled loops for CPUs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from decisions import clear
from numpy.typing import NDArray

from medseg.core.labels import Labels
from medseg.preprocessing import cells
from medseg.preprocessing.dense import dense_blocks
from medseg.preprocessing.interpolate import Resize
from medseg.preprocessing.windows import Window

Choose = Callable[[Window, range, Resize, Labels], NDArray]


def compiled(window: Window, planes: range, resize: Resize, labels: Labels) -> NDArray:
    module = pytest.importorskip("medseg.preprocessing.cells_numba", exc_type=ImportError)
    return module.choose_planes(window, planes, resize, labels)


def with_torch(window: Window, planes: range, resize: Resize, labels: Labels) -> NDArray:
    return cells.choose_planes(window, planes, resize, labels).numpy()


def on_a_gpu(window: Window, planes: range, resize: Resize, labels: Labels) -> NDArray:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return cells.choose_planes(replace(window, logits=window.logits.cuda()), planes, resize, labels).cpu().numpy()


WAYS = pytest.mark.parametrize("choose", [with_torch, compiled, pytest.param(on_a_gpu, marks=pytest.mark.gpu)])


def softmax_labels(outputs: int) -> Labels:
    return Labels(structures={f"s{number}": number for number in range(1, outputs)})


def regions(outputs: int) -> Labels:
    return Labels(structures={f"s{number}": number for number in range(1, outputs + 1)}, activation="sigmoid")


def line(*columns: tuple[float, ...]) -> Window:
    """Voxels side by side, each with its outputs."""
    return Window(torch.tensor(columns).T.reshape(-1, 1, 1, len(columns)), 0, range(1))


def stretched(present: int, size: int) -> Resize:
    return Resize((1, 1, present), (1, 1, size), (1, 1, 1), None)


@WAYS
def test_the_border_lies_where_the_logits_cross(choose: Choose) -> None:
    window, labels = line((0.0, 3.0), (0.0, -1.0)), softmax_labels(2)
    # structure 1 leads by 3, 2.5, 2, 1.5 ... -1 at 0, 1/8, 2/8 ...: it wins up to 3/4 of the way
    answer = choose(window, range(1), stretched(2, 8), labels)
    assert answer.tolist() == [[[1, 1, 1, 1, 1, 0, 0, 0]]]


@WAYS
def test_a_structure_may_win_between_voxels_that_it_wins_nowhere(choose: Choose) -> None:
    window, labels = line((4.0, 0.0, 3.0), (0.0, 4.0, 3.0)), softmax_labels(3)
    assert choose(window, range(1), stretched(2, 8), labels).tolist() == [[[0, 0, 0, 2, 2, 1, 1, 1]]]


@WAYS
def test_of_equals_the_first_wins(choose: Choose) -> None:
    window, labels = line((1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)), softmax_labels(3)
    assert choose(window, range(1), stretched(3, 3), labels).tolist() == [[[0, 0, 1]]]
    assert choose(window, range(1), stretched(3, 6), labels).tolist() == [[[0, 0, 0, 2, 2, 1]]]


@WAYS
def test_regions_paint_over_each_other(choose: Choose) -> None:
    window, labels = line((1.0, -1.0), (1.0, 3.0), (-5.0, 0.0)), regions(2)
    assert choose(window, range(1), stretched(3, 3), labels).tolist() == [[[1, 2, 0]]]
    # between the first two, region 2 is -1, 0 and 1 at 0, 1/4 and 1/2; zero is outside
    assert choose(window, range(1), stretched(3, 6), labels).tolist() == [[[1, 1, 2, 2, 2, 0]]]


def random_case(seed: int) -> tuple[Window, Resize, Labels]:
    """Random volumes of small integers, full of ties, or of noise, in all types of numbers that networks answer in."""
    rng = np.random.default_rng(seed)
    present, size = rng.integers(1, 11, 3), rng.integers(1, 16, 3)
    if seed % 7 == 0:
        size = present
    labels = (softmax_labels if seed % 2 else regions)(int(rng.choice([2, 3, 5, 17, 40])))
    shape = (labels.outputs, *present)
    values = rng.integers(-2, 3, shape) if seed % 4 < 2 else rng.normal(size=shape)
    dtype = (torch.float32, torch.float16, torch.bfloat16)[seed % 3]
    orders = rng.choice([0, 1, 1, 1], 3)
    resize = Resize(tuple(present.tolist()), tuple(size.tolist()), tuple(orders.tolist()), None)
    return Window(torch.from_numpy(values).to(dtype), 0, range(int(size[0]))), resize, labels


@WAYS
@pytest.mark.parametrize("seed", range(80))
def test_as_if_everything_were_interpolated(choose: Choose, seed: int) -> None:
    window, resize, labels = random_case(seed)
    dense = torch.cat([logits for _, logits in dense_blocks(window, resize)], dim=1)
    certain = clear(labels, dense)  # compiled loops, torch and a GPU may round the last bit in their own ways
    answer = choose(window, window.planes, resize, labels)
    np.testing.assert_array_equal(answer[certain], labels.choose(dense).numpy()[certain])


@WAYS
@pytest.mark.parametrize("seed", range(8))
def test_of_many_equals_the_first_wins(choose: Choose, seed: int) -> None:
    """Small whole numbers at shares of 1/4: nothing is rounded, so that ties are ties however they are computed."""
    rng = np.random.default_rng(seed)
    labels = (softmax_labels if seed % 2 else regions)(int(rng.choice([2, 3, 5, 17])))
    logits = torch.from_numpy(rng.integers(-2, 3, (labels.outputs, 3, 4, 5))).to(
        (torch.float32, torch.float16)[seed % 2]
    )
    window, resize = Window(logits, 0, range(6)), Resize((3, 4, 5), (6, 8, 10), (1, 1, 1), None)
    dense = torch.cat([logits for _, logits in dense_blocks(window, resize)], dim=1)
    assert not clear(labels, dense).all()
    np.testing.assert_array_equal(choose(window, range(6), resize, labels), labels.choose(dense).numpy())


@WAYS
def test_planes_of_a_window_that_begins_later(choose: Choose) -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 9, 5, 6)))
    resize, labels = Resize((9, 5, 6), (20, 8, 9), (1, 1, 1), None), softmax_labels(4)
    whole = choose(Window(logits.float(), 0, range(20)), range(20), resize, labels)
    part = choose(Window(logits[:, 3:7].float(), 3, range(8, 14)), range(9, 12), resize, labels)
    np.testing.assert_array_equal(part, whole[9:12])


@WAYS
def test_logits_in_any_order_of_memory(choose: Choose) -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 12, 13, 14))).float()
    resize, labels = Resize((6, 7, 8), (9, 9, 9), (1, 1, 1), None), softmax_labels(3)
    inner = (slice(None), slice(3, 9), slice(2, 9), slice(4, 12))
    views = [
        logits,
        logits.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0),
        logits.transpose(1, 3).contiguous().transpose(1, 3),
    ]
    answers = [choose(Window(view[inner], 0, range(9)), range(9), resize, labels) for view in views]
    assert not views[1].is_contiguous()
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


@WAYS
def test_many_structures(choose: Choose) -> None:
    labels = softmax_labels(400)
    logits = torch.full((400, 1, 1, 3), -5.0)
    logits[[399, 300, 7], 0, 0, [0, 1, 2]] = 4.0
    assert choose(Window(logits, 0, range(1)), range(1), stretched(3, 3), labels).tolist() == [[[399, 300, 7]]]
    assert choose(Window(logits, 0, range(1)), range(1), stretched(3, 6), labels).tolist() == [
        [[399, 399, 300, 300, 7, 7]]
    ]


@WAYS
def test_logits_without_numbers_in_them_give_a_structure_that_exists(choose: Choose) -> None:
    labels = softmax_labels(3)
    logits = torch.randn(3, 2, 4, 4)
    logits[:, 0, 1:3] = torch.nan
    resize = Resize((2, 4, 4), (5, 9, 9), (1, 1, 1), None)
    answer = choose(Window(logits, 0, range(5)), range(5), resize, labels)
    assert ((answer >= 0) & (answer < 3)).all()
