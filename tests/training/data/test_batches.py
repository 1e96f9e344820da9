"""Batches: batch n follows from the seed and n alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_augmentation, make_configuration, make_sample, make_training

from medseg.core.labels import IGNORE, OUTSIDE
from medseg.plans.schema import Configuration
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batches
from medseg.training.data.sample_placement import place_samples
from medseg.training.data.sampling import generator

CPU = torch.device("cpu")
ROUNDING = 1e-5
"""Filters sum some ten products of values of 1 to 10; another number of samples may take them in another order."""
EVERYTHING = {
    "rotation_probability": 0.5,
    "scaling_probability": 0.5,
    "noise_probability": 0.5,
    "blur_probability": 0.5,
    "brightness_probability": 0.5,
    "contrast_probability": 0.5,
    "low_resolution_probability": 0.5,
    "gamma_probability": 0.5,
    "gamma_inverted_probability": 0.5,
}


def samples(shape: tuple[int, ...] = (10, 12, 14), count: int = 3) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [make_sample(rng.normal(size=shape), rng.integers(0, 3, size=shape), name=str(n)) for n in range(count)]


def batches(
    configuration: Configuration,
    of: list[Sample] | None = None,
    seed: int = 0,
    numbers: range | None = None,
    **augmentation: Any,
) -> Batches:
    settings = make_augmentation(**augmentation).model_dump()
    return Batches(of or samples(), configuration, make_training(seed=seed, augmentation=settings), CPU, numbers)


@pytest.mark.parametrize(("dimensions", "patch"), [(3, [8, 8, 16]), (2, [8, 16])])
def test_shapes_and_types(dimensions: int, patch: list[int]) -> None:
    image, label, annotated, *_ = batches(
        make_configuration(dimensions, patch_voxels=patch, batch_size=5), **EVERYTHING
    ).make(0)
    assert annotated is None
    assert image.shape == (5, 1, *patch)
    assert image.dtype == torch.float32
    assert label.shape == (5, *patch)
    assert label.dtype == torch.int16
    assert set(label.unique().tolist()) <= {0, 1, 2}
    assert image.isfinite().all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_batch_does_not_depend_on_what_was_made_before(dimensions: int) -> None:
    configuration = make_configuration(dimensions, patch_voxels=[8] * dimensions, batch_size=3)
    first = batches(configuration, **EVERYTHING)
    expected = [first.make(step) for step in range(6)]
    second = batches(configuration, **EVERYTHING)
    for step in (5, 2, 2, 0):
        for one, other in zip(second.make(step)[:2], expected[step][:2], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.equal(expected[0][0], expected[1][0])
    assert not torch.equal(batches(configuration, seed=1, **EVERYTHING).make(0)[0], expected[0][0])


def test_a_larger_batch_begins_with_the_same_free_samples() -> None:
    small = batches(make_configuration(3, patch_voxels=[8] * 3, batch_size=4), **EVERYTHING).make(3)
    large = batches(make_configuration(3, patch_voxels=[8] * 3, batch_size=8), **EVERYTHING).make(3)
    # half of a batch is forced, its second half: the first two samples of both are free
    torch.testing.assert_close(small[0][:2], large[0][:2], rtol=0, atol=ROUNDING)
    torch.testing.assert_close(small[1][:2], large[1][:2], rtol=0, atol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_parts_of_a_batch_are_the_batch_whoever_makes_them(dimensions: int) -> None:
    configuration = make_configuration(dimensions, patch_voxels=[8] * dimensions, batch_size=5)
    for step in range(4):
        whole = batches(configuration, **EVERYTHING).make(step)
        parts = [
            batches(configuration, numbers=numbers, **EVERYTHING).make(step) for numbers in (range(2), range(2, 5))
        ]
        torch.testing.assert_close(torch.cat([part.image for part in parts]), whole.image, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(torch.cat([part.target for part in parts]), whole.target, rtol=0, atol=0)
        assert parts[0].origins + parts[1].origins == whole.origins


def test_a_sample_says_where_it_comes_from() -> None:
    of = samples()
    configuration = make_configuration(3, patch_voxels=[4, 8, 8], batch_size=4, mirror_axes=[])
    for batch in (batches(configuration, of).make(step) for step in range(3)):
        for image, origin in zip(batch.image, batch.origins, strict=True):
            assert origin.shape_zyx == (4, 8, 8)
            start = np.array(origin.start_zyx)
            low, high = np.maximum(start, 0), np.minimum(start + origin.shape_zyx, (10, 12, 14))
            inside = tuple(slice(*ends) for ends in zip(low, high, strict=True))
            there = tuple(slice(*ends) for ends in zip(low - start, high - start, strict=True))
            torch.testing.assert_close(image[0][there], of[int(origin.case)].image[0][inside], rtol=0, atol=0)


def test_the_previous_stage_comes_along() -> None:
    of = [replace(sample, previous=sample.label + 3) for sample in samples()]
    configuration = make_configuration(3, patch_voxels=[8, 8, 16], batch_size=4)
    batch = batches(configuration, of, rotation_probability=0.5).make(0)
    assert batch.previous is not None
    inside = batch.previous >= 0
    torch.testing.assert_close(batch.previous[inside], batch.target[inside] + 3, rtol=0, atol=0)
    assert not batch.target[~inside].any()
    assert batches(configuration).make(0).previous is None


def test_batches_come_in_order_from_a_step_on() -> None:
    maker = batches(make_configuration(2, patch_voxels=[8, 8]))
    for step, (image, label, *_) in zip((3, 4, 5), maker.ahead(3), strict=False):
        torch.testing.assert_close(image, maker.make(step)[0], rtol=0, atol=0)
        torch.testing.assert_close(label, maker.make(step)[1], rtol=0, atol=0)


def test_outside_is_background_and_zero_in_channels_normalized_within_the_mask() -> None:
    image = np.full((8, 8, 8), 5.0)
    label = np.zeros((8, 8, 8))
    label[:, :, :3] = OUTSIDE
    label[:, :, 3] = IGNORE
    label[:, :, 4] = 1
    for nonzero_only in (True, False):
        normalization = [{"scheme": "zscore", "nonzero_only": nonzero_only}]
        configuration = make_configuration(3, patch_voxels=[4, 8, 8], normalization=normalization, mirror_axes=[])
        settings = {"noise_probability": 1.0, "noise_std": [0.1, 0.1]}
        patch, target, *_ = batches(configuration, [make_sample(image, label)], **settings).make(0)
        outside = patch[:, 0][target == 0]
        assert set(target.unique().tolist()) == {IGNORE, 0, 1}
        assert bool((outside == 0).any()) == nonzero_only
        assert (patch[:, 0][target == 1] != 0).all()
        assert (patch[:, 0][target == IGNORE] != 0).all()


def test_the_samples_are_not_changed() -> None:
    of = samples()
    copies = [(sample.image.clone(), sample.label.clone()) for sample in of]
    configuration = make_configuration(
        3, patch_voxels=[12, 12, 16], normalization=[{"scheme": "zscore", "nonzero_only": True}]
    )
    maker = batches(configuration, of, **EVERYTHING)
    for step in range(4):
        maker.make(step)
    for sample, (image, label) in zip(of, copies, strict=True):
        torch.testing.assert_close(sample.image, image, rtol=0, atol=0)
        torch.testing.assert_close(sample.label, label, rtol=0, atol=0)


def test_a_batch_says_what_was_annotated_in_each_of_its_samples() -> None:
    whole, partly = samples(count=2)
    partly = replace(partly, structures=torch.tensor([True, False]))
    maker = batches(make_configuration(2, patch_voxels=[8, 8], batch_size=3), [whole, partly])
    seen = set()
    for step in range(20):
        cases = [maker.sampler.draw(generator(0, step, number), number).case for number in range(3)]
        annotated = maker.make(step).annotated
        expected = [[True, case == 0] for case in cases]
        assert expected == ([[True, True]] * 3 if annotated is None else annotated.tolist())
        seen.add(sum(cases))
    assert len(seen) > 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_gpu_makes_the_batches_of_a_cpu(dimensions: int, resident: bool) -> None:
    """All but the noise, which comes from the device's own generator; and nothing waits for the device."""
    cuda, changes = torch.device("cuda"), {**EVERYTHING, "noise_probability": 0.0}
    of = samples((24, 26, 28))
    configuration = make_configuration(dimensions, patch_voxels=[8] * dimensions, batch_size=6)
    expected = batches(configuration, of, **changes)
    placed = place_samples(of, cuda, 0, 0)[0] if resident else of
    training = make_training(augmentation=make_augmentation(**changes).model_dump())
    maker = Batches(placed, configuration, training, cuda)
    maker.make(0)
    for step in range(4):
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = maker.make(step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.testing.assert_close(found.image.cpu(), expected.make(step).image, rtol=1e-3, atol=1e-3)
        same = (found.target.cpu() == expected.make(step).target).float().mean()
        assert float(same) > 0.999


def test_a_batch_has_the_loss_weights_of_its_cases_where_any_case_has_one() -> None:
    plain = [make_sample(np.zeros((8, 8, 8)), np.zeros((8, 8, 8)), name=name) for name in "ab"]
    weighed = [plain[0], replace(plain[1], case=replace(plain[1].case, loss_weight=0.25))]
    configuration = make_configuration(3, patch_voxels=[8] * 3, batch_size=8)
    batches = [Batches(samples, configuration, make_training(), CPU).make(0) for samples in (plain, weighed)]
    assert batches[0].case_weights is None
    expected = [{"a": 1.0, "b": 0.25}[origin.case] for origin in batches[1].origins]
    assert batches[1].case_weights is not None
    assert batches[1].case_weights.tolist() == expected
    assert {*expected} == {1.0, 0.25}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_weights_of_voxels_go_through_the_same_rotation_as_the_image(dimensions: int) -> None:
    """The map of weights is the image plus 1, and comes back as that; a case without one has the weight 1."""
    rng = np.random.default_rng(0)
    image = rng.random((10, 20, 20))
    sample = make_sample(image, np.zeros(image.shape))
    samples = [replace(sample, weight_offsets=sample.image[0]), make_sample(image, np.zeros(image.shape), name="other")]
    patch = [12, 12] if dimensions == 2 else [8, 12, 12]
    configuration = make_configuration(dimensions, patch_voxels=patch, batch_size=12, mirror_axes=[0, 1])
    turned = make_augmentation(rotation_probability=0.7, scaling_probability=0.5)
    batch = Batches(samples, configuration, make_training(augmentation=turned.model_dump()), CPU).make(0)
    assert batch.voxel_weights is not None
    assert batch.image.shape[1] == 1
    for weights, patch_image, origin in zip(batch.voxel_weights, batch.image[:, 0], batch.origins, strict=True):
        expected = torch.ones_like(weights) if origin.case == "other" else patch_image + 1
        torch.testing.assert_close(weights, expected)
    assert {origin.case for origin in batch.origins} == {"case", "other"}
