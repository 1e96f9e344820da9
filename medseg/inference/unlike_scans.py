"""Refuse scans that a model cannot answer, and say how others differ from its training scans, before anything is made.

The rules are those of `checking.scan_finding` and its neighbours; here they meet a scan, and the memory that there is.
"""

from __future__ import annotations

from medseg.checking.scan_finding import ScanFinding
from medseg.checking.scan_grid import ScanGrid, compare_grid, memory_finding
from medseg.checking.scan_intensities import compare_intensities
from medseg.checking.scan_modality import compare_modality
from medseg.checking.scan_slices import compare_slices
from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.inference.memory import free_host_bytes
from medseg.io.dicom.elements.modality import modalities_of
from medseg.plans.schema import Configuration, Plan
from medseg.preprocessing.volume import Geometry


def scan_findings(image: Image, geometry: Geometry, plan: Plan, configuration: Configuration) -> list[ScanFinding]:
    """Return how a scan differs from those that a model was trained on.

    Args:
        image: the scan.
        geometry: how it comes to the network's grid.
        plan: the plan of the model.
        configuration: its configuration.
    """
    grid = _grid_of(geometry, plan)
    findings = compare_grid(grid, plan, configuration) + compare_slices(grid, plan, configuration)
    findings += compare_modality(modalities_of(image), plan)
    return findings + compare_intensities(image.array, plan, configuration)


def check_memory(image: Image, geometry: Geometry, plan: Plan) -> None:
    """Refuse a scan that does not fit into memory on the network's grid.

    Args:
        image: the scan.
        geometry: how it comes to the network's grid.
        plan: the plan of the model.

    Raises:
        DataError: it does not fit; the message names the spacing and what it would take.
    """
    finding = memory_finding(_grid_of(geometry, plan), len(image.array), free_host_bytes())
    if finding is not None:
        raise DataError(finding.message, finding.hint)


def settle(findings: list[ScanFinding], unlike_scans: str) -> tuple[str, ...]:
    """Return the findings as sentences, or refuse the scan.

    Args:
        findings: what `scan_findings` returned.
        unlike_scans: `inference.unlike_scans` of the plan: `refuse` or `warn`.

    Raises:
        DataError: the answer could not mean anything, and the plan does not say to give it all the same.
    """
    for finding in findings:
        if finding.refused and unlike_scans == "refuse":
            raise DataError(finding.message, finding.hint)
    return tuple(finding.message for finding in findings)


def _grid_of(geometry: Geometry, plan: Plan) -> ScanGrid:
    """Return a grid with its axes in the plan's orientation, before `transpose_forward`."""
    back = [plan.transpose_forward.index(axis) for axis in range(3)]
    vectors = (geometry.spacing_mm, geometry.cropped_shape, geometry.network_shape, geometry.network_spacing_mm)
    return ScanGrid(*(tuple(vector[axis] for axis in back) for vector in vectors))  # type: ignore[arg-type]
