"""Temperatures, the sample that they are fitted on, and calibration errors, by hand and on made-up networks."""

from math import log

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medseg.confidence.calibration import calibrate
from medseg.confidence.reliability import Reliability
from medseg.confidence.scaling import Scaling, fit_scaling, negative_log_likelihood, probabilities_at
from medseg.confidence.voxel_sample import VoxelSample, logits_of, sample_voxels
from medseg.core.labels import IGNORE, Labels

ONE = Labels(structures={"a": 1})
TWO = Labels(structures={"a": 1, "b": 2})
REGIONS = Labels(structures={"a": [1, 2], "b": [2]}, activation="sigmoid", region_values=[1, 2])
STREET = Labels(structures={"sky": 0, "road": 1}, background=None)
ALL = {"softmax": TWO, "regions": REGIONS, "no background": STREET}


def too_sure(labels: Labels, factor: float, seed: int, cases: int = 6) -> list[tuple[NDArray, NDArray]]:
    """(probabilities, label indices) of a network whose logits are `factor` times what they should be."""
    random, made = np.random.default_rng(seed), []
    for _ in range(cases):
        logits = random.normal(scale=1.5, size=(labels.outputs, 6, 20, 20))
        if labels.activation == "sigmoid":
            inside = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
            inside[1] &= inside[0]  # b lies within a
            logits[1] = np.where(inside[0], logits[1], -30 / factor)
            target = inside.sum(axis=0)
            probabilities = 1 / (1 + np.exp(-factor * logits))
        else:
            first = labels.first_answer
            odds = np.exp(logits[first:])
            cumulative = np.cumsum(odds / odds.sum(axis=0), axis=0)
            target = (random.random(cumulative.shape[1:]) > cumulative).sum(axis=0) + first
            sharper = np.exp(factor * logits[first:])
            probabilities = (sharper / sharper.sum(axis=0))[1 - first :]
        made.append((probabilities.astype(np.float32), target))
    return made


def samples_of(labels: Labels, factor: float, seed: int = 0) -> list[VoxelSample]:
    return [
        sample_voxels(probabilities, target, labels, f"case {number}", str(number % 3))
        for number, (probabilities, target) in enumerate(too_sure(labels, factor, seed))
    ]


@pytest.mark.parametrize("name", ALL)
def test_logits_have_the_probabilities_that_they_come_from(name: str) -> None:
    labels = ALL[name]
    probabilities, target = too_sure(labels, 1.0, 0, cases=1)[0]
    sample = sample_voxels(probabilities, target, labels, "case", "0", (10_000, 10_000))
    again = np.sort(probabilities_at(sample, Scaling.neutral(labels), labels), axis=1)
    flat = probabilities.reshape(len(labels.names), -1)
    counted = flat[:, (flat >= 0.01).any(axis=0)]
    np.testing.assert_allclose(again, np.sort(counted, axis=1), atol=1e-6)
    assert sample.weight.tolist() == [1.0] * counted.shape[1]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("name", ALL)
def test_the_factor_by_which_logits_are_too_large_is_found(name: str, factor: float) -> None:
    for biased in (False, True):
        scaling = fit_scaling(samples_of(ALL[name], factor), ALL[name], biased)
        assert scaling.fits(ALL[name])
        assert scaling.temperatures == pytest.approx([factor] * len(scaling.temperatures), rel=0.1)
        assert scaling.biases == pytest.approx([0.0] * len(scaling.biases), abs=0.1)


def test_calibrated_probabilities_of_a_network_that_is_too_sure() -> None:
    calibration = calibrate(samples_of(TWO, 3.0), TWO)
    assert calibration is not None
    assert calibration.ece_all.after < calibration.ece_all.before / 4
    assert calibration.nll.after < calibration.nll.before
    assert list(calibration.ece) == ["a", "b"]
    assert calibration.cases == 6
    assert sum(bar.share for bar in calibration.diagram_after) == pytest.approx(1, abs=1e-4)
    # a bar of the diagram says what the network claims, and what is true
    surest = calibration.diagram_before[-1]
    assert surest.probability > 0.95 > surest.frequency


def test_what_is_drawn_stands_for_all_voxels_that_count() -> None:
    probabilities = np.full((1, 1, 100, 100), 0.001, np.float32)
    probabilities[0, 0, :10] = 0.5  # 1,000 voxels that are uncertain
    probabilities[0, 0, 10:14] = 0.999  # 400 that surely belong to the structure
    target = np.zeros((1, 100, 100), int)
    target[0, 99, :50] = 1  # 50 that are missed: what is true does not decide what is drawn
    target[0, 13] = IGNORE
    sample = sample_voxels(probabilities, target, ONE, "case", "0", (100, 50))
    assert len(sample.weight) == 150
    assert sample.weight.tolist() == pytest.approx([10.0] * 100 + [6.0] * 50)  # 1,000 / 100 and 300 / 50
    again = sample_voxels(probabilities, target, ONE, "case", "0", (100, 50))
    assert np.array_equal(sample.logits, again.logits)


def test_weights_keep_the_likelihood_of_the_whole_scan() -> None:
    """Over many draws, the mean likelihood of small samples is that of all voxels."""
    probabilities, target = too_sure(TWO, 2.0, 3, cases=1)[0]
    probabilities[:, :3] = [[[[0.995]]], [[[0.001]]]]  # half of the scan is sure
    target[:3] = 1
    whole = sample_voxels(probabilities, target, TWO, "all", "0", (10**6, 10**6))
    small = [sample_voxels(probabilities, target, TWO, f"draw {number}", "0", (200, 20)) for number in range(100)]
    plain = [Scaling((1.0,))]
    mean = np.mean([negative_log_likelihood([sample], plain, TWO) for sample in small])
    assert mean == pytest.approx(negative_log_likelihood([whole], plain, TWO), rel=0.03)


def test_expected_calibration_error_by_hand() -> None:
    reliability = Reliability()
    # three voxels with 0.9, of which one is true; one with 0.1, which is not: (3 * |1/3 - 0.9| + 0.1) / 4
    truth = np.array([True, False, False, False])
    reliability.add(np.array([0.9, 0.9, 0.9, 0.1]), truth, np.ones(4))
    assert reliability.error == pytest.approx((3 * (0.9 - 1 / 3) + 0.1) / 4)
    assert [bar.frequency for bar in reliability.bins()] == pytest.approx([0, 1 / 3], abs=1e-5)
    assert Reliability().error is None


def test_likelihood_by_hand() -> None:
    logits = logits_of(np.array([[0.5, 0.25]]), ONE)
    sample = VoxelSample("case", "0", logits, np.array([[True, False]]), np.array([1.0, 3.0]))
    # -log 1/2 once, -log 3/4 three times
    plain = negative_log_likelihood([sample], [Scaling((1.0,))], ONE)
    assert plain == pytest.approx((log(2) + 3 * log(4 / 3)) / 4, rel=1e-5)
    # odds of 1 and 1/3 that are three times as large: 3/4 and 1/2
    thrice = negative_log_likelihood([sample], [Scaling((1.0,), (0.0, log(3)))], ONE)
    assert thrice == pytest.approx((log(4 / 3) + 3 * log(2)) / 4, rel=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_temperatures_alone_change_no_decision(name: str) -> None:
    labels = ALL[name]
    logits = torch.randn(labels.outputs, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scaling = Scaling((1.7,) if labels.activation == "softmax" else (0.4, 2.5))
    calibrated = scaling.before(labels.probabilities)(logits)
    if labels.activation == "sigmoid":
        assert torch.equal(calibrated > 0.5, labels.probabilities(logits) > 0.5)
    else:
        assert torch.equal(calibrated.argmax(0), labels.probabilities(logits).argmax(0))
    assert not torch.allclose(calibrated, labels.probabilities(logits))


def test_too_few_cases_are_not_calibrated() -> None:
    assert calibrate(samples_of(TWO, 2.0)[:2], TWO) is None


def shifted(labels: Labels, by: float) -> list[VoxelSample]:
    """Voxels of a network that answers the last structure too readily: its logit is too large."""
    samples = []
    for sample in samples_of(labels, 1.0):
        logits = sample.logits.copy()
        logits[-1] += by
        samples.append(VoxelSample(sample.case, sample.group, logits, sample.truth, sample.weight))
    return samples


@pytest.mark.parametrize("name", ALL)
def test_biases_are_fitted_where_temperatures_are_not_enough(name: str) -> None:
    labels = ALL[name]
    calibration = calibrate(shifted(labels, 1.5), labels)
    assert calibration is not None
    *others, last = calibration.biases
    assert last == pytest.approx(-1.5, abs=0.15)
    assert others == pytest.approx([0.0] * (labels.outputs - 1), abs=0.15)
    assert calibration.ece_all.after < calibration.ece_all.before / 3
    assert calibration.nll.after == calibration.forms["temperature and biases"] < calibration.forms["temperature"]


@pytest.mark.parametrize("name", ALL)
def test_a_temperature_alone_stays_where_it_is_as_good(name: str) -> None:
    calibration = calibrate(samples_of(ALL[name], 2.0), ALL[name])
    assert calibration is not None
    assert calibration.biases == []
    assert calibration.nll.after == calibration.forms["temperature"]


@pytest.mark.parametrize("name", ALL)
def test_maps_are_scaled_as_the_sample_is(name: str) -> None:
    labels = ALL[name]
    sample = samples_of(labels, 1.0)[0]
    count = 1 if labels.activation == "softmax" else 2
    scaling = Scaling((1.7, 0.8)[:count], tuple(0.5 * number for number in range(labels.outputs)))
    logits = torch.from_numpy(sample.logits)[:, None, None]
    unused = torch.zeros(labels.outputs - len(logits), *logits.shape[1:])  # of a network without a background
    of_map = scaling.before(labels.probabilities)(torch.cat([unused, logits]))
    np.testing.assert_allclose(of_map[:, 0, 0], probabilities_at(sample, scaling, labels), atol=1e-5)


def test_a_structure_that_was_hardly_drawn_keeps_its_bias() -> None:
    sample = samples_of(TWO, 1.0)[0]
    never = VoxelSample(sample.case, "0", sample.logits, sample.truth & [[True], [False]], sample.weight)
    rare = VoxelSample(never.case, "0", never.logits - [[0], [0], [12]], never.truth, never.weight)
    assert abs(fit_scaling([rare], TWO, biased=True).biases[2]) < 3
