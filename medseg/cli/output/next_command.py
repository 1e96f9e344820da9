"""Print, at the end of a verb, the complete command to run next, ready to be pasted."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def same_command(verb: str, source: Path) -> str:
    """Return the command that was typed with another source, and an output beside the one that was typed.

    Args:
        verb: the verb that runs; its first two arguments are the source and the folder of the output.
        source: the other source; its name is added to that of the output.

    Returns:
        Nothing where no such command was typed, as by calls from Python.
    """
    words = _typed_words(verb)
    arguments = [number for number, (flag, _) in enumerate(words) if not flag]
    if len(arguments) < 2:
        return ""
    first, second = arguments[:2]
    output = Path(words[second][1][0])
    output = output.with_name(f"{output.name}_{source.name}") if output.name else output / source.name
    words[first], words[second] = ("", [str(source)]), ("", [str(output)])
    return shlex.join(["medseg", verb, *(word for _, of_one in words for word in of_one)])


def words_for(verb: str, other: str) -> list[str]:
    """Return the words that were typed after a verb, without options that the next verb does not have.

    Args:
        verb: the verb that runs.
        other: the verb that comes next.
    """
    of_other = _options_of(other)
    return [word for flag, words in _typed_words(verb) if not flag or flag in of_other for word in words]


def _typed_words(verb: str) -> list[tuple[str, list[str]]]:
    """Return what was typed after a verb: each option with its value, and each argument, which has no option."""
    typed = sys.argv[1:]
    if verb not in typed:
        return []
    options = _options_of(verb)
    found: list[tuple[str, list[str]]] = []
    words = iter(typed[typed.index(verb) + 1 :])
    for word in words:
        if not word.startswith("-"):
            found.append(("", [word]))
            continue
        flag, equals, _ = word.partition("=")
        field = options.get(flag)
        value = [] if equals or field is None or field.kind is bool else [next(words, "")]
        found.append((flag, [word, *value]))
    return found


def _options_of(verb: str) -> dict[str, Any]:
    """Return {option: its field} of a verb, in every spelling."""
    from medseg.cli.app import verb_function

    return {flag: field for field in flat(fields_of_function(verb_function(verb))) for flag in field.spellings}
