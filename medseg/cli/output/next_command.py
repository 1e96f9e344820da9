"""Print, at the end of a verb, the complete command to run next, ready to be pasted."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.cli.output.display import console
from medseg.cli.output.records import record_result
from medseg.cli.parsing.signature import fields_of_function, flat

if TYPE_CHECKING:
    from medseg.commands.predict.result import PredictResult
    from medseg.plans.schema import Plan


def show_next(verb: str, *words: object) -> None:
    """Print the command that comes next in one line, whatever the width, and put it into the record of the result.

    Args:
        verb: its verb.
        *words: arguments and options, not quoted.
    """
    command = shlex.join(["medseg", verb, *map(str, words)])
    record_result(next=command)
    console.print(f"next: {command}", markup=False, soft_wrap=True)


def in_workspace(workspace: Path) -> list[str]:
    """Return the option that names a workspace; [] for the current folder."""
    return [] if workspace == Path() else ["--workspace", str(workspace)]


def show_next_prediction(plan: Plan, model: str | Path, workspace: Path) -> None:
    """Print the command that segments the scans of a plan's data set; nothing where that folder is no longer there.

    Args:
        plan: names the data set.
        model: as `--model` takes it.
        workspace: with plans and runs.
    """
    data = Path(os.path.normpath(workspace / plan.data.folder))
    if data.is_dir():
        output = os.path.normpath(workspace / f"answers-{plan.name}")
        show_next("predict", data, output, "--model", model, *in_workspace(workspace))


def show_next_view(result: PredictResult, case: str | None = None) -> None:
    """Print the command that shows an answer over its scan: the first flagged one, else the first.

    Nothing is printed where only a picture or a report was written, which `view` cannot read.

    Args:
        result: a prediction.
        case: which case; None to choose.
    """
    shown = case or next(iter([*result.flagged, *result.files]), None)
    if shown is not None and shown in result.scans and _is_label(result.files[shown]):
        frames = [] if result.frame is None else ["--frame", result.frame]
        show_next("view", result.scans[shown], result.files[shown], *frames)


def _is_label(path: Path) -> bool:
    from medseg.io.formats.table import is_dicom

    if not is_dicom(path):
        return True
    from medseg.io.dicom.labels.label_objects import is_label_object  # loaded only for DICOM

    return is_label_object(path)


def words_for(verb: str, other: str) -> list[str]:
    """Return the words that were typed after a verb, without options that the next verb does not have.

    Args:
        verb: the verb that runs.
        other: the verb that comes next.
    """
    from medseg.cli.app import verb_function

    typed = sys.argv[1:]
    if verb not in typed:
        return []
    of_verb, of_other = (
        {flag: field for field in flat(fields_of_function(verb_function(name))) for flag in field.spellings}
        for name in (verb, other)
    )
    kept: list[str] = []
    words = iter(typed[typed.index(verb) + 1 :])
    for word in words:
        if not word.startswith("-"):
            kept.append(word)
            continue
        flag, equals, _ = word.partition("=")
        field = of_verb.get(flag)
        value = [] if equals or field is None or field.kind is bool else [next(words, "")]
        if flag in of_other:
            kept += [word, *value]
    return kept
