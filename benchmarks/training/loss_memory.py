"""Peak memory and time of the loss with all scales of deep supervision, on a CPU; nnU-Net's own loss beside it.

    python benchmarks/training/loss_memory.py                                  # 105 classes, 128^3, batch 2
    python benchmarks/training/loss_memory.py --size 64 --nnunet PYTHON        # a Python that has nnunetv2
    python benchmarks/training/loss_memory.py --size 40 56 40 --batch 9 --classes 3 --levels 2 --rounds 20

Every arm is a process of its own. Memory is the highest resident size above what lay there with logits and target
made; the gradient of the logits is a part of it. Both losses get logits in the type that `--dtype` says, as the
network would hand them over; nnU-Net trains in fp32 on a CPU and in fp16 on a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


def medseg_loss(classes: int, scales: Sequence[Sequence[int]]) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """The loss of this repository."""
    from medseg.core.labels import Labels
    from medseg.training.losses.deep_supervision import DeepSupervision
    from medseg.training.losses.dice_ce import DiceCE

    labels = Labels(structures={f"structure_{number}": number for number in range(1, classes)})
    return DeepSupervision(DiceCE(labels, False, 1.0, 1.0), labels, scales)


def nnunet_loss(scales: Sequence[Sequence[int]]) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """nnU-Net's loss as its trainer puts it together, with the targets that its loader would bring."""
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss = DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss)
    weights = [0.5**level for level in range(len(scales))]
    wrapped = DeepSupervisionWrapper(loss, [weight / sum(weights) for weight in weights])

    def call(outputs: Any, target: torch.Tensor) -> torch.Tensor:
        thin = [target[(slice(None), *(slice(step // 2, None, step) for step in scale))] for scale in scales]
        return wrapped(outputs, [one[:, None] for one in thin])

    return call


def peak() -> int:
    """Highest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One arm, in this process."""
    axes = len(arguments.size)
    scales = [[2**level] * axes for level in range(arguments.levels)]
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    loss = medseg_loss(arguments.classes, scales) if arguments.arm == "medseg" else nnunet_loss(scales)
    kind = getattr(torch, arguments.dtype)
    torch.manual_seed(0)
    small = [torch.randn(1, 2, *[8] * axes, dtype=kind, requires_grad=True) for _ in scales]
    if arguments.arm == "medseg":  # what is loaded on first use is no part of the figure
        medseg_loss(2, [[1] * axes] * len(scales))(small, torch.zeros(1, *[8] * axes, dtype=torch.int16)).backward()
    outputs = []
    for scale in scales:
        shape = [size // step for size, step in zip(arguments.size, scale, strict=True)]
        one = torch.empty(arguments.batch, arguments.classes, *shape, dtype=kind, memory_format=layout)
        outputs.append(one.normal_().requires_grad_())
    target = torch.randint(0, arguments.classes, (arguments.batch, *arguments.size), dtype=torch.int16)
    before, seconds = peak(), []
    for _ in range(arguments.rounds):
        for one in outputs:
            one.grad = None
        began = time.perf_counter()
        value = loss(outputs, target)
        value.backward()
        seconds.append(time.perf_counter() - began)
    logits = sum(one.nbytes for one in outputs)
    return {
        "arm": arguments.arm,
        "dtype": arguments.dtype,
        "logits_gb": round(logits / 1e9, 3),
        "above_logits_gb": round((peak() - before) / 1e9, 3),
        "ms": round(1000 * statistics.median(seconds[len(seconds) // 4 :]), 1),
        "loss": round(float(value.detach()), 5),
        "torch": torch.__version__,
    }


def main() -> None:
    """Start every arm in a process of its own and print what it measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=105)
    parser.add_argument("--size", type=int, nargs="+", default=[128], help="of the patch; one number for a cube")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--levels", type=int, default=4, help="resolutions with a loss")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--nnunet", default=None, help="a Python that has nnunetv2")
    parser.add_argument("--arm", choices=["medseg", "nnunet"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if len(arguments.size) == 1:
        arguments.size *= 3
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.arm:
        arguments.dtype = arguments.dtype[0]
        print(json.dumps(measure(arguments)))
        return
    arms = [("medseg", sys.executable)] + ([("nnunet", arguments.nnunet)] if arguments.nnunet else [])
    for kind in arguments.dtype:
        for arm, python in arms:
            own = [python, __file__, *sys.argv[1:], "--arm", arm, "--dtype", kind]
            answer = subprocess.run(own, capture_output=True, text=True)
            error = answer.stderr.strip().splitlines()[-1:] or [f"ended with {answer.returncode}"]
            print(answer.stdout.strip() or json.dumps({"arm": arm, "dtype": kind, "failed": error[0]}), flush=True)


if __name__ == "__main__":
    main()
