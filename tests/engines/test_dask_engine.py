"""The engines keep one contract; that of a cluster also outlives its workers."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from cluster_work import (
    SharedCluster,
    count_to,
    die,
    die_at_first,
    double,
    pid_slowly,
    shared_cluster,
    wait_for_the_end,
    where,
)

from medseg.core.errors import Cancelled, DataError, MedsegError, PlanError
from medseg.core.progress import Progress
from medseg.engines.engine import Engine, ThisProcess
from medseg.engines.open import open_engine

pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
pytestmark = pytest.mark.slow  # the processes of a cluster take seconds to start


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    with shared_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module", params=["threads", "processes", "cluster"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "threads":
        yield ThisProcess(workers=2)
    elif request.param == "processes":
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield ThisProcess(workers=2, executor=pool)
    else:
        with open_engine(request.getfixturevalue("cluster").address) as opened:
            yield opened


def test_results_come_in_order_and_problems_in_their_place(engine: Engine) -> None:
    results = list(engine.map(double, range(10, 16)))
    assert [item for item, _ in results] == [10, 11, 12, 13, 14, 15]
    assert [result for item, result in results if item != 13] == [20, 22, 24, 28, 30]
    problem = dict(results)[13]
    assert isinstance(problem, DataError)
    assert (problem.message, problem.hint) == ("13 is not to be doubled.", "Take another.")


def test_items_are_drawn_as_they_can_be_worked_on(engine: Engine) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    results = engine.map(double, items())
    assert next(results) == (0, 0)
    results.close()
    assert len(drawn) < 20


def test_no_items_no_results(engine: Engine) -> None:
    assert list(engine.map(double, [])) == []


def test_a_defect_is_raised(engine: Engine) -> None:
    with pytest.raises(ValueError, match="a defect"):
        list(engine.map(double, [98, 99]))


def test_relative_paths_start_from_the_folder_of_the_command(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(engine, ThisProcess) and engine.executor is not None:
        pytest.skip("a pool of processes is made where the command runs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("found")
    assert list(engine.map(where, [Path("file.txt")])) == [(Path("file.txt"), "found")]


def test_long_items_tell_of_their_progress(engine: Engine) -> None:
    events: list[tuple[int, Progress]] = []
    assert list(engine.run(count_to, [2, 3], lambda item, event: events.append((item, event)))) == [(2, 2), (3, 3)]
    assert sorted((item, event.done, event.total) for item, event in events if item == 3) == [
        (3, 0, 3),
        (3, 1, 3),
        (3, 2, 3),
    ]
    assert {event.info["note"] for item, event in events if item == 2} == {"step 0", "step 1"}


def test_several_processes_share_the_work(cluster: SharedCluster) -> None:
    with open_engine(cluster.address) as engine:
        assert engine.elsewhere
        pids = {pid for _, pid in engine.map(pid_slowly, range(12))}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_the_work_of_a_worker_that_dies_is_done_again(cluster: SharedCluster, tmp_path: Path) -> None:
    notes: list[Any] = []
    with open_engine(cluster.address, lambda event: notes.append(event.info.get("note"))) as engine:
        items = [tmp_path / f"{number}" for number in range(3)]
        for path in items[1:]:
            path.touch()
        assert [name for _, name in engine.map(die_at_first, items)] == ["0", "1", "2"]


def test_an_item_that_kills_every_worker_is_named_and_the_others_are_done() -> None:
    # given up after one worker, and after another one with nothing else to do; Dask's own number is four each
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), open_engine("local:1") as engine:
        [(_, problem)] = engine.map(die, ["bad"])
        assert isinstance(problem, MedsegError)
        assert "Each worker that was given it died" in problem.message
        assert list(engine.map(double, [1])) == [(1, 2)]


def test_a_cancelled_command_ends_what_is_under_way(cluster: SharedCluster, tmp_path: Path) -> None:
    def stop(item: Path, event: Progress) -> None:
        raise Cancelled

    marker = tmp_path / "ended"
    with pytest.raises(Cancelled), open_engine(cluster.address) as engine:
        list(engine.run(wait_for_the_end, [marker], stop))
    _wait_for(marker)


def test_ctrl_c_ends_what_is_under_way(cluster: SharedCluster, tmp_path: Path) -> None:
    def interrupt(item: Path, event: Progress) -> None:
        raise KeyboardInterrupt  # what Ctrl-C is in the thread that waits

    marker = tmp_path / "ended"
    with pytest.raises(KeyboardInterrupt), open_engine(cluster.address) as engine:
        list(engine.run(wait_for_the_end, [marker], interrupt))
    _wait_for(marker)


def _wait_for(marker: Path) -> None:
    for _ in range(600):
        if marker.exists():
            return
        time.sleep(0.05)
    raise AssertionError("the work goes on")


def test_workers_leave_ctrl_c_to_the_command(cluster: SharedCluster) -> None:
    for pid in cluster.pids():
        os.kill(pid, signal.SIGINT)
    before = {*cluster.pids()}
    time.sleep(0.2)
    assert {*cluster.pids()} == before


def test_only_what_can_be_imported_is_sent(cluster: SharedCluster) -> None:
    with open_engine(cluster.address) as engine, pytest.raises(Exception, match="pickle"):
        list(engine.map(lambda number: number, [1]))


def test_nobody_without_the_keys_is_let_in(cluster: SharedCluster, tmp_path: Path) -> None:
    address = cluster.address.partition(",")[0]
    with pytest.raises(PlanError, match=r"does not say where the keys are: .*ca-file"), open_engine(address):
        pass
    plain = address.replace("tls://", "tcp://")
    with pytest.raises(PlanError, match="No scheduler of Dask answers"), open_engine(plain):
        pass


def test_a_cluster_of_this_machine_is_started_and_ended(tmp_path: Path) -> None:
    with open_engine("local:1") as engine:
        [(_, pid)] = engine.map(pid_slowly, [0])
        os.kill(pid, 0)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("the worker lives on")
