"""What is done to an answer on a GPU, without one: maps, calibration, thresholds, several configurations, measures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import configuration_values, make_plan, network_values
from numpy.typing import NDArray

from medseg.confidence.calibration import BeforeAndAfter, Calibration
from medseg.core.case import Case
from medseg.core.image import Image
from medseg.delivery.answers.maps import map_files, open_sinks
from medseg.delivery.answers.options import Maps
from medseg.inference import memory, predictor, window_pass
from medseg.inference.backends import gpu_backend
from medseg.inference.predictor import Predictor
from medseg.inference.treatment import scaling_of
from medseg.models.model import Model, make_network
from medseg.plans.schema import Plan
from medseg.preprocessing.restore import Sink
from medseg.preprocessing.volume import Volume
from medseg.selection.record import Member, Selection, Threshold

SHAPE = (20, 22, 24)
PLAIN = {"structures": {"one": 1, "two": 2}}
REGIONS = {"structures": {"all": [1, 2], "two": 2}, "activation": "sigmoid", "region_values": [1, 2]}
LABELS = pytest.mark.parametrize("labels", [PLAIN, REGIONS], ids=["exclusive", "regions"])
NO_CHANGE = BeforeAndAfter(before=0.1, after=0.1)


@pytest.fixture(autouse=True)
def hand_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that do not exist here are not looked at, no driver counts memory, and no way is measured."""

    def gpu_members(networks: Sequence[torch.nn.Module], example: torch.Tensor, precision: torch.dtype) -> Any:
        return "eager", [window_pass.torch_forward(network, precision) for network in networks]

    monkeypatch.setattr(window_pass, "uniform_intensities", lambda *arguments: None)
    monkeypatch.setattr(predictor, "check_finite", lambda *arguments: None)
    monkeypatch.setattr(memory, "free_gpu_bytes", lambda device: 8e9)
    monkeypatch.setattr(gpu_backend, "gpu_members", gpu_members)


def plan_of(labels: dict[str, Any]) -> Plan:
    """A plan of two configurations, which differ in grid, patch and dimensions."""
    plan = make_plan(3, {"patch_voxels": [16, 16, 16], "network": network_values(3, 3)}, labels=labels)
    slices = configuration_values(2, patch_voxels=[16, 16], network=network_values(2, 3), spacing_mm=[1.5, 1.5])
    inference = plan.inference.model_copy(update={"mirror": True, "tile_batch": 4, "precision": "bf16"})
    configurations = {**plan.configurations, "slices": slices}
    return plan.model_copy(update={"inference": inference, "configurations": configurations})


def selection_of(**parts: Any) -> Selection:
    return Selection(
        plan="toy", medseg="0", made="now", members=[Member(configuration="main", folds=["0", "1"])], **parts
    )


def load(
    device: torch.device, labels: dict[str, Any], selection: Selection | None = None, together: bool = False
) -> Predictor:
    """Two folds, and of two configurations where they answer together."""
    plan = plan_of(labels)

    def model(name: str, **others: Any) -> Model:
        with device:
            networks = tuple(make_network(plan, plan.configuration(name)) for _ in range(2))
        return Model(plan, name, ("0", "1"), networks, Path(), **others)

    others = (model("slices"),) if together else ()
    return Predictor(model("main", others=others, selection=selection), device)


def scan() -> Image:
    """A scan with slices of twice the spacing, so that answers are interpolated on their way back."""
    array = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    return Image(array, np.diag([1.0, 1.0, 2.0, 1.0]))


class Seen:
    """A sink that notes where logits are, and how many planes came."""

    def __init__(self) -> None:
        self.devices: set[str] = set()
        self.planes = 0

    def __call__(self, first: int, logits: torch.Tensor) -> None:
        assert first == self.planes
        self.devices.add(logits.device.type)
        self.planes += logits.shape[1]


def answer(one: Predictor, volume: Volume, sinks: Sequence[Sink] = ()) -> tuple[NDArray, Seen]:
    """The label values of a scan, and what a sink has seen of its logits."""
    seen = Seen()
    return one.labels(volume, sinks=[*sinks, seen]), seen


@LABELS
@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize("biases", [False, True])
def test_calibrated_maps_are_made_on_the_device_and_written(
    cuda: torch.device, tmp_path: Path, labels: dict[str, Any], together: bool, biases: bool
) -> None:
    counts: dict[str, Any] = {"cases": 3, "voxels": 9, "nll": NO_CHANGE, "ece": {}, "ece_all": NO_CHANGE}
    temperatures = [1.5] if labels is PLAIN else [1.5, 0.8]
    outputs = 3 if labels is PLAIN else 2
    calibration = Calibration(
        temperatures=temperatures,
        biases=[0.0, *[-0.5] * (outputs - 1)] if biases else [],
        **counts,
        diagram_before=[],
        diagram_after=[],
    )
    one = load(cuda, labels, selection_of(calibration=calibration), together)
    volume, maps, plan = one.prepare(scan()), Maps(probabilities=True, entropy=True), one.model.plan
    nib.save(nib.Nifti1Image(np.zeros(SHAPE[::-1], np.float32), scan().affine), tmp_path / "a.nii.gz")
    case = Case("a", "", (tmp_path / "a.nii.gz",))
    with ExitStack() as stack:
        scaling = scaling_of(one.model)
        assert scaling is not None
        sinks = open_sinks(maps, stack, case, scan(), volume.geometry, tmp_path, plan.labels, scaling)
        values, seen = answer(one, volume, sinks)
    assert (values.shape, seen.planes, seen.devices) == (SHAPE, SHAPE[0], {"cuda"})
    written = map_files(maps, case, tmp_path, plan.labels)
    assert [nib.load(path).shape for path in written] == [SHAPE[::-1]] * 3


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_thresholds_of_regions_are_applied_on_the_device(cuda: torch.device, together: bool) -> None:
    one = load(cuda, REGIONS, selection_of(thresholds={"two": Threshold(value=0.4)}), together)
    values, seen = answer(one, one.prepare(scan()))
    assert (values.shape, seen.planes, seen.devices) == (SHAPE, SHAPE[0], {"cuda"})


@LABELS
def test_the_spread_over_folds_copies_and_configurations_is_computed_on_the_device(
    cuda: torch.device, labels: dict[str, Any]
) -> None:
    one, seen = load(cuda, labels, together=True), Seen()
    one.spread(one.prepare(scan()), [seen])
    assert (seen.planes, seen.devices) == (SHAPE[0], {"cuda"})


@LABELS
@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_an_answer_is_watched_and_measured_without_waiting_in_between(
    cuda: torch.device, labels: dict[str, Any], together: bool
) -> None:
    """Sums of slabs and of mirrored copies are added up on the device; of each only a few numbers go to the host."""
    one = load(cuda, labels, together=together)
    volume = one.prepare(scan())
    observations = one.observe(volume)
    seen = Seen()
    values = one.labels(volume, sinks=[seen], observations=observations)
    assert seen.devices == {"cuda"}
    measures = one.measures(volume, observations, scan().with_array(values[None]), ["0"])
    assert {*measures.deep} == {"0"}
    assert len(measures.deep["0"]) == 16  # channels of the deepest of three stages
    assert len(measures.sureness) == 2
