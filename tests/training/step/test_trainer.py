"""One training step by hand: the update, the averaged weights, and the settings after a restart."""

from pathlib import Path

import torch
from learning.small_runs import blob_samples, new_network, plan_of, setup_of

from medseg.training.data.batches import Batch
from medseg.training.step.trainer import Trainer


def test_settings_of_the_optimizer_are_the_plans_also_after_a_restart(tmp_path: Path) -> None:
    samples = blob_samples((2, 32, 32))
    setup = setup_of(plan_of(2, optimizer="sgd", momentum=0.5), tmp_path, 10)
    trainer = Trainer(new_network(setup.plan), setup)
    trainer.step(setup, 0, Batch(samples[0].image[:, :1].repeat(2, 1, 1, 1), samples[0].label[:1].repeat(2, 1, 1)))
    changed = setup_of(plan_of(2, optimizer="sgd", momentum=0.8, weight_decay=0.1), tmp_path, 10)
    other = Trainer(new_network(changed.plan), changed)
    assert other.restore(changed, trainer.state(setup, 1)) == 1
    assert other.optimizer.param_groups[0]["momentum"] == 0.8
    assert other.optimizer.param_groups[0]["weight_decay"] == 0.1


def test_one_step_of_sgd_by_hand(tmp_path: Path) -> None:
    plan = plan_of(2, optimizer="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.01, gradient_clip=0.3)
    network = new_network(plan)
    before = {name: value.clone() for name, value in network.named_parameters()}
    setup = setup_of(plan, tmp_path, 10)
    trainer = Trainer(network, setup)
    image, target = torch.randn(2, 1, 32, 32), torch.randint(0, 3, (2, 32, 32), dtype=torch.int16)
    loss = trainer.loss(network(image, 2), target)
    gradients = dict(zip(before, torch.autograd.grad(loss, list(network.parameters()), allow_unused=True), strict=True))
    norm = torch.stack([gradient.norm() for gradient in gradients.values() if gradient is not None]).norm()
    assert norm > 0.3  # so that clipping shows
    torch.testing.assert_close(trainer.step(setup, 4, Batch(image, target)), loss.detach())
    rate = 0.1 * 0.6**0.9
    for name, value in network.named_parameters():
        gradient = gradients[name]
        if gradient is None:  # the head of the level that is not supervised
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
            continue
        # Nesterov's first step: gradient + momentum * gradient
        change = rate * 1.5 * (gradient * 0.3 / norm + 0.01 * before[name])
        torch.testing.assert_close(value, before[name] - change, rtol=1e-4, atol=1e-6)


def test_averaged_weights_by_hand(tmp_path: Path) -> None:
    plan = plan_of(2, average_weights=0.5)
    network = new_network(plan)
    setup = setup_of(plan, tmp_path, 10)
    trainer = Trainer(network, setup)
    expected = network.get_parameter("heads.2.bias").detach().clone()
    for step, decay in ((0, 0.1), (1, 2 / 11), (9, 0.5)):  # (1 + step) / (10 + step), at most the plan's
        target = torch.randint(0, 3, (2, 32, 32), dtype=torch.int16)
        trainer.step(setup, step, Batch(torch.randn(2, 1, 32, 32), target))
        expected = decay * expected + (1 - decay) * network.get_parameter("heads.2.bias").detach()
        torch.testing.assert_close(trainer.best.get_parameter("heads.2.bias"), expected)
        assert not torch.equal(expected, network.get_parameter("heads.2.bias"))
    assert trainer.best is not network
