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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MB: 16,384 pages of 4 KB, which the C library would take anew
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(3):
    faults()
again = min(faults() for _ in range(5))  # a busy system moves pages about, which counts as faults, too
def flags(address):
    inside = False
    for line in open("/proc/self/smaps"):
        first, *rest = line.split()
        if first == "VmFlags:" and inside:
            return rest
        if not first.endswith(":"):
            start, end = (int(part, 16) for part in first.split("-"))
            inside = start <= address < end
tensor = torch.ones(1 << 26)  # 256 MB, more than was taken before
large = os.path.exists("/proc/self/smaps") and "hg" in flags(tensor.data_ptr() + tensor.nbytes // 2)
kept = {name: os.environ.get(name) for name in ("THP_MEM_ALLOC_ENABLE", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
print(json.dumps({**kept, "again": again, "large": large}))
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


GIVEN_BACK = """
import resource
from medseg.core.machine.tuning import give_back_freed_memory, tune_for_training
tune_for_training()
import numpy
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
numpy.ones(1 << 25)  # 256 MB
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
def test_what_is_kept_is_given_back_when_steps_are_over() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", GIVEN_BACK], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 200


def large_pages() -> str:
    """Return to whom the system gives pages of 2 MB: `always`, whoever asks (`madvise`), or `never` to anybody."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return "never"
    return text.partition("[")[2].partition("]")[0]


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
@pytest.mark.parametrize(
    ("settings", "spins"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_freed_memory_is_taken_again_and_what_the_user_set_stays(settings: dict[str, str], spins: str | None) -> None:
    found = process(**settings)
    assert found["GOMP_SPINCOUNT"] == spins
    assert found["again"] < 100
    if large_pages() != "never":
        assert found["large"]


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
def test_the_users_own_settings_of_memory_are_left_alone() -> None:
    assert process(MALLOC_MMAP_THRESHOLD_="1000000")["THP_MEM_ALLOC_ENABLE"] == "1"  # torch's own way of large pages
    if large_pages() != "always":
        assert process(MALLOC_MMAP_THRESHOLD_="1000000", THP_MEM_ALLOC_ENABLE="0")["again"] > 10_000
    left = process(MALLOC_TOP_PAD_="1000000", THP_MEM_ALLOC_ENABLE="0")
    assert left["THP_MEM_ALLOC_ENABLE"] == "0"
    assert not left["large"]


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
@pytest.mark.parametrize(("kind", "gigabytes"), [("RLIMIT_DATA", 3), ("RLIMIT_AS", 64)])
def test_a_process_with_a_limit_on_addresses_keeps_them_for_its_work(kind: str, gigabytes: int) -> None:
    """Libraries alone take several gigabytes of addresses with some builds of torch."""
    limit = f"import resource; resource.setrlimit(resource.{kind}, ({gigabytes} << 30, {gigabytes} << 30))\n"
    assert process(limit)["THP_MEM_ALLOC_ENABLE"] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to set on other systems")
def test_where_the_c_library_has_memory_already_torch_asks_for_large_pages() -> None:
    used = "import ctypes; c = ctypes.CDLL(None); c.mallopt(-3, 1 << 30); c.mallopt(-1, 1 << 30)\n"
    used += "c.malloc.restype = ctypes.c_void_p; c.free.argtypes = [ctypes.c_void_p]\n"
    used += "c.free(c.malloc(ctypes.c_size_t(64 << 20)))\n"
    assert process(used)["THP_MEM_ALLOC_ENABLE"] == "1"
