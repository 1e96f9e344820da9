"""`int8.json`: what is written is read again, and what it cannot be is refused."""

import json
from pathlib import Path

import pytest

from medseg.core.errors import ModelError
from medseg.models.quantization import (
    MOST_BYTES,
    Evidence,
    Quantization,
    Rounding,
    dump_quantization,
    parse_quantization,
    read_quantization,
    write_quantization,
)


def some_quantization(before: float = 0.9, after: float = 0.8995) -> Quantization:
    evidence = Evidence(
        beside="bf16",
        tiles=8,
        training_cases=4,
        calibrated_on=["a", "b"],
        validation_cases=2,
        dice_before=before,
        dice_after=after,
        structures={"one": (before, after), "two": (None, None)},
        seconds_before=0.2,
        seconds_after=0.1,
    )
    return Quantization(
        schema_version=1,
        made="2026-11-29T18:00:00+00:00",
        medseg="0.1.0",
        nncf="3.4.0",
        openvino="2026.4.1",
        network="0" * 24,
        graph="0" * 24,
        careful=False,
        evidence=evidence,
        roundings=[
            Rounding(inputs=[(1, 0), (4, 0)], levels=256, shape=[], low=[-1.5], high=[1.0]),
            Rounding(inputs=[(1, 1)], levels=255, shape=[2, 1, 1, 1], low=[-0.1, -0.2], high=[0.1, 0.2]),
        ],
    )


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "int8.json"
    assert read_quantization(path) is None
    write_quantization(some_quantization(), path)
    assert read_quantization(path) == some_quantization()
    assert len(path.read_text().splitlines()) < 50, "a line a rounding"
    for_all = some_quantization().model_copy(update={"weight_bits": 7, "schema_version": 2})
    assert parse_quantization(dump_quantization(for_all).encode(), "x") == for_all
    empty = some_quantization().model_copy(update={"roundings": []})
    assert parse_quantization(dump_quantization(empty).encode(), "x") == empty


def test_it_is_kept_where_little_is_lost() -> None:
    assert some_quantization(0.9, 0.8995).kept
    assert some_quantization(0.9, 0.95).kept
    lost = some_quantization(0.9, 0.898)
    assert not lost.kept
    assert lost.describe() == (
        "mean Dice 0.8980 in int8, 0.9000 in bf16, on 2 validation cases, 2.00 times as fast: not kept, as it loses "
        "more than 0.001"
    )


def test_packages_hold_no_ids_of_cases() -> None:
    assert "calibrated_on" in dump_quantization(some_quantization())
    assert "calibrated_on" not in dump_quantization(some_quantization().anonymous())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "has schema_version 3; this medseg reads 2"),
        ({"evidence": None}, "has no evidence"),
        ({"unknown": 1}, "is not valid: unknown"),
        ({"roundings": [{"inputs": [], "levels": 256, "shape": [], "low": [0], "high": [1]}]}, "roundings.0.inputs"),
        (
            {"roundings": [{"inputs": [[0, 0]], "levels": 9, "shape": [3], "low": [0], "high": [1]}]},
            "expected 3 lowest",
        ),
        ({"roundings": [{"inputs": [[-1, 0]], "levels": 9, "shape": [], "low": [0], "high": [1]}]}, "greater than"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(change: dict[str, object], message: str) -> None:
    values = json.loads(dump_quantization(some_quantization())) | change
    with pytest.raises(ModelError, match=message):
        parse_quantization(json.dumps(values).encode(), "int8.json")


@pytest.mark.parametrize("content", [b"{", b"[" * 2000, b'{"a": NaN}', b"[]", b" " * (MOST_BYTES + 1), b"\xff"])
def test_damaged_files_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"int8\.json"):
        parse_quantization(content, "int8.json")
