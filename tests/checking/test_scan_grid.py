"""Rules that compare the grid of a scan with what a model knows, on made-up plans and generated spacings."""

from __future__ import annotations

import numpy as np
import pytest
from builders import make_plan
from compared_plan import plan_of
from facts import make_facts

from medseg.checking.scan_finding import ScanFinding
from medseg.checking.scan_grid import ScanGrid, compare_grid, memory_finding
from medseg.planning.scan_range import scan_range
from medseg.plans.schema import Plan


def grid_findings(plan: Plan, spacing: tuple, voxels: tuple = (10, 20, 30)) -> list[ScanFinding]:
    configuration = plan.configuration("main")
    network = tuple(max(1, round(step * count)) for step, count in zip(spacing, voxels, strict=True))
    return compare_grid(ScanGrid(spacing, voxels, network, (1.0, 1.0, 1.0)), plan, configuration)


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
