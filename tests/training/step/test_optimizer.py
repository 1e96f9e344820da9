"""The encoder's share of the learning rate, down to nothing."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from builders import make_plan, make_training

from medseg.core.errors import PlanError
from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.networks.device import evaluating
from medseg.networks.row import ListOutput
from medseg.training.data.batches import Batch
from medseg.training.length.course import Course
from medseg.training.run.setup import Setup
from medseg.training.step.optimizer import make_optimizer, set_learning_rate
from medseg.training.step.trainer import Trainer

CPU = torch.device("cpu")


def changes(tmp_path: Path, share: float, optimizer: str = "sgd") -> dict[str, torch.Tensor]:
    """What one step without momentum and decay changes in each weight."""
    own = {"optimizer": optimizer, "momentum": 0.0, "encoder_learning_rate": share, "average_weights": 0.5}
    plan = make_plan(training=make_training(**own).model_dump())
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main"))
    before = deepcopy(network.state_dict())
    setup = Setup(plan, plan.configuration("main"), Course.over(10), CPU, torch.float32, FoldFolder(tmp_path))
    trainer = Trainer(network, setup)
    target = torch.randint(0, 3, (2, 16, 16, 16), dtype=torch.int16)
    trainer.step(setup, 0, Batch(torch.randn(2, 1, 16, 16, 16), target))
    assert trainer.state(setup, 1)["network"].keys() == before.keys()
    assert trainer.best is not network
    return {name: value - before[name] for name, value in network.state_dict().items()}


def test_a_slower_encoder_takes_smaller_steps(tmp_path: Path) -> None:
    same, slow = changes(tmp_path, 1.0), changes(tmp_path, 0.25)
    for name, change in same.items():
        share = 0.25 if name.startswith("encoder.") else 1.0
        torch.testing.assert_close(slow[name], share * change, rtol=1e-3, atol=1e-7)
    assert any(change.abs().max() > 1e-4 for name, change in same.items() if name.startswith("encoder."))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_a_frozen_encoder_stays_and_the_rest_learns(tmp_path: Path, optimizer: str) -> None:
    for name, change in changes(tmp_path, 0.0, optimizer).items():
        if name.startswith("encoder."):
            assert not change.any(), name
        elif not name.startswith("heads.0"):  # the coarsest head is not in the loss
            assert change.any() or name.endswith("conv.bias"), name


@pytest.mark.parametrize("share", [1.0, 0.1, 0.0])
def test_muon_has_the_convolutions_that_neither_read_the_image_nor_give_the_answers(share: float) -> None:
    plan = make_plan(training=make_training(optimizer="muon", encoder_learning_rate=share).model_dump())
    network = make_network(plan, plan.configuration("main"))
    optimizer = make_optimizer(network, plan.training)
    names = {parameter: name for name, parameter in network.named_parameters()}
    found = {names[one] for group in optimizer.param_groups if group["orthogonal"] for one in group["params"]}
    first, *others = [name for name, one in network.named_parameters() if one.ndim > 1]
    frozen = ("encoder.",) if share == 0 else ()
    assert first.startswith("encoder.")
    assert found == {name for name in others if not name.startswith(("heads.", *frozen))}
    assert any(name.startswith("decoder.") for name in found)
    known = {names[one] for group in optimizer.param_groups for one in group["params"]}
    assert known == {name for name in names.values() if not name.startswith(frozen)}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_a_first_step_that_is_skipped_leaves_no_trace(name: str) -> None:
    """torch's fused SGD made its momentum of memory as it was: here of values that are not numbers."""
    torch.manual_seed(0)
    networks = [torch.nn.Conv2d(2, 2, 3) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    torch.use_deterministic_algorithms(True)  # new memory is then filled with NaN
    try:
        for network, skips in zip(networks, ((1.0, 0.0, 0.0), (0.0, 0.0)), strict=True):
            optimizer = make_optimizer(network, make_training(optimizer=name))
            for skip in skips:
                network(torch.ones(1, 2, 4, 4)).square().sum().backward()
                optimizer.found_inf = torch.tensor(skip)
                optimizer.step()
                optimizer.zero_grad()
    finally:
        torch.use_deterministic_algorithms(False)
    for skipped, plain in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(skipped, plain)


def test_the_schedule_reaches_every_group() -> None:
    network = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "decoder": torch.nn.Linear(2, 2)})
    optimizer = make_optimizer(network, make_training(encoder_learning_rate=0.1))
    set_learning_rate(optimizer, 0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, pytest.approx(0.005)]


def test_a_network_without_an_encoder_cannot_have_a_slower_one() -> None:
    with pytest.raises(PlanError, match="no part named encoder"):
        make_optimizer(torch.nn.Linear(2, 2), make_training(encoder_learning_rate=0.0))


class WithStatistics(torch.nn.Module):
    """An encoder and a decoder with batch normalization, as networks of other libraries have them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.BatchNorm3d(4))
        self.decoder = torch.nn.Sequential(torch.nn.Conv3d(4, 4, 3, padding=1), torch.nn.BatchNorm3d(4))
        self.heads = torch.nn.Conv3d(4, 3, 1)

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [self.heads(self.decoder(self.encoder(x)))]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_frozen_encoder_keeps_its_statistics_and_averages_have_their_own(
    tmp_path: Path, share: float, wrapped: bool
) -> None:
    own = {"encoder_learning_rate": share, "average_weights": 0.999}
    plan = make_plan(training=make_training(**own).model_dump())
    torch.manual_seed(0)
    network: torch.nn.Module = WithStatistics()
    if wrapped:
        network = ListOutput(network, 3)
    before = deepcopy(network.state_dict())
    setup = Setup(plan, plan.configuration("main"), Course.over(10), CPU, torch.float32, FoldFolder(tmp_path))
    trainer = Trainer(network, setup)
    image, target = torch.randn(2, 1, 16, 16, 16), torch.randint(0, 3, (2, 16, 16, 16), dtype=torch.int16)
    states = []
    for step in range(2):
        trainer.step(setup, step, Batch(image, target))
        states.append(deepcopy(network.state_dict()))
        with evaluating(network):  # as validation does between steps
            network(image)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert any("decoder.1.running_mean" in name for name in changed)
    assert any("encoder." in name for name in changed) == (share > 0)
    key = "network." * wrapped + "decoder.1.running_mean"
    expected = before[key]
    for step, state in enumerate(states):  # (1 + step) / (10 + step), as for weights
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * state[key]
    assert trainer.average is not None
    torch.testing.assert_close(trainer.average.state_dict()[key], expected)


@pytest.mark.parametrize(
    ("optimizer", "first", "second"),
    [
        # weight 1, gradients 2 and then 1, learning rate 0.1, decay 0.5, momentum 0.9
        ("sgd", 1 - 0.1 * (2.5 + 0.9 * 2.5), None),  # gradient and decay 2.5; Nesterov's look ahead adds 0.9 times that
        ("adam", 1 - 0.1, None),  # the first step of Adam is the sign of gradient and decay
        # then the moments are 0.28 and 0.004996, each divided by what is missing to 1
        ("adamw", 1 - 0.1 * 0.5 - 0.1, 0.85 * 0.95 - 0.1 * (0.28 / 0.19) / (0.004996 / 0.001999) ** 0.5),
    ],
)  # fmt: skip
def test_steps_by_hand(optimizer: str, first: float, second: float | None) -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    made = make_optimizer(layer, make_training(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5, momentum=0.9))
    for gradient, expected in ((2.0, first), (1.0, second)):
        layer.weight.grad = torch.tensor([[gradient]])
        made.step()
        if expected is not None:
            assert float(layer.weight.detach()) == pytest.approx(expected, rel=1e-5)


def test_adam_takes_the_decay_as_a_part_of_the_gradient() -> None:
    """Gradient 0 and weight 1: Adam makes a whole step, as the decay is all that it sees; AdamW shrinks the weight."""
    ends = {}
    for optimizer in ("adam", "adamw"):
        layer = torch.nn.Linear(1, 1, bias=False)
        layer.weight.data.fill_(1.0)
        layer.weight.grad = torch.zeros(1, 1)
        make_optimizer(layer, make_training(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5)).step()
        ends[optimizer] = float(layer.weight.detach())
    assert ends == {"adam": pytest.approx(0.9), "adamw": pytest.approx(0.95)}


def test_optimizers_follow_the_plan() -> None:
    network = torch.nn.Linear(2, 2)
    sgd = make_optimizer(network, make_training(optimizer="sgd", momentum=0.99, weight_decay=3e-5, learning_rate=0.01))
    assert isinstance(sgd, torch.optim.SGD)
    settings = sgd.param_groups[0]
    assert (settings["lr"], settings["momentum"], settings["weight_decay"], settings["nesterov"]) == (
        0.01,
        0.99,
        3e-5,
        True,
    )
    plain = make_optimizer(network, make_training(optimizer="sgd", momentum=0.0))
    assert not plain.param_groups[0]["nesterov"]
    adamw = make_optimizer(network, make_training(optimizer="adamw", weight_decay=0.02, learning_rate=0.003))
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.param_groups[0]["lr"], adamw.param_groups[0]["weight_decay"]) == (0.003, 0.02)
