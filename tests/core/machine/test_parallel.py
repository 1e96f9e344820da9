"""Case-by-case work: one bad case never ends a run, a defect does."""

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import pytest

from medseg.core.errors import Cancelled, DataError
from medseg.core.machine.parallel import BackgroundResult, SharedIterator, WriteBehind, cpu_count, map_cases, read_ahead
from medseg.core.progress import Progress, silent, track


def tenfold(item: int) -> int:
    if item == 3:
        raise DataError(f"{item} is damaged")
    if item == 99:
        raise ZeroDivisionError("a defect")
    if item == 100:
        raise Cancelled
    if item == 101:
        raise MemoryError("Unable to allocate 9. GiB for an array")
    return 10 * item


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_results_come_in_order_and_a_bad_item_ends_nothing(workers: int | None) -> None:
    answers = list(map_cases(tenfold, range(8), workers))
    assert [item for item, _ in answers] == list(range(8))
    assert [answer for item, answer in answers if item != 3] == [0, 10, 20, 40, 50, 60, 70]
    bad = answers[3][1]
    assert isinstance(bad, DataError)
    assert str(bad) == "3 is damaged"


@pytest.mark.parametrize(("item", "error"), [(99, ZeroDivisionError), (100, Cancelled)])
def test_defects_and_cancellation_are_raised_after_what_came_before(item: int, error: type[Exception]) -> None:
    stream = map_cases(tenfold, [1, 2, item, 4], workers=2)
    assert [next(stream), next(stream)] == [(1, 10), (2, 20)]
    with pytest.raises(error):
        next(stream)


def test_only_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    stream = map_cases(lambda item: item, items(), workers=2)
    assert next(stream) == (0, 0)
    assert len(taken) == 4
    stream.close()  # type: ignore[attr-defined]
    assert len(taken) == 4


def test_several_items_are_worked_on_at_once() -> None:
    meeting = threading.Barrier(3, timeout=20)  # passes only when three workers wait at it together
    answers = list(map_cases(lambda item: meeting.wait() >= 0, range(6), workers=3))
    assert [answer for _, answer in answers] == [True] * 6


def test_an_executor_can_be_handed_in_and_stays_open() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="cluster") as cluster:
        names = [name for _, name in map_cases(lambda _: threading.current_thread().name, range(3), executor=cluster)]
        assert all(isinstance(name, str) and name.startswith("cluster") for name in names)
        assert cluster.submit(tenfold, 2).result() == 20


# --- ahead of the caller, and behind it ---


def test_reading_ahead_keeps_the_order_and_names_what_is_bad() -> None:
    answers = list(read_ahead(tenfold, range(6), lambda item: 1, 100))
    assert [item for item, _ in answers] == list(range(6))
    assert [answer for item, answer in answers if item != 3] == [0, 10, 20, 40, 50]
    assert isinstance(answers[3][1], DataError)
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(tenfold, [1, 99], lambda item: 1, 100))


@pytest.mark.parametrize(
    ("sizes", "most", "begun"),
    [
        ([1, 1, 1, 1, 1, 1], 100, 3),  # the caller's and two ahead
        ([40, 40, 40, 40], 100, 2),  # a third would be too much
        ([500, 1, 1, 1], 100, 1),  # one alone may be too large, and nothing is read beside it
        ([1, 500, 1, 1], 100, 1),  # nor it beside others
    ],
)
def test_reading_ahead_is_bounded_in_number_and_bytes(sizes: list[int], most: int, begun: int) -> None:
    started: list[int] = []
    stream = read_ahead(started.append, range(len(sizes)), lambda item: sizes[item], most)
    assert next(stream)[0] == 0
    while len(started) < begun:  # in another thread
        time.sleep(0.001)
    assert started == list(range(begun))
    assert [item for item, _ in stream] == list(range(1, len(sizes)))


def test_reading_ahead_holds_on_to_nothing_that_was_taken() -> None:
    class Scan:
        pass

    stream = read_ahead(lambda item: Scan(), range(3), lambda item: 1, 100)
    scan = next(stream)[1]
    seen = weakref.ref(scan)
    del scan
    assert seen() is None


def test_what_is_handed_in_behind_is_done_in_order_before_the_end() -> None:
    done: list[int] = []
    with WriteBehind(100) as behind:
        futures = [behind.submit(partial(done.append, item), 1) for item in range(5)]
    assert done == list(range(5))
    assert all(future.done() for future in futures)


def test_handing_in_waits_while_too_much_lies_behind() -> None:
    gate = threading.Event()
    with WriteBehind(100) as behind:
        first = behind.submit(lambda: gate.wait(20), 60)
        behind.submit(lambda: True, 40)
        threading.Timer(0.05, gate.set).start()
        behind.submit(lambda: True, 60)
        assert first.done()


def test_a_shared_iterator_gives_each_item_once_until_it_is_closed() -> None:
    items = SharedIterator(range(1000))
    with ThreadPoolExecutor(4) as pool:
        taken = [item for part in pool.map(lambda _: list(islice(items, 200)), range(4)) for item in part]
    assert sorted(taken) == list(range(800))
    items.close()
    assert items.closed
    assert list(items) == []


def test_there_is_a_core() -> None:
    assert cpu_count() >= 1


def test_progress_reports_each_unit_after_it_is_done() -> None:
    events: list[Progress] = []
    seen = []
    for item in track("ab", "read", 2, events.append):
        seen.append((item, events[-1].done))
    assert seen == [("a", 0), ("b", 1)]
    assert [(event.stage, event.done, event.total) for event in events] == [("read", n, 2) for n in range(3)]


def test_a_callback_can_stop_the_work() -> None:
    def stop(event: Progress) -> None:
        if event.done == 2:
            raise Cancelled

    seen: list[int] = []
    with pytest.raises(Cancelled):
        seen.extend(track(range(5), "read", 5, stop))
    assert seen == [0, 1]
    assert list(track(range(3), "read", 3, silent)) == [0, 1, 2]


def test_what_is_worked_out_later_is_waited_for_and_raises_where_it_is_asked_for() -> None:
    go = threading.Event()
    slow = BackgroundResult(lambda: go.wait(10) and 7)
    bad = BackgroundResult(partial(tenfold, 99))
    go.set()
    assert slow.result() == 7
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            bad.result()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_without_memory_is_named_and_ends_nothing(workers: int) -> None:
    answers = dict(map_cases(tenfold, [1, 101, 2], workers))
    assert (answers[1], answers[2]) == (10, 20)
    assert str(answers[101]).startswith("There is not enough memory: Unable to allocate 9. GiB for an array.\n")
    (_, answer), *_ = read_ahead(tenfold, [101], lambda item: 1, 10)
    assert "not enough memory" in str(answer)
