"""Rules that compare the values of a scan with what a model knows, on made-up plans and generated intensities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compared_plan import SCANS, plan_of
from facts import make_channel, make_facts

from medseg.checking.scan_finding import ScanFinding
from medseg.checking.scan_intensities import compare_intensities
from medseg.planning.scan_range import scan_range
from medseg.plans.schema import Plan


def value_findings(array: np.ndarray, plan: Plan) -> list[ScanFinding]:
    return compare_intensities(array, plan, plan.configuration("main"))


def noise(low: float = 0, high: float = 1000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(int(low), int(high), (1, 12, 20, 30)).astype(np.int16)


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
