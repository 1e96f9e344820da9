"""nnU-Net's postprocessing is data: names and plain values are read, nothing is run."""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from medseg.core.errors import ModelError
from medseg.core.labels import Labels
from medseg.models.nnunet.postprocessing import find_postprocessing, read_postprocessing

LABELS = Labels(structures={"one": 1, "two": 2, "three": 3})
REGIONS = Labels(structures={"whole": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])
NAME = "remove_all_but_largest_component_from_segmentation"


@pytest.fixture(scope="module")
def function() -> Iterator[Any]:
    """What nnU-Net pickles: a function of a module of this name, which fails if it is called."""
    names = ["nnunetv2", "nnunetv2.postprocessing", "nnunetv2.postprocessing.remove_connected_components"]
    modules = {name: ModuleType(name) for name in names}

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("it was called")

    fails.__module__, fails.__qualname__, fails.__name__ = names[-1], NAME, NAME
    setattr(modules[names[-1]], NAME, fails)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        yield fails


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path


def test_functions_become_operations(function: Any, tmp_path: Path) -> None:
    arguments = [{"labels_or_regions": [1, 2, 3]}, {"labels_or_regions": 2}, {"labels_or_regions": np.int64(3)}]
    path = write(tmp_path / "postprocessing.pkl", ([function] * 3, arguments))
    steps = read_postprocessing(path, LABELS)
    assert [(step.operation, step.structures, step.to_background) for step in steps] == [
        ("largest_component", ["one", "two", "three"], False),
        ("largest_component", ["two"], False),
        ("largest_component", ["three"], False),
    ]
    assert {step.source for step in steps} == {"postprocessing.pkl"}


def test_regions_go_to_the_background_as_in_nnunet(function: Any, tmp_path: Path) -> None:
    arguments = [{"labels_or_regions": [1, 2]}, {"labels_or_regions": (2,)}]
    path = write(tmp_path / "postprocessing.pkl", ([function] * 2, arguments))
    steps = read_postprocessing(path, REGIONS)
    assert [(step.structures, step.to_background) for step in steps] == [(["whole"], True), (["core"], True)]


def test_the_json_beside_it_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.json"
    path.write_text(json.dumps({"postprocessing_fns": [NAME], "postprocessing_kwargs": [{"labels_or_regions": [3]}]}))
    assert read_postprocessing(path, LABELS)[0].structures == ["three"]


class Harmful:
    """Pickled, it makes a folder when it is read by pickle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_never_run(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.pkl"
    path.write_bytes(pickle.dumps(([Harmful(tmp_path / "made")], [{}]), protocol))
    with pytest.raises(ModelError, match=r"holds (posix|nt)\.mkdir"):
        read_postprocessing(path, LABELS)
    assert not (tmp_path / "made").exists()


def test_what_is_not_known_is_named(function: Any, tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.pkl"
    for content, message in (
        (([function], [{"labels_or_regions": 7}]), r"label values \[7\]"),
        (([function], [{"labels_or_regions": 1, "background_label": 3}]), "which medseg does not know"),
        (([function], []), "1 functions and arguments of 0"),
        ((["a"], [{}]), "something else than functions"),
        ("text", "damaged"),
    ):
        with pytest.raises(ModelError, match=message):
            read_postprocessing(write(path, content), LABELS)
    path.write_bytes(b"no pickle")
    with pytest.raises(ModelError, match="damaged"):
        read_postprocessing(path, LABELS)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\xef.",  # LONG_BINPUT: None as number 4,026,531,839 of the memo
        b"\x80\x05\x96" + (1 << 36).to_bytes(8, "little") + b".",  # BYTEARRAY8: 64 GiB
        b"\x80\x05\x8e" + (1 << 36).to_bytes(8, "little") + b".",  # BINBYTES8
    ],
    ids=["memo", "byte array", "bytes"],
)
def test_a_few_bytes_take_no_memory(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.pkl"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="damaged or no postprocessing"):
        read_postprocessing(path, LABELS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_messages_show_no_values(function: Any, tmp_path: Path) -> None:
    nested: Any = (1,)
    for _ in range(60):  # its text would have 2^60 characters
        nested = (nested, nested)
    path = tmp_path / "postprocessing.pkl"
    for arguments, message in (
        ({"labels_or_regions": 1, "more": nested}, r"'labels_or_regions' \(int\), 'more' \(tuple\)"),
        ({"labels_or_regions": "x" * 10_000}, "a value of type str as a label"),
        ({"labels_or_regions": nested}, "names too many values"),
        ({"labels_or_regions": [*range(10_000)]}, r"label values \[0, 1, "),
    ):
        with pytest.raises(ModelError, match=message) as error:
            read_postprocessing(write(path, ([function], [arguments])), LABELS)
        assert len(str(error.value)) < 1_000


def test_nothing_gets_a_state(tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.pkl"
    scalar = b"cnumpy.core.multiarray\nscalar\n"
    path.write_bytes(b"\x80\x02" + scalar + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b.")
    with pytest.raises(ModelError, match="an object with a state"):
        read_postprocessing(path, LABELS)


def test_it_is_found_where_nnunet_leaves_it(tmp_path: Path) -> None:
    assert find_postprocessing(tmp_path, ["0", "1"]) is None
    other = write(tmp_path / "crossval_results_folds_0" / "postprocessing.pkl", ([], []))
    assert find_postprocessing(tmp_path, ["0", "1"]) == other
    mine = write(tmp_path / "crossval_results_folds_0_1" / "postprocessing.pkl", ([], []))
    assert find_postprocessing(tmp_path, ["0", "1"]) == mine
    assert find_postprocessing(tmp_path, ["2"]) is None  # two sets of folds, and none is this one
