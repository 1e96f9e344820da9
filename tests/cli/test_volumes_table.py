"""The table of volumes on the terminal: names are whole, whichever side they stand on."""

import pytest
from rich.console import Console

from medseg.cli import predict
from medseg.commands.predict.result import PredictResult


def shown(width: int, structures: list[str], cases: list[str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    console = Console(width=width)
    monkeypatch.setattr(predict, "console", console)
    volumes = {case: dict.fromkeys(structures, 123456.0) for case in cases}
    table = predict._volumes_table(PredictResult({}, volumes, dict.fromkeys(cases, "pixels"), {}))
    if table is None:
        return None
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_structures_that_do_not_fit_beside_each_other_stand_below(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["drivable", "sidewalk", "living", "rider", "vehicle", "roadside", "far", "sky"]
    narrow = shown(80, names, ["val_0_frame0000", "val_1_frame0001"], monkeypatch)
    assert narrow is not None
    assert all(name in narrow for name in [*names, "val_0_frame0000"])
    assert "\u2026" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    wide = shown(140, names, ["val_0_frame0000"], monkeypatch)
    assert wide is not None
    assert "case" in wide.splitlines()[2]


def test_too_many_of_both_have_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(80, [f"structure_{number}" for number in range(9)], [str(n) for n in range(9)], monkeypatch) is None
