"""Name a single slice that is given to a network of volumes."""

from __future__ import annotations

from medseg.checking.scan_finding import ScanFinding
from medseg.checking.scan_grid import ScanGrid, known_grids
from medseg.plans.schema import Configuration, Plan

_SEVERAL = 3
"""The training scans had at least so many slices: of fewer, one is no other kind of scan."""
_AXES = ("z", "y", "x")


def compare_slices(grid: ScanGrid, plan: Plan, configuration: Configuration) -> list[ScanFinding]:
    """Return a warning on a scan of one voxel along an axis where every training scan of a 3D network had several.

    `compare_grid` leaves such an axis out: what has one voxel has no length that its header is bound to state.

    Args:
        grid: the grid of the scan.
        plan: the plan of the model.
        configuration: its configuration; one of 2D looks at each slice alone, and is not concerned.
    """
    if configuration.dimensions == 2:
        return []
    known = known_grids(plan, configuration)
    findings = []
    for axis, (length, spacing) in enumerate(zip(known.size, known.spacing, strict=True)):
        if length is None or spacing is None or grid.content_voxels[axis] > 1 or length[0] < _SEVERAL * spacing[1]:
            continue
        message = (
            f"It is a single slice along {_AXES[axis]}, and the network looks at volumes; the training scans had at "
            f"least {length[0] / spacing[1]:.0f} slices."
        )
        hint = "Give the whole volume, or use a model of 2D images (`medseg train --config 2d`)."
        findings.append(ScanFinding("size", False, message, hint))
    return findings
