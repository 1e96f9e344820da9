"""Deep supervision at chosen levels with chosen weights."""

from typing import Any

import pytest
import torch
from builders import network_values, plan_values

from medseg.core.errors import PlanError
from medseg.models.model import make_network
from medseg.plans.file import validate_plan
from medseg.plans.schema import Plan
from medseg.plans.sections.supervision import SupervisedLevels
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.step.rehearsal import rehearse


class FixedLoss:
    """The loss of a resolution is the mean of its logits."""

    def __call__(self, logits: torch.Tensor, *others: Any) -> torch.Tensor:
        return logits.mean()


def plan_with(deep_supervision: Any, **network: Any) -> Plan:
    values = plan_values(2)
    values["training"]["deep_supervision"] = deep_supervision
    values["configurations"]["main"] |= {"patch_voxels": [32, 32], "network": network or network_values(2, 5)}
    return validate_plan(values, {}, "plan.yaml")


@pytest.mark.parametrize(
    ("choice", "by_level"),
    [
        ({"levels": [0]}, [1]),
        ({"levels": [0, 1, 2]}, [4 / 7, 2 / 7, 1 / 7]),  # nnU-Net's
        ({"levels": [0, 2]}, [0.8, 0, 0.2]),
        ({"levels": [2, 0], "weights": [1, 3]}, [0.75, 0, 0.25]),
        ({"levels": [0, 1], "weights": [1, 0]}, [1, 0]),
    ],
)
def test_weights_by_level(choice: dict[str, Any], by_level: list[float]) -> None:
    assert SupervisedLevels(**choice).by_level == pytest.approx(by_level)


@pytest.mark.parametrize(
    ("choice", "value"),
    [(True, (4 * 1 + 2 * 10 + 100) / 7), (False, 1), ({"levels": [0, 2], "weights": [3, 1]}, (3 * 1 + 100) / 4)],
)
def test_a_loss_by_hand(choice: Any, value: float) -> None:
    """Answers of 1, 10 and 100, whose losses are the same numbers."""
    plan = plan_with(choice)
    configuration = plan.configuration("main")
    network = make_network(plan, configuration)
    loss = DeepSupervision.of(network, plan, configuration)
    plain = DeepSupervision(FixedLoss(), plan.labels, loss.scales, weights=loss.weights)  # type: ignore[arg-type]
    sizes = [32, 16, 8][: len(loss.scales)]
    outputs = [torch.full((1, plan.labels.outputs, size, size), 10.0**level) for level, size in enumerate(sizes)]
    target = torch.zeros(1, 32, 32, dtype=torch.int16)
    assert plain(outputs, target).item() == pytest.approx(value)


def test_the_loss_of_the_full_resolution_alone() -> None:
    """As validation measures it: the network is asked for one answer, whatever levels are trained."""
    plan = plan_with({"levels": [0, 2], "weights": [3, 1]})
    configuration = plan.configuration("main")
    loss = DeepSupervision.of(make_network(plan, configuration), plan, configuration).at_full_resolution()
    plain = DeepSupervision(FixedLoss(), plan.labels, loss.scales, weights=loss.weights)  # type: ignore[arg-type]
    answer = torch.full((1, plan.labels.outputs, 32, 32), 7.0)
    assert plain([answer], torch.zeros(1, 32, 32, dtype=torch.int16)).item() == 7


def test_levels_of_weight_zero_are_not_trained() -> None:
    plan = plan_with({"levels": [0, 2]})
    configuration = plan.configuration("main")
    network = make_network(plan, configuration)
    loss = DeepSupervision.of(network, plan, configuration)
    outputs = network(torch.randn(1, 1, 32, 32), len(loss.scales))
    loss(outputs, torch.zeros(1, 32, 32, dtype=torch.int16)).backward()
    heads = list(network.heads)[::-1]  # type: ignore[arg-type]
    assert [head.weight.grad is not None for head in heads] == [True, False, True, False]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            network_values(2, 5),
            r"levels names level 3, and the network plain_unet has levels 0 \(full resolution\), "
            r"1 \(coarser by 2 x 2\), 2 \(coarser by 4 x 4\)",
        ),
        ({"name": "erfnet", "arguments": {"features": [4, 6, 8]}}, r"erfnet has level 0 \(full resolution\)"),
    ],
)
def test_a_level_that_the_network_has_not(network: dict[str, Any], message: str) -> None:
    plan = plan_with({"levels": [0, 3]}, **network)
    configuration = plan.configuration("main")
    with pytest.raises(PlanError, match=message):
        rehearse(make_network(plan, configuration), plan, configuration, False)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"levels": [1, 2]}, "level 0 is the full resolution"),
        ({"levels": [0, 1], "weights": [0, 1]}, "level 0 is the full resolution"),
        ({"levels": [0, 1], "weights": [1]}, "weights has 1 entries for 2 levels"),
        ({"levels": [0, 0]}, "names a level twice"),
        ({"levels": []}, r"training\.deep_supervision\.levels"),
        ({"levels": [0, -1]}, r"training\.deep_supervision\.levels\.1: expected at least 0 \(it is -1\)"),
        ({"level": [0]}, "level"),
        ({"levels": [0], "weights": [-1]}, "weights"),
        ("deep", r"training\.deep_supervision: expected true, false, or levels: .* \(it is 'deep'\)"),
    ],
)
def test_choices_that_are_refused(choice: Any, message: str) -> None:
    values = plan_values(2)
    values["training"]["deep_supervision"] = choice
    with pytest.raises(PlanError, match=message):
        validate_plan(values, {}, "plan.yaml")


def test_a_plan_is_written_as_it_was_read() -> None:
    choice = {"levels": [0, 2], "weights": [1.0, 0.3]}
    for value in (True, False, choice, {"levels": [0, 1]}):
        assert plan_with(value).training.model_dump(mode="json")["deep_supervision"] == value


@pytest.mark.parametrize(("levels", "refused"), [([0, 2], False), ([0, 1], True)])
def test_pruning_needs_the_level_that_it_predicts_with(levels: list[int], refused: bool) -> None:
    values = plan_values(2)
    network = {"name": "basic_unet_plus_plus", "arguments": {"prune": 2}}
    values["configurations"]["main"] |= {"network": network, "patch_voxels": [32, 32]}
    values["training"]["deep_supervision"] = {"levels": levels}
    if refused:
        with pytest.raises(PlanError, match="is 2, which predicts with an answer that only"):
            validate_plan(values, {}, "plan.yaml")
    else:
        validate_plan(values, {}, "plan.yaml")
