"""`--json` on every verb: what it has to say as records, one a line of JSON on standard output and nothing else there.

Tables, messages and progress go to standard error then. The last record is always a `result` with the exit code;
docs/provenance.md describes the kinds.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import wraps
from pathlib import PurePath
from typing import Annotated, Any, TextIO

import typer

OPTION = "--json"
_Asked = Annotated[
    bool,
    typer.Option(OPTION, help="Write records, one per line of JSON, to standard output; all else to standard error."),
]


class _Records:
    """Where records go, and what the last one is to say."""

    stream: TextIO | None = None

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}


_records = _Records()


def with_records(name: str, verb: Callable[..., None]) -> Callable[..., None]:
    """A verb with the option --json."""
    signature = inspect.signature(verb, eval_str=True)
    option = inspect.Parameter("json_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Asked)

    @wraps(verb)
    def run(*, json_: bool = False, **options: Any) -> None:
        with _recording(name) if json_ else nullcontext():
            verb(**options)

    del run.__dict__["__wrapped__"]  # its signature is not this one's
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()} | {"json_": _Asked}
    return run


def emit(kind: str, **values: Any) -> None:
    """Write a record, if they are asked for."""
    if _records.stream is not None:
        _write(_records.stream, {"kind": kind, **values})


def no_records() -> None:
    """Leave the records of this call to another process."""
    _records.stream = None


def record_result(**values: Any) -> None:
    """What the last record says beside the exit code."""
    _records.last |= values


def refusal(message: str, hint: str | None, exit_code: int) -> None:
    """The records of a command that could not be carried out, for a command line that asks for records."""
    if OPTION in sys.argv[1:]:
        _write(sys.stdout, {"kind": "error", "message": message, "hint": hint})
        _write(sys.stdout, {"kind": "result", "exit_code": exit_code})


@contextmanager
def _recording(name: str) -> Iterator[None]:
    """Records while the block lasts, and the last one when it ends; of errors, `refusal` tells."""
    _records.stream, _records.last, code = sys.stdout, {}, 0
    try:
        with redirect_stdout(sys.stderr):
            try:
                yield
            except typer.Exit as done:
                code = done.exit_code
        emit("result", verb=name, exit_code=code, **_records.last)
    finally:
        _records.stream = None
    if code:
        raise typer.Exit(code)


def _write(stream: TextIO, record: Mapping[str, Any]) -> None:
    stream.write(json.dumps(_as_json(record), allow_nan=False) + "\n")
    stream.flush()


def _as_json(value: Any) -> Any:
    """Values as JSON holds them: paths as text, no infinity and no NaN, which are no JSON."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(one) for one in value]
    return value
