"""A single slice for a network of volumes is named; slices for one of 2D, and flat training scans, are not."""

from __future__ import annotations

from builders import make_plan
from facts import make_facts

from medseg.checking.scan_grid import ScanGrid
from medseg.checking.scan_slices import compare_slices
from medseg.planning.scan_range import scan_range


def _messages(dimensions: int, voxels: tuple[int, int, int], trained: tuple[int, int, int]) -> list[str]:
    plan = make_plan(dimensions)
    plan.data.scans = scan_range([make_facts("a", cropped_voxels=trained), make_facts("b", cropped_voxels=trained)])
    grid = ScanGrid((1.0, 1.0, 1.0), voxels, voxels, (1.0, 1.0, 1.0))
    return [finding.message for finding in compare_slices(grid, plan, plan.configuration("main"))]


def test_a_single_slice_is_named_along_its_axis_where_volumes_were_trained_on() -> None:
    assert _messages(3, (1, 20, 30), (12, 20, 30)) == [
        "It is a single slice along z, and the network looks at volumes; the training scans had at least 12 slices."
    ]
    assert "along x" in _messages(3, (12, 20, 1), (12, 20, 30))[0]
    assert _messages(3, (2, 20, 30), (12, 20, 30)) == []
    assert _messages(3, (1, 20, 30), (2, 20, 30)) == []
    assert _messages(2, (1, 20, 30), (12, 20, 30)) == []
