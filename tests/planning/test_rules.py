"""The rules against worked examples, nnU-Net's published plans, and its own answers to 30 fingerprints."""

import json
from functools import cache
from itertools import pairwise, product
from typing import Any

import pytest
from paths import GOLDENS

from medseg.planning.memory import PLANNERS, count_outputs
from medseg.planning.rules import (
    ConfigurationProposal,
    DatasetFacts,
    Proposal,
    axis_order,
    median_shape,
    normalization,
    propose,
    target_spacing,
)

GOLDEN_FILE = GOLDENS / "planner" / "plans.json"
N_GOLDEN_ROWS = 30
GOLDEN_PLANNERS = {
    "default": ("default", None),
    "default_24GB": ("default", 24.0),
    "resenc_m": ("resenc-m", None),
    "resenc_l": ("resenc-l", None),
}
SCHEMES = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale_0_1",
    "RGBTo01Normalization": "rgb_0_1",
    "NoNormalization": "none",
}


def facts(
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0), shape: tuple[int, ...] = (36, 50, 35), **others: Any
) -> DatasetFacts:
    """A data set of equal images."""
    fields: dict[str, Any] = {"n_cases": 20, "n_outputs": 3, "channel_names": ("MRI",)}
    return DatasetFacts(**{"spacings_mm": [spacing], "shapes_voxels": [shape], **fields, **others})


# --- nnU-Net's own answers ---


@cache
def golden_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(GOLDEN_FILE.read_text())["rows"]
    assert len(rows) == N_GOLDEN_ROWS
    return rows


def golden_facts(fingerprint: dict[str, Any]) -> DatasetFacts:
    return DatasetFacts(
        spacings_mm=fingerprint["spacings"],
        shapes_voxels=fingerprint["shapes_after_crop"],
        n_cases=fingerprint["cases"],
        n_outputs=count_outputs(fingerprint["structures"]),
        channel_names=fingerprint["channels"],
        relative_size_after_crop=fingerprint["median_relative_size_after_crop"],
    )


def in_nnunet_terms(configuration: ConfigurationProposal) -> dict[str, Any]:
    if configuration.inherits is not None:
        return {"inherits_from": configuration.inherits}
    names = {ours: theirs for theirs, ours in SCHEMES.items()}
    plan = {
        "patch_size": configuration.patch_voxels,
        "batch_size": configuration.batch_size,
        "spacing": configuration.spacing_mm,
        "median_image_size_in_voxels": configuration.median_shape_voxels,
        "normalization_schemes": [names[scheme] for scheme, _ in configuration.normalization],
        "use_mask_for_norm": [nonzero_only for _, nonzero_only in configuration.normalization],
        "batch_dice": configuration.batch_dice,
        "features_per_stage": configuration.features,
        "strides": configuration.strides,
        "kernel_sizes": configuration.kernels,
        "conv_per_stage": configuration.convs_or_blocks_per_stage,
    }
    as_json: dict[str, Any] = json.loads(json.dumps(plan))  # tuples to lists
    return as_json


@pytest.mark.real
@pytest.mark.skipif(not GOLDEN_FILE.is_file(), reason=f"no goldens: {GOLDEN_FILE} (set MEDSEG_TEST_GOLDENS)")
@pytest.mark.parametrize(("row", "name"), list(product(range(N_GOLDEN_ROWS), GOLDEN_PLANNERS)))
def test_golden_fingerprint(row: int, name: str) -> None:
    golden = golden_rows()[row]
    dataset = golden_facts(golden["fingerprint"])
    planner, memory_gb = GOLDEN_PLANNERS[name]
    proposal = propose(dataset, planner, memory_gb)
    configurations = proposal.configurations
    if name == "default_24GB":
        # These were planned over the plans file of the 8 GB run, and nnU-Net keeps what it does not replace:
        # in rows 5, 12 and 17 the 8 GB 3d_lowres and cascade outlive their plan. The 24 GB plan itself has
        # none, as batch_dice of its 3d_fullres tells, which is compared here like every other field.
        configurations = propose(dataset, "default").configurations | configurations
        stale = set(configurations) - set(proposal.configurations)
        assert stale == ({"3d_lowres", "3d_cascade_fullres"} if row in (5, 12, 17) else set())
    assert list(proposal.transpose) == golden["plans"][name]["transpose_forward"]
    assert {k: in_nnunet_terms(v) for k, v in configurations.items()} == golden["plans"][name]["configurations"]


# --- Published plans ---

HIPPOCAMPUS = facts(n_cases=260)
LIVER = facts((1.0, 0.7676, 0.7676), (482, 512, 512), n_cases=131)
ACDC = facts((5.0, 1.5625, 1.5625), (18, 237, 208), n_cases=200, n_outputs=4)
PROSTATE = facts((3.6, 0.625, 0.625), (20, 320, 319), n_cases=32)
BRATS = facts(shape=(138, 170, 138), n_cases=484, n_outputs=4)
ISSUE_2094 = facts((2.3855, 1.5044, 1.5044), (132, 267, 267), n_cases=1000)
AMOS = facts((2.0, 0.7801, 0.7801), (228, 513, 513), n_cases=240, n_outputs=16)
ISSUE_2036 = facts((3.6896, 1.8790, 1.8790), (103, 296, 296), n_cases=1000)


@pytest.mark.parametrize(
    ("dataset", "planner", "configuration", "patch", "batch"),
    [
        (HIPPOCAMPUS, "default", "3d_fullres", (40, 56, 40), 9),
        (HIPPOCAMPUS, "default", "2d", (56, 40), 366),
        (LIVER, "default", "3d_fullres", (128, 128, 128), 2),
        (LIVER, "resenc-m", "3d_fullres", (128, 128, 128), 2),
        (LIVER, "resenc-l", "3d_fullres", (192, 192, 192), 2),
        (LIVER, "resenc-xl", "3d_fullres", (224, 256, 224), 2),
        (LIVER, "default", "3d_lowres", (128, 128, 128), 2),
        (LIVER, "default", "2d", (512, 512), 12),
        (ACDC, "default", "3d_fullres", (20, 256, 224), 4),
        (ACDC, "default", "2d", (256, 224), 56),
        (PROSTATE, "default", "3d_fullres", (20, 320, 256), 2),
        (PROSTATE, "default", "2d", (320, 320), 32),
        (BRATS, "default", "3d_fullres", (128, 128, 128), 2),
        (ISSUE_2094, "default", "3d_fullres", (80, 192, 160), 2),
        (AMOS, "default", "3d_fullres", (64, 160, 160), 2),
        (ISSUE_2036, "default", "3d_fullres", (64, 192, 192), 2),
    ],
)
def test_published_patch_and_batch(
    dataset: DatasetFacts, planner: str, configuration: str, patch: tuple[int, ...], batch: int
) -> None:
    plan = propose(dataset, planner).configurations[configuration]
    assert (plan.patch_voxels, plan.batch_size) == (patch, batch)


@pytest.mark.parametrize(
    ("dataset", "halvings", "flat_stages"),
    [
        (HIPPOCAMPUS, (3, 3, 3), 0),
        (LIVER, (5, 5, 5), 0),
        (ACDC, (2, 5, 5), 1),
        (PROSTATE, (2, 6, 6), 2),
        (AMOS, (4, 5, 5), 1),
    ],
)
def test_published_topology(dataset: DatasetFacts, halvings: tuple[int, ...], flat_stages: int) -> None:
    plan = propose(dataset).configurations["3d_fullres"]
    assert tuple(sum(stride[axis] == 2 for stride in plan.strides) for axis in range(3)) == halvings
    assert plan.kernels[:flat_stages] == ((1, 3, 3),) * flat_stages
    assert set(plan.kernels[flat_stages:]) == {(3, 3, 3)}


def test_liver_cascade() -> None:
    proposal = propose(LIVER)
    assert list(proposal.configurations) == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    low, full, cascade = (proposal.configurations[k] for k in list(proposal.configurations)[1:])
    assert low.spacing_mm == pytest.approx([1.03**31, 0.7676 * 1.03**31, 0.7676 * 1.03**31])
    assert low.median_shape_voxels == (193, 205, 205)
    assert (low.batch_dice, full.batch_dice, cascade.batch_dice) == (False, True, True)
    assert (cascade.inherits, cascade.previous_stage) == ("3d_fullres", "3d_lowres")
    assert cascade.patch_voxels == full.patch_voxels


# --- The rules one by one ---


def test_coarsest_axis_comes_first_and_ties_go_to_the_first() -> None:
    assert axis_order((1.0, 1.0, 5.0)) == (2, 0, 1)
    assert axis_order((1.0, 2.0, 2.0)) == (1, 0, 2)
    assert axis_order((1.0, 1.0, 1.0)) == (0, 1, 2)


@pytest.mark.parametrize(
    ("thickness", "slices", "expected", "said"),
    [
        ((3.0, 3.0, 3.0), 20, 3.0, "median spacing of 3 cases"),  # exactly three times: not yet coarse
        ((4.0, 5.0, 6.0), 34, 5.0, "median spacing of 3 cases"),  # coarse but long: 3 * 34 > 100
        ((4.0, 5.0, 6.0), 20, 4.2, "10th percentile (4.2 mm)"),
        ((0.5, 5.0, 6.0), 20, 1.4, "10th percentile (1.4 mm)"),
        ((0.1, 5.0, 6.0), 20, 1.08, "10th percentile (1.08 mm)"),
    ],
)
def test_target_spacing(thickness: tuple[float, ...], slices: int, expected: float, said: str) -> None:
    spacings = [(z, 1.0, 1.0) for z in thickness]
    dataset = facts(spacings_mm=spacings, shapes_voxels=[(slices, 100, 100)] * 3)
    target, reason = target_spacing(dataset)
    assert target == pytest.approx((expected, 1.0, 1.0))
    assert said in reason


def test_target_spacing_gets_no_finer_than_the_other_axes() -> None:
    spacings = [(0.1, 1.0, 1.0)] * 4 + [(5.0, 1.0, 1.0)] * 6
    target, reason = target_spacing(facts(spacings_mm=spacings, shapes_voxels=[(20, 100, 100)] * 10))
    assert target == (1.00001, 1.0, 1.0)
    assert "just above the other axes'" in reason


def test_target_spacing_that_was_asked_for_is_in_the_original_axis_order() -> None:
    proposal = propose(facts(shape=(100, 100, 100), target_spacing_mm=(1, 1, 4)))
    assert proposal.transpose == (2, 0, 1)
    assert proposal.configurations["3d_fullres"].spacing_mm == (4.0, 1.0, 1.0)
    assert proposal.configurations["3d_fullres"].median_shape_voxels == (25, 100, 100)


def test_median_shape_rounds_halves_to_even_and_keeps_half_medians() -> None:
    dataset = facts(spacings_mm=[(1.0, 1.0, 1.0)] * 2, shapes_voxels=[(5, 7, 10), (5, 7, 13)])
    assert median_shape(dataset, (2.0, 2.0, 1.0)) == (2.0, 4.0, 11.5)


@pytest.mark.parametrize(
    ("name", "size", "expected", "said"),
    [
        ("CT", 0.5, ("ct", False), "channel is named CT: clip to the 0.5-99.5 percentiles of foreground"),
        ("ct", 1.0, ("ct", False), "clip"),
        ("T2w", 0.75, ("zscore", False), "mean becomes 0"),
        ("T2w", 0.74, ("zscore", True), "nonzero voxels only because the crop leaves 74%"),
        ("zScore", 1.0, ("zscore", False), "mean becomes 0"),
        ("noNorm", 0.5, ("none", False), "as they are"),
        ("rescale_to_0_1", 0.5, ("rescale_0_1", False), "minimum and maximum"),
        ("rgb_to_0_1", 0.5, ("rgb_0_1", False), "255"),
    ],
)
def test_normalization_by_channel_name(name: str, size: float, expected: tuple[str, bool], said: str) -> None:
    schemes, reason = normalization(facts(channel_names=(name,), relative_size_after_crop=size))
    assert schemes == (expected,)
    assert said in reason


@pytest.mark.parametrize(
    ("spacing", "shape", "order"),
    [
        ((999.0, 0.5, 0.5), (1, 300, 200), (0, 1, 2)),
        ((1.0, 5.0, 5.0), (1, 300, 200), (0, 1, 2)),  # whatever the reader says about the spacing there
        ((0.5, 0.5, 999.0), (300, 200, 1), (2, 0, 1)),
    ],
)
def test_2d_images_get_the_2d_configuration_alone(
    spacing: tuple[float, ...], shape: tuple[int, ...], order: tuple[int, ...]
) -> None:
    proposal = propose(facts(spacing, shape))
    assert proposal.transpose == order
    assert list(proposal.configurations) == ["2d"]
    assert proposal.configurations["2d"].median_shape_voxels == (300, 200)
    assert "single slice" in proposal.reasons["3d_fullres"]


def test_2d_images_stay_2d_when_the_spacing_across_varies() -> None:
    spacings = [(999.0 * s, s, s) for s in (0.2, 0.5, 0.9)]
    proposal = propose(facts(spacings_mm=spacings, shapes_voxels=[(1, 300, 200)] * 3))
    assert list(proposal.configurations) == ["2d"]


def test_low_resolution_is_dropped_when_it_saves_too_little() -> None:
    proposal = propose(facts(shape=(200, 200, 200)))
    assert list(proposal.configurations) == ["2d", "3d_fullres"]
    assert not proposal.configurations["3d_fullres"].batch_dice
    assert "not planned" in proposal.reasons["3d_lowres"]


def test_a_cascade_can_be_asked_for() -> None:
    """A patch shows all of it: then the low resolution has half as many voxels, and the full one stays as it was."""
    small = facts(shape=(36, 50, 35))
    alone, with_cascade = propose(small), propose(small, cascade=True)
    assert "3d_lowres" not in alone.configurations
    low, full, later = (with_cascade.configurations[name] for name in ("3d_lowres", "3d_fullres", "3d_cascade_fullres"))
    assert full == alone.configurations["3d_fullres"]
    assert (later.inherits, later.previous_stage) == ("3d_fullres", "3d_lowres")
    assert 1.03 ** (3 * 7) < 2 < 1.03 ** (3 * 8)
    assert low.spacing_mm == pytest.approx([1.03**8] * 3)
    assert "a cascade was asked for: 2.03 times fewer voxels" in low.reasons["spacing_mm"]
    assert propose(LIVER, cascade=True) == propose(LIVER)  # the rules have one already
    with pytest.raises(ValueError, match="single slice"):
        propose(facts(shape=(1, 300, 200)), cascade=True)


@pytest.mark.parametrize("planner", PLANNERS)
def test_more_memory_never_makes_the_patch_smaller(planner: str) -> None:
    patches = [propose(AMOS, planner, gb).configurations["3d_fullres"].patch_voxels for gb in (4, 6, 11, 40, 80)]
    assert all(small <= large for a, b in pairwise(patches) for small, large in zip(a, b, strict=True))


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("shape", [(2, 2, 2), (5, 9, 7), (7, 400, 400), (1500, 900, 30)])
def test_odd_shapes_can_be_planned(planner: str, shape: tuple[int, int, int]) -> None:
    for plan in propose(facts((2.0, 1.0, 1.0), shape, n_cases=1), planner).configurations.values():
        divisor = [2 ** sum(s[axis] == 2 for s in plan.strides) for axis in range(len(plan.patch_voxels))]
        assert all(edge % d == 0 for edge, d in zip(plan.patch_voxels, divisor, strict=True))
        assert plan.batch_size >= 2


def only_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(only_plain(v) for v in value.values())
    if isinstance(value, tuple | list):
        return all(only_plain(v) for v in value)
    return type(value) in (bool, int, float, str, type(None))


@pytest.mark.parametrize("dataset", [HIPPOCAMPUS, LIVER, ACDC])
def test_results_are_plain_numbers_and_every_decision_has_its_reason(dataset: DatasetFacts) -> None:
    proposal: Proposal = propose(dataset)
    assert only_plain(proposal.transpose)
    for plan in proposal.configurations.values():
        assert only_plain(vars(plan))
        assert set(plan.reasons) == set(vars(plan)) - {"reasons", "inherits", "previous_stage"}
        assert all(plan.reasons.values())
    assert "8 GB" in proposal.configurations["3d_fullres"].reasons["patch_voxels"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacings_mm": [], "shapes_voxels": []}, "0 spacings and 0 shapes"),
        ({"spacings_mm": [(1, 1, 1)] * 2}, "2 spacings and 1 shapes"),
        ({"spacings_mm": [(1.0, 0.0, 1.0)]}, r"\(1.0, 0.0, 1.0\); expected three positive numbers"),
        ({"spacings_mm": [(1.0, float("nan"), 1.0)]}, "expected three positive numbers"),
        ({"shapes_voxels": [(30, 30)]}, r"\(30, 30\); expected three positive numbers"),
        ({"target_spacing_mm": (1.0, 1.0, -1.0)}, "expected three positive numbers"),
        ({"n_cases": 0}, "0 cases"),
        ({"n_outputs": 1}, "1 outputs"),
        ({"channel_names": ()}, "0 channels"),
    ],
)
def test_unusable_facts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        propose(facts(**changes))


def test_wrong_planner_and_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown planner 'big'"):
        propose(HIPPOCAMPUS, "big")
    with pytest.raises(ValueError, match="memory_gb is 0"):
        propose(HIPPOCAMPUS, memory_gb=0)
    with pytest.raises(ValueError, match="too little even for the smallest patch"):
        propose(HIPPOCAMPUS, memory_gb=1e-9)
