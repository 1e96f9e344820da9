"""A plan that knows what its training scans were like, to compare other scans with."""

from __future__ import annotations

from typing import Any

from builders import make_plan
from facts import make_facts

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
