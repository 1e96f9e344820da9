"""Read nnU-Net's postprocessing as data: `postprocessing.pkl`, or `postprocessing.json` beside it.

The pickle names functions of nnU-Net's and their arguments. It is read without any of them, or any other code: a name
stays a name, and everything but plain values is refused. nnU-Net knows one function, which keeps the largest component
(`postprocessing/remove_connected_components.py`).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, ClassVar

from medseg import __version__
from medseg.core.errors import ModelError
from medseg.core.json_text import parse_json
from medseg.core.labels import Labels
from medseg.core.names import shown_name
from medseg.models.model import Model
from medseg.plans.schema import Plan
from medseg.selection.record import Member, Selection, Step

PICKLE, TEXT = "postprocessing.pkl", "postprocessing.json"
CROSSVAL = "crossval_results_folds_"
"""With which the folder begins in which nnU-Net leaves its postprocessing, in that of the model; folds follow."""
_FUNCTION = "remove_all_but_largest_component_from_segmentation"
_MOST_BYTES = 1 << 22
_MOST_VALUES = 100_000
_MOST_SHOWN = 300
"""Characters of a list in a message."""


def find_postprocessing(folder: Path, folds: Sequence[str]) -> Path | None:
    """Return the file of a model's postprocessing: that of the given folds, else the only one; None for none.

    Args:
        folder: of the model.
        folds: the folds that answer together.
    """
    named = folder / f"{CROSSVAL}{'_'.join(folds)}"
    for place in (folder, named):
        for name in (PICKLE, TEXT):
            if (place / name).is_file():
                return place / name
    places = [place for place in sorted(folder.glob(f"{CROSSVAL}*")) if _file_in(place) is not None]
    return _file_in(places[0]) if len(places) == 1 else None


def is_postprocessing(path: PurePath, model: PurePath) -> bool:
    """Return whether a path is that of a model's postprocessing, in a zip, say.

    Args:
        path: of a file.
        model: the folder of the model.
    """
    inside = path.parent == model or (path.parent.parent == model and path.parent.name.startswith(CROSSVAL))
    return inside and path.name in (PICKLE, TEXT)


def _file_in(folder: Path) -> Path | None:
    return next((folder / name for name in (PICKLE, TEXT) if (folder / name).is_file()), None)


def read_postprocessing(path: Path, labels: Labels) -> list[Step]:
    """Return the operations that a file of nnU-Net's names.

    Args:
        path: the pickle or the JSON.
        labels: the structures of the model.

    Raises:
        ModelError: it is damaged, holds something else than names and plain values, or speaks of a function or a
            structure that is not known.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{path} has more than {_MOST_BYTES:,} bytes, which no postprocessing of nnU-Net's has.")
    content = path.read_bytes()
    try:
        functions, arguments = _of_pickle(content) if path.suffix == ".pkl" else _of_json(content)
        if len(functions) != len(arguments):
            raise ValueError(f"it names {len(functions)} functions and arguments of {len(arguments)}")
        return [_step(*pair, labels, path.name) for pair in zip(functions, arguments, strict=True)]
    except ModelError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise ModelError(
            f"{path} is damaged or no postprocessing of nnU-Net's: {' '.join(str(error).split())[:200]}.",
            "Copy it again, or delete it to import the model without its postprocessing.",
        ) from None


def imported_selection(path: Path, plan: Plan, configuration: str, folds: Sequence[str]) -> Selection:
    """Return the postprocessing of a model as a selection, without evidence.

    Args:
        path: the file of the postprocessing.
        plan: of the model.
        configuration: of the model.
        folds: the folds that answer together.

    Raises:
        ModelError: as `read_postprocessing`.
    """
    written = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    return Selection(
        plan=plan.name,
        medseg=__version__,
        made=written.isoformat(timespec="seconds"),
        members=[Member(configuration=configuration, folds=[*folds])],
        postprocessing=read_postprocessing(path, plan.labels),
    )


def with_postprocessing(model: Model, folder: Path) -> Model:
    """Return a model with the postprocessing of its folder, if that has any; one that cannot be read is a note.

    Args:
        model: as it was loaded.
        folder: the folder of the model.
    """
    source = find_postprocessing(folder, model.folds)
    if source is None:
        return model
    try:
        selection = imported_selection(source, model.plan, model.configuration_name, model.folds)
    except ModelError as error:
        return replace(model, notes=(*model.notes, f"its postprocessing is left out: {error}"))
    if not selection.postprocessing:
        return model
    note = f"{source.name}: {', '.join(selection.describe())}; --no-selection leaves it out"
    return replace(model, selection=selection, notes=(*model.notes, note))


class _Named(str):
    """The name of a function that a pickle refers to, in its place; it cannot be called."""


class _Names(pickle._Unpickler):
    """Reads a pickle of plain values; functions of nnU-Net's become their names, numbers of numpy's whole numbers.

    It is the unpickler in Python, whose memo is a dictionary: that in C makes room up to the number that a pickle gives
    an object, for which ten bytes are enough to take tens of gigabytes. Byte arrays, which make room for the length
    that they declare, are not read.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def load_build(self) -> None:
        """Leave out the state of a type of numbers, and refuse that of anything else.

        Raises:
            pickle.UnpicklingError: something else has a state.
        """
        self.stack.pop()
        if not isinstance(self.stack[-1], _NumberType):
            raise pickle.UnpicklingError("it holds an object with a state, which no postprocessing needs")

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name in the pickle.

        Raises:
            pickle.UnpicklingError: it is neither a function of nnU-Net's nor a number of numpy's.
        """
        if module == "nnunetv2.postprocessing.remove_connected_components":
            return _Named(name)
        known: dict[tuple[str, str], Callable[..., Any]] = {("numpy", "dtype"): _NumberType}
        known |= {(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")}
        if (module, name) in known:
            return known[module, name]
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which no postprocessing needs and could run code")

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to what lies outside of the pickle."""
        raise pickle.UnpicklingError("it refers to something outside of it")


class _NumberType:
    """Stands for the type of one of numpy's numbers."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = code if isinstance(code, str) else ""


def _number(kind: object, content: object = b"") -> int:
    """Return one of numpy's whole numbers from its bytes, which are little-endian on every common machine."""
    if not isinstance(kind, _NumberType) or kind.code[:1] not in ("i", "u") or not isinstance(content, bytes):
        raise pickle.UnpicklingError("it holds a number that is not whole")
    return int.from_bytes(content[:8], "little", signed=kind.code.startswith("i"))


def _of_pickle(content: bytes) -> tuple[list[str], list[Any]]:
    functions, arguments = _Names(io.BytesIO(content)).load()
    if not all(isinstance(function, _Named) for function in functions):
        raise ValueError("its first list holds something else than functions")
    return [str(function) for function in functions], list(arguments)


def _of_json(content: bytes) -> tuple[list[str], list[Any]]:
    values = parse_json(content.decode("utf-8-sig"))
    return list(values["postprocessing_fns"]), list(values["postprocessing_kwargs"])


def _step(function: str, arguments: Any, labels: Labels, source: str) -> Step:
    """Return an operation for one of nnU-Net's functions.

    Raises:
        ModelError: there is no such operation, or no such structure.
    """
    if function != _FUNCTION:
        named = shown_name(function) if isinstance(function, str) else f"of type {type(function).__name__}"
        raise ModelError(f"{source} names the function {named}, which medseg does not know; expected {_FUNCTION}.")
    unknown = set(arguments) - {"labels_or_regions", "background_label"}
    if unknown or arguments.get("background_label", 0) != labels.background:
        given = ", ".join(sorted(f"{_shown(name)} ({type(value).__name__})" for name, value in arguments.items()))
        raise ModelError(f"{source} has arguments for {function} which medseg does not know: {given[:_MOST_SHOWN]}.")
    values = set(_flat(arguments["labels_or_regions"]))
    overlapping = labels.activation == "sigmoid"
    return Step(
        operation="largest_component",
        structures=_structures(values, labels, source),
        to_background=overlapping,
        source=source,
    )


def _shown(name: object) -> str:
    """Return the name of an argument for a message; the text of other values could be of any length."""
    return shown_name(name) if isinstance(name, str) else f"a name of type {type(name).__name__}"


def _flat(values: Any) -> Iterator[int]:
    """Yield the label values of a value, a region, or a list of these: nnU-Net joins them all."""
    queue, count = [values], 0
    while queue:
        value = queue.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError("it names too many values")
        if isinstance(value, list | tuple):
            queue += value
        elif isinstance(value, int) and not isinstance(value, bool):
            yield value
        else:
            raise ValueError(f"it names a value of type {type(value).__name__} as a label")


def _structures(values: set[int], labels: Labels, source: str) -> list[str]:
    """Return the structures that consist of some values.

    Raises:
        ModelError: there are none.
    """
    same = [name for name, members in labels.members.items() if {*members} == values]
    if same:
        return same[:1]
    inside = [name for name, members in labels.members.items() if {*members} <= values]
    if {value for name in inside for value in labels.members[name]} != values or not inside:
        shown = str(sorted(values))[:_MOST_SHOWN]
        raise ModelError(f"{source} speaks of the label values {shown}, which no structures of the model have.")
    return inside
