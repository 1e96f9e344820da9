"""A case to the network's grid and back: for every orientation, axis order and border."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from builders import GOLDENS, NNUNET, golden_plan, make_image, make_plan
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.errors import DataError
from medseg.core.image import Image, Orientation
from medseg.core.labels import OUTSIDE, Labels
from medseg.io.images import read_image
from medseg.plans.schema import Plan
from medseg.preprocessing.restore import restore
from medseg.preprocessing.volume import prepare

ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
LABELS = Labels(structures={"one": 3, "two": 200})
REGIONS = Labels(structures={"both": [3, 200], "two": 200}, activation="sigmoid", region_values=[3, 200])


def turned(
    axes: tuple[int, ...], signs: tuple[int, ...], spacing_ras: tuple[float, float, float]
) -> NDArray[np.float64]:
    """An affine whose stored axis i (x, y, z) runs along world axis `axes[i]`."""
    affine = np.zeros((4, 4))
    for stored, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, stored] = sign * spacing_ras[world]
    affine[3, 3] = 1
    return affine


def scan_with_border(seed: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """(z, y, x) intensities that are zero at the border, and label indices inside."""
    rng = np.random.default_rng(seed)
    inside = (slice(1, 7), slice(2, 5), slice(0, 8))
    image = np.zeros((9, 6, 11), dtype=np.int16)
    label = np.zeros_like(image)
    image[inside] = rng.integers(1, 100, size=(6, 3, 8))
    label[inside] = rng.integers(0, 3, size=(6, 3, 8))
    return image, label


def logits_of(label: NDArray[np.int16], labels: Labels) -> torch.Tensor:
    """Logits that say what a map of label indices says."""
    if labels.activation == "softmax":
        wanted = np.stack([label == index for index in range(len(labels.values))])
    else:
        wanted = labels.membership[:, label]
    return torch.from_numpy(np.where(wanted, 4.0, -4.0))


@pytest.mark.parametrize("mode", ["canonical", "stored"])
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_there_and_back_is_exact_without_resampling(mode: str, axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    seed = ORIENTATIONS.index((axes, signs))
    array, label = scan_with_border(seed)
    transpose = list(np.random.default_rng(seed).permutation(3))
    image = Image(array[None], turned(axes, signs, (1.0, 1.5, 2.5)))
    orientation = Orientation.of(image) if mode == "canonical" else Orientation()
    spacing = orientation.permute(image.spacing_mm)
    for labels in (LABELS, REGIONS):
        plan = make_plan(
            configuration={"spacing_mm": [spacing[axis] for axis in transpose]},
            orientation=mode,
            transpose_forward=transpose,
            labels=labels.model_dump(),
        )
        configuration = plan.configuration("main")
        volume = prepare(image, plan, configuration, label)
        assert volume.label is not None
        assert sorted(volume.image.shape[1:]) == [3, 6, 8]
        assert volume.image.shape[1:] == volume.label.shape
        answer = restore([logits_of(volume.label, labels)], volume.geometry, labels, configuration)
        np.testing.assert_array_equal(answer, np.array(labels.values)[label])
        assert answer.dtype == np.uint8


def test_one_anatomy_gives_one_network_input_in_any_orientation() -> None:
    array, label = scan_with_border(0)
    plan = make_plan(
        configuration={"spacing_mm": [2.0, 1.5, 1.2]}, orientation="canonical", transpose_forward=[0, 1, 2]
    )
    inputs = []
    for axes, signs in ORIENTATIONS:
        affine = turned(axes, signs, (1.0, 1.5, 2.5))
        orientation = Orientation.of(Image(np.zeros((1, 2, 2, 2)), affine))
        stored = Image(np.ascontiguousarray(orientation.invert(array[None])), affine)
        volume = prepare(stored, plan, plan.configuration("main"), orientation.invert(label[None])[0])
        inputs.append((volume.image, volume.label))
    for image, indices in inputs[1:]:
        np.testing.assert_array_equal(image, inputs[0][0])
        np.testing.assert_array_equal(indices, inputs[0][1])


@pytest.mark.parametrize("spacing", [(2.0, 0.8, 0.7), (6.0, 0.8, 0.7)])
def test_there_and_back_nearly_is_the_label_with_resampling(spacing: tuple[float, float, float]) -> None:
    z, y, x = np.meshgrid(*(np.arange(n) * mm for n, mm in zip((14, 40, 44), spacing, strict=True)), indexing="ij")
    radius = np.sqrt(((z - 6 * spacing[0]) / (spacing[0] * 4)) ** 2 + ((y - 16) / 11) ** 2 + ((x - 15) / 12) ** 2)
    label = (radius < 1).astype(np.int16) + (radius < 0.6)
    image = make_image(1 + label * 100 + (z > 3 * spacing[0]), spacing)
    plan = make_plan(transpose_forward=[2, 0, 1], labels=LABELS.model_dump())
    configuration = plan.configuration("main")
    volume = prepare(image, plan, configuration, label)
    assert volume.label is not None
    assert volume.image.shape[1:] == tuple(
        round(n * mm) for n, mm in zip((44, 14, 40), (spacing[2], *spacing[:2]), strict=True)
    )
    answer = restore([logits_of(volume.label, LABELS)], volume.geometry, LABELS, configuration)
    for index, value in enumerate(LABELS.values):
        mine, reference = answer == value, label == index
        assert 2 * (mine & reference).sum() / (mine.sum() + reference.sum()) > 0.94


def test_two_dimensional_configurations_leave_the_slices_where_they_are() -> None:
    image = make_image(np.random.default_rng(0).normal(size=(5, 8, 10)) + 50, (4.0, 2.0, 1.0))
    plan = make_plan(2, {"spacing_mm": [1.0, 1.0]})
    volume = prepare(image, plan, plan.configuration("main"))
    assert volume.label is None
    assert volume.image.shape == (1, 5, 16, 10)
    assert volume.geometry.network_spacing_mm == (4.0, 1.0, 1.0)


@pytest.mark.parametrize(("network_mm", "slices"), [(4.0, [3, 3, 3, 3, 0, 0, 0, 0]), (2.0, [3, 3, 3, 0])])
def test_answers_from_coarse_slices_are_not_mixed(network_mm: float, slices: list[int]) -> None:
    # two slices, sure of their own answers to different degrees; slices 4 mm apart on a grid of 1 mm count as
    # anisotropic, so each voxel takes the nearest; 2 mm apart they are interpolated, and the surer one gains a voxel
    plan = make_plan(configuration={"spacing_mm": [network_mm, 1.0, 1.0]}, labels=LABELS.model_dump())
    configuration = plan.configuration("main")
    image = make_image(np.ones((int(2 * network_mm), 3, 3)))
    volume = prepare(image, plan, configuration)
    assert volume.image.shape == (1, 2, 3, 3)
    logits = torch.zeros(3, 2, 3, 3)
    logits[1] = torch.tensor([9.0, -1.0])[:, None, None]
    logits[2] = -99
    answer = restore([logits], volume.geometry, LABELS, configuration)
    assert answer[:, 1, 1].tolist() == slices


def test_the_axis_order_of_the_plan_decides_which_spacing_goes_where() -> None:
    image = make_image(np.ones((4, 6, 10)), (1.0, 2.0, 3.0))
    plan = make_plan(configuration={"spacing_mm": [3.0, 0.5, 1.0]}, transpose_forward=[2, 0, 1])
    volume = prepare(image, plan, plan.configuration("main"))
    assert volume.geometry.spacing_mm == (3.0, 1.0, 2.0)
    assert volume.image.shape[1:] == (10, 8, 12)


def test_normalization_comes_after_the_crop_and_before_resampling() -> None:
    array = np.zeros((6, 8, 8), dtype=np.float32)
    array[1:5, 1:7, 1:7] = np.random.default_rng(0).normal(size=(4, 6, 6)) + 30
    plan = make_plan(configuration={"spacing_mm": [1.0, 0.5, 0.5]})
    volume = prepare(make_image(array), plan, plan.configuration("main"))
    inside = array[1:5, 1:7, 1:7].astype(np.float64)
    normalized = (inside - inside.mean()) / inside.std()
    expected = ndimage.zoom(normalized, (1, 2, 2), order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(volume.image[0], expected.clip(normalized.min(), normalized.max()), atol=1e-4)


def test_voxels_outside_the_content_are_marked_where_normalization_leaves_them_out() -> None:
    array = np.zeros((3, 5, 6), dtype=np.float32)
    array[:, 0:4, 0:4] = np.random.default_rng(0).uniform(1, 9, size=(3, 4, 4))
    array[1, 1:3, 1:3] = 0  # a hole, closed on all sides, counts as content
    array[2, 4, 5] = 7
    content = np.zeros(array.shape, dtype=bool)
    content[:, 0:4, 0:4] = content[2, 4, 5] = True
    label = np.zeros(array.shape, dtype=np.int16)
    label[0, 0, 0] = label[0, 0, 5] = 1
    masked = make_plan(configuration={"normalization": [{"scheme": "zscore", "nonzero_only": True}]})
    volume = prepare(make_image(array), masked, masked.configuration("main"), label)
    assert volume.label is not None
    np.testing.assert_array_equal(volume.label == OUTSIDE, ~content & (label == 0))
    assert not volume.image[0][~content].any()
    inside = volume.image[0][content]
    assert inside.mean() == pytest.approx(0, abs=1e-6)
    assert inside.std() == pytest.approx(1, abs=1e-6)
    plain = make_plan()
    unmarked = prepare(make_image(array), plan=plain, configuration=plain.configuration("main"), label=label)
    np.testing.assert_array_equal(unmarked.label, label)


def test_an_empty_scan_keeps_its_grid() -> None:
    plan = make_plan()
    volume = prepare(make_image(np.zeros((3, 4, 5))), plan, plan.configuration("main"))
    assert volume.image.shape == (1, 3, 4, 5)
    assert not volume.image.any()


def test_channels_are_cropped_to_what_any_of_them_holds() -> None:
    array = np.zeros((2, 4, 6, 6))
    array[0, 1, 2, 2] = array[1, 2, 4, 3] = 5
    data = {**make_plan().data.model_dump(), "channels": ["T1", "T2"]}
    plan = make_plan(configuration={"normalization": [{"scheme": "none"}] * 2}, data=data)
    volume = prepare(Image(array, np.eye(4)), plan, plan.configuration("main"))
    assert volume.geometry.box == (slice(1, 3), slice(2, 5), slice(2, 4))
    assert volume.image.sum() == 10


def test_a_scan_with_other_channels_is_refused() -> None:
    plan = make_plan()
    with pytest.raises(DataError, match=r"The image has 2 channels; the plan has 1: MRI"):
        prepare(Image(np.zeros((2, 3, 3, 3)), np.eye(4)), plan, plan.configuration("main"))


def test_the_input_is_not_changed() -> None:
    array, label = scan_with_border(1)
    image, copy, label_copy = make_image(array), array.copy(), label.copy()
    for scheme in ("none", "zscore"):
        plan = make_plan(configuration={"normalization": [{"scheme": scheme, "nonzero_only": scheme == "zscore"}]})
        volume = prepare(image, plan, plan.configuration("main"), label)
        volume.image[:] = -1
        assert volume.label is not None
    np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(label, label_copy)


@pytest.mark.real
@pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"no goldens in {GOLDENS}; set MEDSEG_TEST_GOLDENS")
@pytest.mark.parametrize("model", ["plain3d", "aniso3d", "resenc3d"])
@pytest.mark.parametrize("case", ["case1", "case2", "case4"])
def test_network_inputs_equal_nnunets(model: str, case: str) -> None:
    plan: Plan = golden_plan(model)
    theirs = np.load(NNUNET / model / "preprocessed.npz")[case]
    mine = prepare(
        read_image(NNUNET / "scans" / f"{case}_0000.nii.gz"), plan, plan.configuration(plan.default_configuration)
    )
    assert mine.image.shape == theirs.shape
    assert np.abs(mine.image - theirs).max() < 1e-3 * np.ptp(theirs)


@pytest.mark.parametrize(
    ("rule", "known", "nnunet", "expected"),
    [
        ("files", True, (1.0, 1.0, 1.0), (0.0005, 0.0003, 0.0003)),
        ("nnunet", True, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),  # Tiff3DIO reads no tags
        ("nnunet", False, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        ("nnunet", True, None, (0.0005, 0.0003, 0.0003)),  # from CASE.json, or of a format with units in mm
        ("one", True, None, (1.0, 1.0, 1.0)),  # NaturalImage2DIO
        ("one", False, None, (1.0, 1.0, 1.0)),
    ],
)
def test_spacing_is_that_of_the_reader_that_the_model_was_trained_with(
    rule: str, known: bool, nnunet: tuple[float, float, float] | None, expected: tuple[float, float, float]
) -> None:
    plan = make_plan(data={**make_plan().data.model_dump(), "spacing_rule": rule}, orientation="stored")
    image = Image(np.ones((1, 4, 4, 4)), np.diag([0.0003, 0.0003, 0.0005, 1]), known, nnunet_spacing=nnunet)
    configuration = make_plan(3, {"spacing_mm": list(expected)}).configuration("main")
    assert prepare(image, plan, configuration).geometry.spacing_mm == pytest.approx(expected)
