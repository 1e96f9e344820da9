"""The number of torch's threads on a CPU: one for each physical core that this process may use.

A second thread on a core shares its arithmetic units, so convolutions gain nothing from it.
"""

from __future__ import annotations

import os

import torch

from medseg.core.machine.cores import usable_cores

_SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def use_cores() -> None:
    """Set torch's threads to the physical cores, divided among the processes that torchrun started on this machine.

    Nothing is changed if the user set OMP_NUM_THREADS or MKL_NUM_THREADS. The 1 that torchrun sets by itself when it
    starts several processes does not count.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    user_settings = [os.environ[name] for name in _SET_BY_USER if name in os.environ]
    if user_settings and not (processes > 1 and user_settings == ["1"]):
        return
    torch.set_num_threads(max(1, usable_cores() // processes))
