"""`--json` on every verb: its results as records on standard output, one per line of JSON, and nothing else there.

Tables, messages and progress go to standard error then. The last record is always a `result` with the exit code.
docs/prediction/provenance.md describes the kinds of records.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import PurePath
from typing import Annotated, Any, TextIO

import typer

OPTION = "--json"
JSON_PARAMETER = inspect.Parameter(
    "json_",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option(
            OPTION, help="Write records, one per line of JSON, to standard output; all else to standard error."
        ),
    ],
)
"""The option, as `medseg.cli.parsing.signature` adds it to every verb."""


class _Records:
    """The records of the verb that runs.

    Attributes:
        stream: Where they are written; None where no records are asked for.
        result: Values of the last record, `result`, beside the exit code.
    """

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self.result: dict[str, Any] = {}


_records = _Records()


def emit(kind: str, **values: Any) -> None:
    """Write a record, if records are asked for.

    Args:
        kind: Kind of the record, such as `case`.
        **values: Its other values; paths, and numbers that JSON does not have, are converted.
    """
    if _records.stream is not None:
        _write(_records.stream, {"kind": kind, **values})


def no_records() -> None:
    """Turn records off in this process: of several processes that train together, only one writes them."""
    _records.stream = None


def record_result(**values: Any) -> None:
    """Add values to the record `result`, which is written when the verb ends."""
    _records.result |= values


def record_error(message: str, hint: str | None, exit_code: int) -> None:
    """Write the records of a command that ended with an error, if its command line asks for records.

    Args:
        message: What went wrong.
        hint: What to do about it.
        exit_code: The exit code of the process.
    """
    if OPTION in sys.argv[1:]:
        _write(sys.stdout, {"kind": "error", "message": message, "hint": hint})
        _write(sys.stdout, {"kind": "result", "exit_code": exit_code})


@contextmanager
def recording(name: str) -> Iterator[None]:
    """Write the records of a verb to standard output, and everything else that is printed to standard error.

    At the end of the block the record `result` is written, with the exit code. After an error it is not written here:
    `record_error` does so.

    Args:
        name: Name of the verb.

    Raises:
        typer.Exit: the verb ended with an exit code other than 0.
    """
    _records.stream, _records.result, code = sys.stdout, {}, 0
    try:
        with redirect_stdout(sys.stderr):
            try:
                yield
            except typer.Exit as end:
                code = end.exit_code
        emit("result", verb=name, exit_code=code, **_records.result)
    finally:
        _records.stream = None
    if code:
        raise typer.Exit(code)


def _write(stream: TextIO, record: Mapping[str, Any]) -> None:
    stream.write(json.dumps(_as_json(record), allow_nan=False) + "\n")
    stream.flush()


def _as_json(value: Any) -> Any:
    """Return a value in types that JSON has: paths become text, infinity and NaN become null."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(item) for item in value]
    return value
