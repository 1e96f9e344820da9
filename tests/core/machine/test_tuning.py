"""A process that trains keeps its memory and lets go of cores; what the user has set stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
torch.ones(1 << 24)  # 64 MB: 16,384 pages of 4 KB, which the C library would take anew
again = faults() - before
torch.ones(1 << 26)  # 256 MB, more than was taken before: 128 pages of 2 MB, or 65,536
more = faults() - before - again
kept = {name: os.environ.get(name) for name in ("THP_MEM_ALLOC_ENABLE", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
print(json.dumps({**kept, "again": again, "more": more}))
"""


def process(before: str = "", **settings: str) -> dict:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MALLOC_"))}
    for name in ("THP_MEM_ALLOC_ENABLE", "LD_PRELOAD"):
        clean.pop(name, None)
    environment = {**clean, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(
        [sys.executable, "-c", before + SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    answer: dict = json.loads(done.stdout)
    return answer


def has_large_pages() -> bool:
    """Return whether the system gives pages of 2 MB to whoever asks."""
    try:
        return "[never]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
@pytest.mark.parametrize(
    ("settings", "spins"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_freed_memory_is_taken_again_and_what_the_user_set_stays(settings: dict[str, str], spins: str | None) -> None:
    found = process(**settings)
    assert found["GOMP_SPINCOUNT"] == spins
    assert found["THP_MEM_ALLOC_ENABLE"] is None  # torch's own way, which is slower
    assert found["again"] < 100
    if has_large_pages():
        assert found["more"] < 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
def test_the_users_own_settings_of_memory_are_left_alone() -> None:
    assert process(MALLOC_MMAP_THRESHOLD_="1000000")["again"] > 10_000
    assert process(MALLOC_TOP_PAD_="1000000")["more"] > 10_000
    assert process(THP_MEM_ALLOC_ENABLE="0")["more"] > 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
@pytest.mark.parametrize(("kind", "gigabytes"), [("RLIMIT_DATA", 3), ("RLIMIT_AS", 64)])
def test_a_process_with_a_limit_on_addresses_keeps_them_for_its_work(kind: str, gigabytes: int) -> None:
    """Libraries alone take several gigabytes of addresses with some builds of torch."""
    limit = f"import resource; resource.setrlimit(resource.{kind}, ({gigabytes} << 30, {gigabytes} << 30))\n"
    assert process(limit)["more"] > 10_000
