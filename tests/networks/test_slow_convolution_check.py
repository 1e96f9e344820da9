"""Builds with slow convolutions, by their versions."""

import pytest
import torch

from medseg.networks.slow_convolution_check import known_to_be_slow, slow_convolution


@pytest.mark.parametrize(
    ("version", "cudnn", "slow"),
    [
        ("2.9.0+cu128", 91002, True),
        ("2.9.1", 91400, True),
        ("2.9.1", 91500, False),
        ("2.8.0+cu128", 91002, False),
        ("2.10.0", 91002, False),
        ("2.9.0+cpu", None, False),
    ],
)
def test_versions(version: str, cudnn: int | None, slow: bool) -> None:
    assert (known_to_be_slow(version, cudnn) is not None) == slow


def test_the_note_names_what_to_install() -> None:
    assert known_to_be_slow("2.9.0", 91002) == (
        "torch 2.9.0 with cuDNN 9.10 computes 3D convolutions in half precision about four times slower than other "
        "versions: install torch 2.10 or later, or nvidia-cudnn-cu12>=9.15"
    )


def test_nothing_is_said_of_a_cpu() -> None:
    assert slow_convolution(torch.device("cpu"), torch.bfloat16, 3) is None
