"""The line before the first step says what is trained, on what, and what memory a step keeps."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from builders import make_plan
from torch import nn
from toy_workspace import write_toy_workspace

from medseg.commands.train.job import _step_memory
from medseg.commands.train.train import TrainOptions, train
from medseg.training.length.extension import parse_extension


def test_a_run_says_device_precision_parameters_and_memory(tmp_path: Path) -> None:
    write_toy_workspace(tmp_path)
    result = train("toy", tmp_path, TrainOptions(steps=1, device="cpu"))
    (line,) = [note for note in result.notes if note.startswith("trains on")]
    pattern = r"trains on cpu \(\d+ threads?\) in fp32: plain_unet, [\d,]+ parameters, patch 16 x 16, batch \d+, "
    assert re.fullmatch(pattern + r"[\d.e-]+ GB for a step in fp32", line)
    assert not [note for note in result.notes if "validations not counted" in note], "a step alone is soon done"


def test_a_longer_run_says_about_how_long_it_takes_and_so_does_what_is_left_of_it(tmp_path: Path) -> None:
    write_toy_workspace(tmp_path)
    for options in (TrainOptions(steps=50, device="cpu"), TrainOptions(extend=parse_extension("60"), device="cpu")):
        result = train("toy", tmp_path, options)
        (line,) = [note for note in result.notes if "validations not counted" in note]
        steps = 60 if options.extend else 50
        assert re.fullmatch(rf"about \d+ s for {steps} steps, validations not counted", line)


def test_networks_of_others_are_not_looked_at_and_random_numbers_stay() -> None:
    plan = make_plan()
    assert _step_memory(nn.Conv3d(1, 1, 1), plan, plan.configuration("main")) == ""
    from medseg.models.model import make_network

    network = make_network(plan, plan.configuration("main"))
    state = torch.random.get_rng_state()
    assert "GB for a step" in _step_memory(network, plan, plan.configuration("main"))
    assert torch.equal(torch.random.get_rng_state(), state)
