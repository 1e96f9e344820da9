"""How tensors come to a device."""

import os
import subprocess
import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medseg.networks.device import to_device


class Copies(TorchDispatchMode):
    """Notes which copies do not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[bool] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        if function is torch.ops.aten._to_copy.default:
            self.waits.append(not options.get("non_blocking", False))
        return function(*arguments, **options)


def test_only_cuda_is_not_waited_for() -> None:
    """Other devices may read the host's memory when it holds something else already."""
    with Copies() as copies:
        assert to_device(torch.ones(2), torch.device("meta")).device.type == "meta"
    assert copies.waits == [True]


def test_bf16_is_not_chosen_where_onednn_may_not_use_its_instruction() -> None:
    code = "import torch; from medseg.networks.device import choose_precision as choose; "
    code += "print(choose('auto', torch.device('cpu')))"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.float32"
