"""Weights of two networks compared."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def assert_same_weights(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> None:
    """Check that two state dicts are the same, bit by bit: the same kernels made both."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
