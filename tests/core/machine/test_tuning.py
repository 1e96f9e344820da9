"""A process that trains keeps its memory and lets go of cores; what the user has set stays."""

import json
import os
import subprocess
import sys

import pytest
from paths import ROOT

SCRIPT = """
import json, os, resource
from medseg.core.machine.tuning import tune_for_training
tune_for_training()
import torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(1 << 24)
before = faults()
torch.ones(1 << 24)  # 64 MB: 32 pages of 2 MB, or 16,384 of 4 KB, which the C library would take anew
kept = {name: os.environ.get(name) for name in ("THP_MEM_ALLOC_ENABLE", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
print(json.dumps({**kept, "faults": faults() - before}))
"""


def process(**settings: str) -> dict:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MALLOC_"))}
    for name in ("THP_MEM_ALLOC_ENABLE", "LD_PRELOAD"):
        clean.pop(name, None)
    environment = {**clean, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    answer: dict = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
@pytest.mark.parametrize(
    ("settings", "spins"),
    [
        ({}, "5000"),
        ({"GOMP_SPINCOUNT": "7", "THP_MEM_ALLOC_ENABLE": "0"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_freed_memory_is_taken_again_and_what_the_user_set_stays(settings: dict[str, str], spins: str | None) -> None:
    found = process(**settings)
    assert found["GOMP_SPINCOUNT"] == spins
    assert found["THP_MEM_ALLOC_ENABLE"] == settings.get("THP_MEM_ALLOC_ENABLE", "1")
    if "THP_MEM_ALLOC_ENABLE" not in settings:  # with small pages, more rounds pass before all are kept
        assert found["faults"] < 100


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
def test_the_users_own_allocator_is_left_alone() -> None:
    assert process(MALLOC_MMAP_THRESHOLD_="1000000", THP_MEM_ALLOC_ENABLE="0")["faults"] > 10_000
