"""Threads follow the cores that a process may use, and what the user said."""

from collections.abc import Iterator

import pytest
import torch

from medseg.networks import threads
from medseg.networks.threads import use_cores


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(before)


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    use_cores()
    assert torch.get_num_threads() == 6
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torchrun's own default
    use_cores()
    assert torch.get_num_threads() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    use_cores()
    assert torch.get_num_threads() == 3


def test_what_the_user_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_cores()
    assert torch.get_num_threads() == 1
