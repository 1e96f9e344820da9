"""`--help` of verbs with many options is short, and `--help-all` leaves nothing out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medseg.cli.app import VERBS, verb_function
from medseg.cli.parsing.signature import fields_of_function, flat

FIELDS = {
    verb: [field for field in flat(fields_of_function(verb_function(verb))) if not field.is_argument] for verb in VERBS
}
FLAGS = {verb: [field.flags[0].split("/")[0] for field in fields] for verb, fields in FIELDS.items()}
SHORT = {verb: fields for verb, fields in FIELDS.items() if any(field.often for field in fields)}
OFTEN = {verb: [field.flags[0].split("/")[0] for field in fields if field.often] for verb, fields in SHORT.items()}
MOST_SHOWN = 13


def test_options_that_are_shown_are_few_and_the_model_workspace_and_plan_among_them() -> None:
    assert {verb: len(flags) for verb, flags in FLAGS.items() if len(OFTEN.get(verb, flags)) > MOST_SHOWN} == {}
    assert OFTEN.keys() == {*["check", "plan", "train", "crossval", "predict", "rank", "watch", "evaluate", "package"]}
    for verb, shown in OFTEN.items():
        wanted = {"--model", "--plan", "--workspace"} & {*FLAGS[verb]}
        assert verb == "check" or wanted <= {*shown}, verb


@pytest.mark.parametrize("verb", ["predict", "plan", "info"])
def test_short_and_full_help(verb: str, command_line: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    short, full = command_line(verb, "--help").stdout, command_line(verb, "--help-all").stdout
    shown = OFTEN.get(verb, FLAGS[verb])
    in_panels = [flag for flag in FLAGS[verb] if f"│ {flag} " in short]
    assert in_panels == [flag for flag in FLAGS[verb] if flag in shown]
    assert [flag for flag in FLAGS[verb] if flag not in full] == []
    if verb in OFTEN:
        assert f"Show the other {len(FLAGS[verb]) - len(shown)} options" in short
        assert len(short.splitlines()) < 0.6 * len(full.splitlines())
    assert "[default: .]" in short or verb == "info"
