"""A wait for other processes ends when one of them has failed, also where the connection does not say so."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from paths import ROOT

from medseg.training.step.ranks import joined
from medseg.training.step.together import ProcessLost, one_has_failed

FAILS_AND_STAYS = """
import time
from medseg.training.step.ranks import joined, report_failure
with joined("cpu") as (ranks, _):
    ranks.wait()
    report_failure()
    time.sleep(600)
"""


def wait_twice() -> None:
    """Wait for the other process, which comes the first time only."""
    with joined("cpu") as (ranks, _):
        ranks.wait()
        with pytest.raises(ProcessLost) as lost:
            ranks.wait()
        raise lost.value


def test_a_wait_ends_although_the_connection_to_the_failed_process_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as record:
        record.bind(("127.0.0.1", 0))
        port = record.getsockname()[1]
    environment = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    other = subprocess.Popen(
        [sys.executable, "-c", FAILS_AND_STAYS],
        env={**os.environ, **environment, "RANK": "1", "LOCAL_RANK": "1", "PYTHONPATH": str(ROOT)},
    )
    for name, value in {**environment, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    try:
        with pytest.raises(SystemExit):  # silently: the one that failed first says why
            wait_twice()
        assert other.poll() is None
        assert not torch.distributed.is_initialized()
    finally:
        other.kill()
        other.wait()


def test_a_process_alone_waits_for_nobody() -> None:
    assert not one_has_failed(None)
