"""Logits to labels on the scan's own grid, against a dense computation in float64 that knows nothing of ours."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_configuration
from decisions import clear
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.image import Orientation
from medseg.core.labels import Labels
from medseg.plans.schema import Configuration, Resampling
from medseg.preprocessing.resample import separate_axis
from medseg.preprocessing.restore import restore, stream_maps
from medseg.preprocessing.volume import Geometry

TURNS = list(permutations(range(3)))
ROUNDING = 1e-5


def dense(logits: NDArray, shape: Sequence[int], how: Resampling, axis: int | None) -> NDArray[np.float64]:
    """What nnU-Net does, output after output: skimage's resize is scipy's zoom, clipped; slices of an axis apart."""
    if logits.shape[1:] == tuple(shape):
        return logits
    if axis is None:
        return np.stack([zoomed(one, shape, how.order) for one in logits])
    in_plane = [size for output_of, size in enumerate(shape) if output_of != axis]
    positions = (np.arange(shape[axis]) + 0.5) * logits.shape[axis + 1] / shape[axis] - 0.5
    result = []
    for one in logits:
        slices = np.stack([zoomed(part, in_plane, how.order) for part in np.moveaxis(one, axis, 0)], axis=axis)
        grid = np.meshgrid(*(positions if n == axis else np.arange(shape[n]) for n in range(3)), indexing="ij")
        result.append(ndimage.map_coordinates(slices, grid, order=how.order_across, mode="nearest"))
    return np.stack(result)


def zoomed(array: NDArray, shape: Sequence[int], order: int) -> NDArray[np.float64]:
    factors = [new / old for old, new in zip(array.shape, shape, strict=True)]
    result = ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)
    return result.clip(array.min(), array.max())


def cut(logits: torch.Tensor, rng: np.random.Generator) -> list[torch.Tensor]:
    """Consecutive slabs of random thickness."""
    places = np.sort(rng.integers(0, logits.shape[1] + 1, rng.integers(0, 5)))
    return list(logits.tensor_split(torch.from_numpy(places), dim=1))


def random_geometry(rng: np.random.Generator, spacing: NDArray, target: NDArray) -> Geometry:
    """A scan turned somehow, with a border of nothing on some sides."""
    inner = rng.integers(1, 12, 3)
    before, after = rng.integers(0, 3, 3), rng.integers(0, 3, 3)
    turned = before + inner + after
    return Geometry(
        Orientation(TURNS[rng.integers(6)], tuple(rng.random(3) < 0.5)),  # type: ignore[arg-type]
        TURNS[rng.integers(6)],  # type: ignore[arg-type]
        tuple(turned.tolist()),
        tuple(slice(a, a + n) for a, n in zip(before.tolist(), inner.tolist(), strict=True)),  # type: ignore[arg-type]
        tuple(spacing.tolist()),
        tuple(target.tolist()),
    )


def random_spacings(rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Of the scan and of the network's grid; one in three scans has thick slices along some axis."""
    spacing, target = rng.uniform(0.5, 2, 3), rng.uniform(0.5, 2, 3)
    if rng.random() < 0.33:
        spacing[rng.integers(3)] *= 5
    if rng.random() < 0.2:
        target = spacing
    return spacing, target


def random_labels(rng: np.random.Generator) -> Labels:
    values = (rng.permutation(400)[: rng.integers(1, 7)] + 1).tolist()
    structures = {f"s{value}": value for value in values}
    return Labels(structures=structures, activation=("softmax", "sigmoid")[rng.integers(2)])


def random_logits(rng: np.random.Generator, shape: Sequence[int]) -> torch.Tensor:
    kind = rng.integers(3)
    values = rng.normal(size=shape) if kind else rng.integers(-2, 3, shape)
    if kind == 2:
        values = ndimage.gaussian_filter(values, (0, 1.5, 1.5, 1.5)) * 4
    return torch.from_numpy(values).to((torch.float32, torch.float16, torch.bfloat16)[rng.integers(3)])


def check(answer: NDArray, expected: NDArray, labels: Labels, geometry: Geometry) -> None:
    """Every voxel has the structure that wins, or one that equals it within rounding; outside the box is background."""
    turned = geometry.turn(answer[None])[0]
    inside = turned[geometry.box]
    outside = np.ones(turned.shape, dtype=bool)
    outside[geometry.box] = False
    assert (turned[outside] == labels.background).all()
    if labels.activation == "softmax":
        number = np.searchsorted(labels.decisions, inside)  # they rise
        chosen = np.take_along_axis(expected, number[None], axis=0)[0]
        assert (chosen >= expected.max(0) - ROUNDING).all()
        return
    output_of = {value: number for number, value in enumerate(labels.decisions)}
    number = np.vectorize(output_of.__getitem__, otypes=[int])(inside)
    for region, logits in enumerate(expected, start=1):
        assert (logits[number == region] > -ROUNDING).all()
        assert (logits[number < region] < ROUNDING).all()


def configured(how: Resampling) -> Configuration:
    return make_configuration(resample_logits=how.model_dump())


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(40))
def test_as_a_dense_computation_in_float64(seed: int, order: int, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng([seed, *request.node.name.encode()])
    apart = (None, None, True, False)[rng.integers(4)]
    how = Resampling(order=order, order_across=int(rng.integers(2)), separate_axis=apart)
    spacing, target = random_spacings(rng)
    geometry, labels = random_geometry(rng, spacing, target), random_labels(rng)
    logits = random_logits(rng, (labels.outputs, *geometry.network_shape))
    answer = restore(cut(logits, rng), geometry, labels, configured(how))
    assert answer.dtype == labels.dtype
    assert answer.flags.c_contiguous
    axis = separate_axis(geometry.network_spacing_mm, geometry.spacing_mm, apart)
    check(answer, dense(logits.double().numpy(), geometry.cropped_shape, how, axis), labels, geometry)


def plain_geometry(shape: tuple[int, int, int], spacing: Sequence[float], target: Sequence[float]) -> Geometry:
    box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    return Geometry(Orientation(), (0, 1, 2), shape, box, tuple(spacing), tuple(target))  # type: ignore[arg-type]


LINEAR = Resampling(order=1, order_across=0, separate_axis=None)


@pytest.mark.parametrize("seed", range(10))
def test_ties_go_to_the_first_structure(seed: int) -> None:
    # between whole numbers at shares of 1/4 nothing is rounded, so equal means equal
    rng = np.random.default_rng(seed)
    geometry = plain_geometry((12, 8, 14), (1, 1, 1), (2, 2, 2))
    logits = torch.from_numpy(rng.integers(-1, 2, (4, 6, 4, 7)).astype(np.float32))
    labels = Labels(structures={"a": 1, "b": 2, "c": 3})
    expected = dense(logits.double().numpy(), geometry.cropped_shape, LINEAR, None)
    assert (np.diff(np.sort(expected, axis=0), axis=0)[-1] == 0).any()
    answer = restore(cut(logits, rng), geometry, labels, configured(LINEAR))
    np.testing.assert_array_equal(answer, expected.argmax(0))


@pytest.mark.parametrize("slices", [1, 5])
def test_two_dimensional_configurations_keep_the_slices_apart(slices: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(3, slices, 9, 7))).float()
    geometry = plain_geometry((slices, 18, 14), (4.0, 1.0, 1.0), (4.0, 2.0, 2.0))
    labels = Labels(structures={"a": 1, "b": 2})
    answer = restore(logits.split(1, dim=1), geometry, labels, configured(LINEAR))
    for number in range(slices):
        alone = dense(logits[:, number : number + 1].double().numpy(), (1, 18, 14), LINEAR, None)
        certain = clear(labels, torch.from_numpy(alone))[0]
        np.testing.assert_array_equal(answer[number][certain], alone.argmax(0)[0][certain])


def test_a_volume_for_the_compiled_loops_cut_or_whole_and_with_any_number_of_threads() -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    geometry = plain_geometry((150, 150, 160), (1, 1, 1), (2, 2, 2))
    logits = torch.from_numpy(ndimage.gaussian_filter(rng.normal(size=(5, 75, 75, 80)), (0, 2, 2, 2))).half()
    labels = Labels(structures={"a": 1, "b": 2, "c": 300, "d": 4})
    answers = []
    threads = torch.get_num_threads()
    for count, slabs in ((1, [logits]), (3, logits.split([30, 1, 44], dim=1)), (1, logits.split(1, dim=1))):
        torch.set_num_threads(count)
        try:
            answers.append(restore(slabs, geometry, labels, configured(LINEAR)))
        finally:
            torch.set_num_threads(threads)
    everything: list[tuple[NDArray, NDArray]] = []  # labels, and where all ways have to come to them
    written = np.array(labels.decisions)

    def sink(_: int, planes: torch.Tensor) -> None:
        everything.append((written[labels.choose(planes)], clear(labels, planes)))

    stream_maps([logits], geometry, configured(LINEAR), [sink])
    expected, certain = (np.concatenate(parts) for parts in zip(*everything, strict=True))
    assert certain.mean() > 0.99
    for answer in answers:
        np.testing.assert_array_equal(answer[certain], expected[certain])


def test_sinks_see_every_logit_and_change_no_label() -> None:
    rng = np.random.default_rng(3)
    geometry = random_geometry(rng, np.array([1.0, 0.8, 0.9]), np.array([1.4, 1.1, 0.6]))
    labels = Labels(structures={"a": 1, "b": 2})
    logits = torch.from_numpy(rng.normal(size=(3, *geometry.network_shape))).float()
    got: dict[int, torch.Tensor] = {}
    answer = restore(cut(logits, rng), geometry, labels, configured(LINEAR), [got.__setitem__])
    expected = dense(logits.double().numpy(), geometry.cropped_shape, LINEAR, None)
    certain = np.ones(answer.shape, bool)  # outside of the box is background
    geometry.turn(certain[None])[0][geometry.box] = clear(labels, torch.from_numpy(expected))
    alone = restore([logits], geometry, labels, configured(LINEAR))
    np.testing.assert_array_equal(answer[certain], alone[certain])
    assert [*got] == sorted(got)
    np.testing.assert_allclose(torch.cat([*got.values()], dim=1).numpy(), expected, atol=ROUNDING)


PEAK = """
import numpy as np, torch
from pathlib import Path
from medseg.core.image import Orientation
from medseg.core.labels import Labels
from medseg.preprocessing.restore import restore
from medseg.preprocessing.volume import Geometry
from medseg.plans.schema import Configuration, Resampling

def megabytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

def run(shape, network):
    box = tuple(slice(0, size) for size in shape)
    geometry = Geometry(Orientation(), (0, 1, 2), shape, box, (1.5, 0.8, 0.8), (1.5, 1.5, 1.5))
    assert geometry.network_shape == network
    slabs = (noise[:, start % 5 : start % 5 + 10].clone() for start in range(network[0] // 10))
    return restore(slabs, geometry, labels, configuration)

noise = torch.randn(26, 14, 137, 137, generator=torch.Generator().manual_seed(0)).half()
labels = Labels(structures={str(number): number for number in range(1, 26)})
how = Resampling(order=1, order_across=0, separate_axis=None)
configuration = Configuration.model_construct(resample_logits=how)
run((20, 256, 256), (20, 137, 137))  # imports and compiles what there is to
Path("/proc/self/clear_refs").write_text("5")  # the peak so far does not count
before = megabytes("VmRSS")
answer = run((150, 256, 256), (150, 137, 137))
assert len(np.unique(answer)) == 26
print(megabytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux does")
def test_memory_stays_far_below_all_outputs_on_the_scans_grid() -> None:
    # 26 outputs are 146 MB in float16 on the network's grid, 511 MB on the scan's;
    # a slab is 10 MB, the labels are 10 MB, and a few tens come and go with how memory is handed out
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 120
