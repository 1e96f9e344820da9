"""Inverted scans are named where training scans agree on what is bright, and other changes of a scan are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from compared_plan import plan_of
from facts import make_channel, make_facts
from numpy.typing import NDArray
from PIL import Image as pillow

from medseg.checking.scan_contrast import compare_contrast
from medseg.checking.scan_intensities import compare_intensities
from medseg.planning.content import channel_quantiles
from medseg.planning.contrast import roughness
from medseg.planning.scan_range import scan_range
from medseg.plans.sections.data import ChannelRange


def range_of(channels: list[NDArray]) -> ChannelRange:
    """What a plan says of training scans with these channels."""
    contents = [make_channel(quantiles=channel_quantiles(one), roughness=roughness(one)) for one in channels]
    return scan_range([make_facts(str(n), [content]) for n, content in enumerate(contents)]).channels[0]


def tissue(seed: int, bright_is_rough: bool = False) -> NDArray:
    """Two tissues, of which the bright one is smooth, or rough, and noise."""
    random = np.random.default_rng(seed)
    where = np.broadcast_to(np.arange(24) > random.integers(6, 11), (20, 24, 24))
    noise = random.normal(size=where.shape) * np.where(where == bright_is_rough, 30, 5)
    return (1000 + 100 * where + noise).astype(np.float32)


TRAINING = [tissue(seed) for seed in range(8)]


def test_an_inverted_scan_is_named_and_others_are_not() -> None:
    before, scan = range_of(TRAINING), tissue(99)
    assert before.roughness[1] < 0
    assert compare_contrast("It", scan, before) == []
    (finding,) = compare_contrast("Its channel T1", scan.max() - scan, before)
    assert (finding.kind, finding.refused) == ("contrast", False)
    assert finding.message == (
        "Its channel T1 looks inverted, bright for dark: its bright areas are rougher than its dark ones; in the "
        "training scans they are smoother."
    )
    random = np.random.default_rng(0)
    for changed in (
        3 * scan + 77,
        scan + random.normal(0, 20, scan.shape),
        scan * np.linspace(0.9, 1.1, scan.shape[2]),
        scan[::2],
        np.round(scan / 20),
    ):
        assert compare_contrast("It", changed, before) == []


def test_nothing_is_said_where_training_scans_differ_or_are_few() -> None:
    inverted = 2000 - tissue(99)
    assert compare_contrast("It", inverted, None) == []
    assert compare_contrast("It", inverted, range_of(TRAINING[:4])) == []
    mixed = range_of([*TRAINING, *(2000 - one for one in TRAINING)])
    assert mixed.roughness[0] < 0 < mixed.roughness[1]
    assert compare_contrast("It", inverted, mixed) == []
    assert range_of([*TRAINING, np.ones((9, 9, 9))]).roughness == []


def test_only_normalizations_that_hide_it_ask_for_it() -> None:
    for scheme, count in (("zscore", 1), ("ct", 0)):
        plan = plan_of(scheme)
        assert plan.data.scans is not None
        of_tissue = range_of(TRAINING)
        wide = {"quantiles": [[-1e9] * 5, [1e9] * 5], "spread": [1.0, 1e9]}
        plan.data.scans = plan.data.scans.model_copy(update={"channels": [of_tissue.model_copy(update=wide)]})
        findings = compare_intensities((2000 - tissue(99))[None], plan, plan.configuration("main"))
        assert sum(finding.kind == "contrast" for finding in findings) == count


def real_scans(data: Path) -> Iterator[tuple[str, NDArray]]:
    """Every channel of the public sets of MR: the name of its set, and its voxels."""
    for path in sorted((data / "hippocampus" / "imagesTr").glob("*.nii.gz")):
        yield "hippocampus", np.asarray(nib.load(path).dataobj)
    for path in sorted((data / "cardiac2d" / "images").iterdir()):
        yield "cardiac2d", np.asarray(pillow.open(path).convert("L"))[None]
    for path in sorted((data / "brain_tumour" / "imagesTr").glob("*.nii.gz")):
        yield path.name[-11:-7], np.asarray(nib.load(path).dataobj)


@pytest.mark.real
def test_real_scans_are_no_false_alarm_and_inverted_ones_are_found(data_dir: Path) -> None:
    """Every second scan is training; of the brain there are four, of which too little is known to say anything."""
    sets: dict[str, list[NDArray]] = {}
    for name, channel in real_scans(data_dir):
        sets.setdefault(name, []).append(channel)
    found = {}
    for name, channels in sets.items():
        training, unseen = (channels[::2], channels[1::2]) if len(channels) > 4 else (channels * 2, channels)
        before = range_of(training)
        alarms = [bool(compare_contrast("It", one, before)) for one in unseen]
        inverted = [bool(compare_contrast("It", one.max().astype(np.float32) - one, before)) for one in unseen]
        found[name] = (sum(alarms), sum(inverted), len(unseen))
    assert found == {"hippocampus": (0, 100, 100), "cardiac2d": (0, 130, 130), "0000": (0, 4, 4), "0001": (0, 4, 4)}
