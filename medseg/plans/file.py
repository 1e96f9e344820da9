"""Plans as YAML files: read, validate, override, and save with a comment for each decision."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from medseg.core.errors import PlanError
from medseg.core.files import write_text
from medseg.plans.problems import is_about, nearest, problems_in
from medseg.plans.schema import SCHEMA_VERSION, Plan

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

_MOST_ON_A_LINE = 3
REMOVED_TRAINING_KEYS = {"small_patch_share", "small_patch_fraction"}
"""Keys of the section `training` that earlier versions wrote; `_migrated` leaves them out."""
_HEADER = """\
{name}: how medseg segments this data set. Edit it freely: it is checked when it is read.
Vectors are (z, y, x) after transpose_forward. docs/plan.md explains every key.
"""


def load_plan(path: Path, overrides: list[str] | None = None) -> Plan:
    """Read and validate a plan; `overrides` are `dotted.key=value` strings that replace what the file says.

    Raises:
        PlanError: the file is not a plan, or a key or value is not valid; the message names it and what would be.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError(f"There is no plan {path}.", "`medseg plan DATASET` makes one.") from None
    except UnicodeDecodeError as error:
        raise PlanError(f"{path} is not valid YAML: {error}") from None
    return parse_plan(text, str(path), overrides)


def parse_plan(text: str, source: str, overrides: list[str] | None = None) -> Plan:
    """Validate a plan's YAML; `source` names its origin in messages.

    Raises:
        PlanError: as `load_plan`.
    """
    try:
        raw = _yaml().load(text)
    except Exception as error:  # the YAML library raises several unrelated types
        raise PlanError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise PlanError(f"{source} is not a plan: expected keys and values at the top, found {type(raw).__name__}.")
    reasons = dict(_comments(raw))
    values = _plain(raw)
    return validate_plan(values, reasons, source, overrides or [], "set by the user; {}")


def validate_plan(
    values: dict[str, Any],
    reasons: dict[str, str],
    source: str,
    overrides: Sequence[str] = (),
    why: str | None = None,
) -> Plan:
    """Validate plain values as a plan.

    Args:
        source: names their origin in messages.
        overrides: `dotted.key=value` strings of `--set` that replace some; what is wrong because of them, and not
            without them, is said of them.
        why: the reason for what they replaced, `{}` in it the one so far; None to leave the reasons.

    Raises:
        PlanError: a key or value is not valid; the message names it and what would be.
    """
    _check_version(values, source)
    values, reasons = _migrated(values, reasons)
    changed = copy.deepcopy(values)
    keys = {override(changed, text): text for text in overrides}
    if why is not None:
        reasons |= {key: why.format(reasons.get(key, "")).removesuffix("; ") for key in keys}
    _check_version(changed, _named(keys.values()))
    try:
        return Plan.model_validate({**changed, "reasons": reasons})
    except ValidationError:
        problems, before = problems_in(changed), problems_in(values)
    of_source = [text for text in problems if text in before]
    of_set = [text for text in problems if text not in of_source]
    named = [[key for key in keys if is_about(key, text)] for text in of_set]
    guilty = keys if [] in named else {key: keys[key] for key in chain(*named)}
    parts = [(f"{source} is not a valid plan", of_source), (f"{_named(guilty.values())} gives no valid plan", of_set)]
    raise PlanError("\n".join("\n  ".join([f"{what}:", *texts]) for what, texts in parts if texts))


def _named(settings: Iterable[str]) -> str:
    return " ".join(f"--set {text}" for text in settings)


def _check_version(values: dict[str, Any], source: str) -> None:
    version = values.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise PlanError(
            f"{source} has schema_version {version!r}; this medseg reads 1 to {SCHEMA_VERSION}.",
            "Update medseg, or make the plan anew with `medseg plan`.",
        )


def _migrated(values: dict[str, Any], reasons: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and reasons of a plan without the keys that earlier versions of medseg had.

    Smaller patches at the beginning of the schedule brought nothing measurable (docs/benchmarks.md) and are gone. Where
    a plan asks for them, the reason of `training` names it from now on.
    """
    training = values.get("training")
    if not isinstance(training, dict) or not REMOVED_TRAINING_KEYS & training.keys():
        return values, dict(reasons)
    asked = {key: training[key] for key in sorted(REMOVED_TRAINING_KEYS & training.keys())}
    kept = {key: value for key, value in training.items() if key not in asked}
    reasons = {key: why for key, why in reasons.items() if key.removeprefix("training.") not in REMOVED_TRAINING_KEYS}
    if asked.get("small_patch_share", 0) != 0 and asked.get("small_patch_fraction", 1) != 1:
        named = ", ".join(f"{key}: {value}" for key, value in asked.items())
        reasons["training"] = f"{named} of an earlier version has no effect any more: patches are full from the start"
    return {**values, "training": kept}, reasons


def save_plan(plan: Plan, path: Path) -> None:
    """Write the plan as YAML, atomically, each decision with its reason as a comment."""
    write_text(path, dump_plan(plan))


def dump_plan(plan: Plan) -> str:
    """The plan as YAML text."""
    tree = _commented(plan.model_dump(mode="json"), "", plan.reasons)
    tree.yaml_set_start_comment(_HEADER.format(name=plan.name))
    stream = io.StringIO()
    _yaml().dump(tree, stream)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def override(values: dict[str, Any], text: str) -> str:
    """Apply one `dotted.key=value` to plain values, in place, and return the key.

    The value is read as YAML, so `training.steps=500` is a number and `inference.mirror=false` is not a string.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise PlanError(
            f"--set {text} sets nothing; expected KEY=VALUE.", "Example: --set training.learning_rate=0.003"
        )
    target: Any = values
    for depth, part in enumerate(parts[:-1]):
        if not isinstance(target, dict) or part not in target:
            known = list(target) if isinstance(target, dict) else []
            raise PlanError(f"--set {text}: there is no key {'.'.join(parts[: depth + 1])!r}{nearest(part, known)}")
        target = target[part]
    if isinstance(target, list):
        raise PlanError(f"--set {text}: {'.'.join(parts[:-1])!r} is a list; set it as a whole: KEY=[a, b, c].")
    if not isinstance(target, dict):
        raise PlanError(f"--set {text}: {'.'.join(parts[:-1])!r} is a single value; it has no {parts[-1]!r} in it.")
    try:
        target[parts[-1]] = _plain(_yaml().load(value))
    except Exception as error:
        why = " ".join(str(error).split())
        raise PlanError(f"--set {text}: {value!r} is not a valid YAML value for {key}: {why}") from None
    return ".".join(parts)


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _plain(node: Any) -> Any:
    """ruamel's node types to plain Python values."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _commented(value: dict[str, Any], path: str, reasons: dict[str, str]) -> CommentedMap:
    from ruamel.yaml.comments import CommentedMap

    tree = CommentedMap()
    for key, item in value.items():
        place = f"{path}{key}"
        block = isinstance(item, dict) and not _short(item, f"{place}.", reasons)
        tree[key] = _commented(item, f"{place}.", reasons) if block else _flow(item)
        if place in reasons:
            tree.yaml_add_eol_comment(" ".join(reasons[place].split()), key, column=0)
    return tree


def _short(value: dict[str, Any], path: str, reasons: dict[str, str]) -> bool:
    """Whether a mapping fits on its key's line: a few plain values without reasons of their own."""
    plain = not any(isinstance(item, dict | list) for item in value.values())
    return plain and len(value) <= _MOST_ON_A_LINE and not any(f"{path}{key}" in reasons for key in value)


def _flow(value: Any) -> Any:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, list):
        sequence = CommentedSeq(_flow(item) for item in value)
        sequence.fa.set_flow_style()
        return sequence
    if isinstance(value, dict):
        mapping = CommentedMap({key: _flow(item) for key, item in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    return value


def _comments(node: Any, path: str = "") -> list[tuple[str, str]]:
    """(dotted key, comment) for every comment that stands behind a key."""
    found: list[tuple[str, str]] = []
    if not isinstance(node, dict):
        return found
    for key, value in node.items():
        place = f"{path}{key}"
        for token in _tokens(node, key, value):
            text = re.sub(r"^\s*#\s?", "", token.value.split("\n")[0]).strip()
            if text:
                found.append((place, text))
                break
        found += _comments(value, f"{place}.")
    return found


def _tokens(node: Any, key: Any, value: Any) -> list[Any]:
    """Comment tokens that ruamel attaches to `key`, or, for a nested block, to the block itself."""
    tokens = list(node.ca.items.get(key) or [])
    if hasattr(value, "ca") and value.ca.comment:
        tokens.append(value.ca.comment[0])
    flat = [item for token in tokens for item in (token if isinstance(token, list) else [token])]
    return [token for token in flat if token is not None]
