"""Rules that compare a scan with what a model knows, on made-up plans, and over generated spacings and intensities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import make_plan
from facts import make_channel, make_facts

from medseg.checking.scan_fit import ScanFinding, ScanGrid, compare_grid, compare_intensities, memory_finding
from medseg.planning.scan_range import scan_range
from medseg.plans.schema import Plan

SCANS = scan_range([make_facts("a"), make_facts("b", spacing_mm=(2.0, 1.0, 1.0), cropped_voxels=(10, 25, 36))])
"""Spacing 1 to 2, 1, 1 mm; size 10 to 20, 20 to 25, 30 to 36 mm; intensities from 100 to 700."""


def plan_of(scheme: str = "zscore", scans: bool = True, dimensions: int = 3, **data: Any) -> Plan:
    plan = make_plan(dimensions, {"normalization": [{"scheme": scheme}]})
    plan.data.scans = SCANS if scans else None
    for key, value in data.items():
        setattr(plan.data, key, value)
    return plan


def grid_findings(plan: Plan, spacing: tuple, voxels: tuple = (10, 20, 30)) -> list[ScanFinding]:
    configuration = plan.configuration("main")
    network = tuple(max(1, round(step * count)) for step, count in zip(spacing, voxels, strict=True))
    return compare_grid(ScanGrid(spacing, voxels, network, (1.0, 1.0, 1.0)), plan, configuration)


def value_findings(array: np.ndarray, plan: Plan) -> list[ScanFinding]:
    return compare_intensities(array, plan, plan.configuration("main"))


def noise(low: float = 0, high: float = 1000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(int(low), int(high), (1, 12, 20, 30)).astype(np.int16)


@pytest.mark.parametrize("scans", [True, False])
@pytest.mark.parametrize("factor", [1e-6, 1e-3, 0.1, 10.0, 25.4, 1e3])
def test_a_header_in_another_unit_is_refused_whatever_the_model_knows(scans: bool, factor: float) -> None:
    plan, size = plan_of(scans=scans), 16 if not scans else 20
    (finding,) = grid_findings(plan, (factor,) * 3, (size,) * 3)
    assert (finding.kind, finding.refused) == ("spacing", True)
    assert f"{factor:.4g}" in finding.message or f"{factor:,.0f}" in finding.message
    assert "inference.spacing" in finding.hint
    assert "inference.unlike_scans=warn" in finding.hint


def test_scans_like_those_of_training_and_near_them_are_silent() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        spacing = tuple(np.array([1.4, 1.0, 1.0]) * rng.uniform(0.75, 1.3, 3))
        voxels = tuple(np.maximum(8, np.array([10, 20, 30]) * rng.uniform(0.8, 2, 3)).astype(int).tolist())
        assert grid_findings(plan_of(), spacing, voxels) == []


def test_more_of_the_same_unit_is_never_less_severe() -> None:
    """Property: the further a spacing is from training, the more is said, in both directions."""
    rng = np.random.default_rng(1)

    def severity(factor: float) -> int:
        findings = grid_findings(plan_of(), (1.5 * factor, factor, factor), (10, 22, 33))
        return 2 * any(finding.refused for finding in findings) + bool(findings)

    for direction in (1, -1):
        factors = np.sort(rng.uniform(0, 4, 60)) * direction
        severities = [severity(float(10**power)) for power in sorted(factors, key=abs)]
        assert severities == sorted(severities)
        assert severities[0] == 0
        assert severities[-1] == 3


def test_a_finer_scan_of_the_same_body_and_a_small_part_are_not_refused() -> None:
    finer = grid_findings(plan_of(), (0.1, 0.1, 0.1), (150, 220, 330))
    assert [(finding.kind, finding.refused) for finding in finer] == [("spacing", False)]
    part = grid_findings(plan_of(), (1.0, 1.0, 1.0), (2, 2, 2))
    assert [(finding.kind, finding.refused) for finding in part] == [("size", False)]


def test_half_and_twice_a_spacing_are_usual_also_where_headers_round_it() -> None:
    """500 mm in 512 pixels in place of 256: 0.977 mm and 0.488 mm."""
    assert grid_findings(plan_of(), (1.0, 0.4995, 2.001), (12, 44, 17)) == []
    (finding,) = grid_findings(plan_of(), (1.0, 0.48, 1.0), (12, 44, 33))
    assert finding.message.startswith("Its spacing is unusual along y")


def test_one_axis_is_named() -> None:
    (finding,) = grid_findings(plan_of(), (1.0, 1.0, 3.0), (12, 22, 12))
    assert finding.message.startswith("Its spacing is unusual along x: it has voxels of 1 x 1 x 3 mm (z, y, x); ")
    assert "the training scans had voxels of 1 to 2 x 1 x 1" in finding.message


def test_an_axis_that_resampling_loses_is_named() -> None:
    plan = plan_of(scans=False)
    grid = ScanGrid((0.3, 1.0, 1.0), (10, 16, 16), (3, 16, 16), (1.0, 1.0, 1.0))
    (finding,) = compare_grid(grid, plan, plan.configuration("main"))
    assert (finding.kind, finding.refused) == ("grid", False)
    assert "10 x 16 x 16 voxels of 0.3 x 1 x 1 mm (z, y, x) become 3 x 16 x 16" in finding.message


def test_axes_are_compared_as_the_plan_has_them_before_its_transposition() -> None:
    plan = make_plan(3, {"spacing_mm": [1.0, 2.0, 4.0], "median_shape_voxels": [10.0, 20.0, 30.0]})
    plan.transpose_forward = [2, 0, 1]  # the network's first axis is x, then z, then y
    assert grid_findings(plan, (2.0, 4.0, 1.0), (20, 30, 10)) == []
    assert [finding.kind for finding in grid_findings(plan, (2.0, 4.0, 16.0), (20, 30, 10))] == ["spacing", "size"]


def test_an_nnunet_plan_is_compared_with_its_original_medians() -> None:
    plan = make_plan(3, {"spacing_mm": [8.0, 8.0, 8.0]})  # a low resolution
    original = {
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [100, 100, 100],
    }
    plan.nnunet = {"plans": original}
    assert grid_findings(plan, (1.0, 1.0, 1.0), (100, 100, 100)) == []


def test_pictures_are_compared_by_size_alone() -> None:
    plan = plan_of(dimensions=2, spacing_known=False)
    facts = [make_facts(f"p{width}", cropped_voxels=(1, 300, width)) for width in (256, 700)]
    plan.data.scans = scan_range(facts)
    assert grid_findings(plan, (1.0, 1.0, 1.0), (1, 500, 1000)) == []
    (finding,) = grid_findings(plan, (1.0, 1.0, 1.0), (1, 4000, 4000))
    assert (finding.kind, finding.refused) == ("size", False)
    assert "pixels" in finding.message


def test_memory_is_counted_before_it_is_taken() -> None:
    grid = ScanGrid((1000.0,) * 3, (34, 50, 36), (34000, 50000, 36000), (1.0,) * 3)
    assert memory_finding(grid, 1, 1e15) is None
    finding = memory_finding(grid, 1, 16e9)
    assert finding is not None
    assert finding.refused
    assert "spacing of 1000 x 1000 x 1000" in finding.message
    assert (
        "34,000 x 50,000 x 36,000 voxels (z, y, x), which take 244,800 GB of memory; 16 GB are free" in finding.message
    )


@pytest.mark.parametrize("value", [0, 7, -1000])
def test_a_constant_scan_is_refused_but_not_an_empty_slice(value: int) -> None:
    array = np.full((1, 5, 6, 7), value, np.int16)
    (finding,) = value_findings(array, plan_of())
    assert (finding.kind, finding.refused) == ("constant", True)
    assert f"the value {value} in every voxel" in finding.message
    assert not value_findings(array[:, :1], plan_of(dimensions=2))[0].refused


def test_a_constant_channel_is_named_unless_training_had_one() -> None:
    plan = plan_of(channels=["FLAIR", "T1"])
    values = plan.configurations["main"]
    plan.configurations = {"main": {**values, "normalization": [{"scheme": "zscore"}] * 2}}
    array = np.concatenate([noise(), np.zeros_like(noise())])
    plan.data.scans = scan_range([make_facts("a", [make_channel(), make_channel()], cropped_voxels=(12, 20, 30))])
    (finding,) = value_findings(array, plan)
    assert (finding.kind, finding.refused) == ("constant", False)
    assert finding.message.startswith("Its channel T1 holds the value 0")
    plan.data.scans.channels[1].fewest_values = 1
    assert value_findings(array, plan) == []


def ball(radius: float, value: int) -> np.ndarray:
    z, y, x = np.indices((24, 24, 24)) - 12
    return np.where(z**2 + y**2 + x**2 <= radius**2, value, 0).astype(np.int16)


@pytest.mark.parametrize("radius", [2, 4, 8, 11])
@pytest.mark.parametrize("values", [(1,), (255,), (1, 2, 3), (4, 9)])
def test_a_label_map_is_refused_where_training_scans_were_none(radius: int, values: tuple[int, ...]) -> None:
    array = np.maximum.reduce([ball(radius - 0.7 * n, value) for n, value in enumerate(values)])[None]
    (finding,) = value_findings(array, plan_of())
    assert (finding.kind, finding.refused) == ("label map", True)
    (finding,) = value_findings(array, plan_of(scans=False))
    assert (finding.kind, finding.refused) == ("label map", False)
    like = SCANS.model_copy(deep=True)
    like.channels[0].fewest_values = 2
    assert value_findings(array, _with(like)) == []


def _with(scans: Any) -> Plan:
    plan = plan_of()
    plan.data.scans = scans
    return plan


def test_noise_of_few_values_is_no_label_map() -> None:
    for seed in range(20):
        assert value_findings(noise(0, 12, seed), plan_of()) == []


@pytest.mark.parametrize("factor", [1e-3, 0.01, 10, 1e3])
def test_scale_and_offset_do_not_matter_to_zscore_but_to_ct(factor: float) -> None:
    array = noise(0, 800).astype(np.float32) * factor
    assert value_findings(array, plan_of("zscore")) == []
    (finding,) = value_findings(array, plan_of("none"))
    assert (finding.kind, finding.refused) == ("intensity", not 0.02 <= factor <= 50)
    assert "spread over" in finding.message


def test_a_scan_that_reaches_down_as_ct_does_is_named_where_no_training_scan_went_below_zero() -> None:
    ct = noise(-1000, 1000)
    (finding,) = value_findings(ct, plan_of("zscore"))
    assert (finding.kind, finding.refused) == ("intensity", False)
    assert "as CT does" in finding.message
    ringing = noise(0, 1000)
    ringing[..., 0] = -300  # interpolated MR
    assert value_findings(ringing, plan_of("zscore")) == []
    signed = scan_range([make_facts("a", [make_channel(low=-900.0, quantiles=(-600.0, 0.0, 1.0, 2.0, 700.0))])])
    assert value_findings(ct, _with(signed)) == []
    assert value_findings(ct, plan_of("zscore", scans=False)) == []  # nothing is known of its training scans


def test_an_offset_and_missing_negative_values_are_named() -> None:
    (finding,) = value_findings(noise(0, 800) + np.int16(2000), plan_of("none"))
    assert "shifted as a whole" in finding.message
    intensity = {"mean": 50, "median": 40, "std": 30, "min": -300, "max": 400}
    intensity |= {"percentile_00_5": -80.0, "percentile_99_5": 200.0}
    ct = plan_of("ct", scans=False, intensities=[intensity])
    assert value_findings(noise(-1000, 1000), ct) == []
    (finding,) = value_findings(noise(0, 2000), ct)
    assert (finding.refused, "no value below zero" in finding.message) == (False, True)
    for scaled in (noise(0, 1000) / np.float32(1000), noise(3000, 4000)):
        (finding,) = value_findings(scaled, ct)
        assert (finding.kind, finding.refused) == ("intensity", True)


def test_what_is_not_in_hounsfield_units_is_not_judged_as_ct() -> None:
    """nnU-Net normalizes MR by the scheme `ct` too where a data set says so; its values differ by any factor."""
    intensity = {"mean": 5e4, "median": 400, "std": 9e4, "min": 0, "max": 5e5}
    intensity |= {"percentile_00_5": 29.0, "percentile_99_5": 277200.0}
    assert value_findings(noise(0, 1000), plan_of("ct", scans=False, intensities=[intensity])) == []
