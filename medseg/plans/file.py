"""Read plans from YAML files, validate them, override keys, and save them with the reason for each decision.

Reasons are comments in the file, behind the key that they explain; they survive reading and saving. A plan that a user
edits names its JSON Schema, which lies beside it, so that an editor completes and checks its keys without a network.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from medseg.core.errors import PlanError
from medseg.core.files import read_limited, write_text
from medseg.plans.problems import is_about, problems_in, suggestion
from medseg.plans.schema import SCHEMA_VERSION, Plan

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

_MOST_KEYS_ON_A_LINE = 3
_MOST_NAMED = 8
"""Plans named where one is not there."""
_MOST_BYTES = 2 << 20
"""A plan has some kilobytes, and one that lists thousands of cases as left out some hundred."""
_MOST_VALUES = 200_000
"""Values in a plan once references (`*name`) are filled in: a few lines of these can stand for billions."""
REMOVED_TRAINING_KEYS = {"small_patch_share", "small_patch_fraction"}
"""Keys of the section `training` that earlier versions wrote; `_migrated` leaves them out."""
NO_EFFECT = "of an earlier version has no effect any more"
SCHEMA_FILE = "plan.schema.json"
"""Lies beside plans and among the modules of this package; `docs/make/plan_keys.py` makes it."""
SCHEMA_LINE = f"# yaml-language-server: $schema=./{SCHEMA_FILE}\n"
"""The first line of a plan, as the YAML language server and the editors that use it read it."""
_HEADER = """\
{name}: how medseg segments this data set. Edit it freely: it is checked when it is read.
Vectors are (z, y, x) after transpose_forward. docs/training/plan.md explains it, docs/plan-keys every key.
"""


def load_plan(path: Path, overrides: list[str] | None = None) -> Plan:
    """Read and validate a plan.

    Args:
        path: the YAML file.
        overrides: `dotted.key=value` strings that replace values of the file, as `--set` takes them.

    Returns:
        The plan, with the reasons that its comments give.

    Raises:
        MedsegError: there is no such file, it is not a plan, or a key or value is not valid; the message names the key
            and what would be valid.
    """
    content = read_limited(Path(path), _MOST_BYTES)
    if content is None:
        beside = [other.stem for other in sorted(Path(path).parent.glob("*.yaml"))][:_MOST_NAMED]
        others = f" Beside it there {'is' if len(beside) == 1 else 'are'} {', '.join(beside)}." if beside else ""
        raise PlanError(f"There is no plan {path}.{others}", "`medseg plan DATASET` makes one.")
    if len(content) > _MOST_BYTES:
        raise PlanError(f"{path} has more than {_MOST_BYTES:,} bytes, which no plan has.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PlanError(f"{path} is not valid YAML: {error}") from None
    return parse_plan(text, str(path), overrides)


def parse_plan(text: str, source: str, overrides: list[str] | None = None) -> Plan:
    """Return the plan that a YAML text describes.

    Args:
        text: the content of a plan file.
        source: where it comes from, for messages.
        overrides: as for `load_plan`.

    Raises:
        PlanError: as `load_plan`.
    """
    try:
        raw = _read_yaml(text)
    except Exception as error:  # the YAML library raises several unrelated types
        raise PlanError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise PlanError(f"{source} is not a plan: expected keys and values at the top, found {type(raw).__name__}.")
    try:
        values = _as_plain(raw)
    except (RecursionError, OverflowError):
        raise PlanError(
            f"{source} is not a plan: with its references (*name) filled in it has more than {_MOST_VALUES:,} values.",
            "Write the values out, or make the plan again with `medseg plan`.",
        ) from None
    return validate_plan(values, _comments(raw), source, overrides or [], "set by the user; {}")


def validate_plan(
    values: dict[str, Any],
    reasons: dict[str, str],
    source: str,
    overrides: Sequence[str] = (),
    override_reason: str | None = None,
) -> Plan:
    """Return plain values as a plan.

    Args:
        values: the plan's content, as JSON would hold it.
        reasons: dotted key -> why it has its value.
        source: where the values come from, for messages.
        overrides: `dotted.key=value` strings of `--set` that replace some values.
        override_reason: the reason to give for the values that are replaced, with `{}` where the reason so far goes;
            None to leave the reasons as they are.

    Raises:
        PlanError: a key or value is not valid; the message names it and what would be valid. It blames the overrides
            for problems that the values do not have without them, and `source` for the others.
    """
    _check_version(values, source)
    values, reasons = _migrated(values, reasons)
    changed = copy.deepcopy(values)
    keys = {override(changed, text): text for text in overrides}
    if override_reason is not None:
        reasons |= {key: override_reason.format(reasons.get(key, "")).removesuffix("; ") for key in keys}
    _check_version(changed, _set_options(keys.values()))
    try:
        return Plan.model_validate({**changed, "reasons": reasons})
    except ValidationError:
        problems, problems_before = problems_in(changed), problems_in(values)
    of_source = [text for text in problems if text in problems_before]
    of_overrides = [text for text in problems if text not in of_source]
    # blame the overrides that the problems name; all of them if a problem names none
    blamed_keys = [[key for key in keys if is_about(key, text)] for text in of_overrides]
    blamed = keys if [] in blamed_keys else {key: keys[key] for key in chain(*blamed_keys)}
    parts = [
        (f"{source} is not a valid plan", of_source),
        (f"{_set_options(blamed.values())} gives an invalid plan", of_overrides),
    ]
    raise PlanError("\n".join("\n  ".join([f"{what}:", *texts]) for what, texts in parts if texts))


def _set_options(overrides: Iterable[str]) -> str:
    """Return overrides as they stand on the command line."""
    return " ".join(f"--set {text}" for text in overrides)


def _check_version(values: dict[str, Any], source: str) -> None:
    """Refuse versions of the file format that this medseg does not know."""
    version = values.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise PlanError(
            f"{source} has schema_version {version!r}; this medseg reads 1 to {SCHEMA_VERSION}.",
            "Update medseg, or make the plan again with `medseg plan`.",
        )


def _migrated(values: dict[str, Any], reasons: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values and reasons of a plan without the keys that only earlier versions of medseg knew.

    These are the smaller patches at the start of training, which brought nothing measurable
    (docs/benchmarks/accuracy.md). If a plan used them, the reason for `training` says from now on that they have no
    effect.
    """
    training = values.get("training")
    if not isinstance(training, dict) or not REMOVED_TRAINING_KEYS & training.keys():
        return values, dict(reasons)
    removed = {key: training[key] for key in sorted(REMOVED_TRAINING_KEYS & training.keys())}
    remaining = {key: value for key, value in training.items() if key not in removed}
    reasons = {key: why for key, why in reasons.items() if key.removeprefix("training.") not in REMOVED_TRAINING_KEYS}
    if removed.get("small_patch_share", 0) != 0 and removed.get("small_patch_fraction", 1) != 1:
        named = ", ".join(f"{key}: {value}" for key, value in removed.items())
        reasons["training"] = f"{named} {NO_EFFECT}: patches are full from the start"
    return {**values, "training": remaining}, reasons


def save_plan(plan: Plan, path: Path, names: Mapping[str, Iterable[str]] = MappingProxyType({})) -> None:
    """Write a plan to be edited: as YAML, each decision with its reason as a comment, and the JSON Schema beside it.

    Copies in runs and packages are what `dump_plan` returns.

    Args:
        plan: the plan.
        path: the YAML file to write.
        names: what editors offer where a plan takes a name of a table: definition of the schema, such as `NameOfLoss`
            -> names. Other names are valid, too.
    """
    write_text(path.parent / SCHEMA_FILE, _schema_with(names))
    write_text(path, SCHEMA_LINE + dump_plan(plan))


def _schema_with(names: Mapping[str, Iterable[str]]) -> str:
    """Return the JSON Schema of plans with names in its definitions."""
    text = resources.files(__package__).joinpath(SCHEMA_FILE).read_text("utf-8")
    if not names:
        return text
    schema = json.loads(text)
    for definition, offered in names.items():
        schema["$defs"][definition] = {"anyOf": [{"enum": [*offered]}, {"type": "string"}]}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def dump_plan(plan: Plan) -> str:
    """Return the plan as YAML text, each decision with its reason as a comment."""
    tree = _commented(plan.model_dump(mode="json"), "", plan.reasons)
    tree.yaml_set_start_comment(_HEADER.format(name=plan.name))
    stream = io.StringIO()
    _yaml().dump(tree, stream)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def override(values: dict[str, Any], text: str) -> str:
    """Apply one override to plain values, in place.

    Args:
        values: the plan's content.
        text: `dotted.key=value`; the value is read as YAML, so that `training.steps=500` sets a number and
            `inference.mirror=false` a truth value.

    Returns:
        The dotted key.

    Raises:
        PlanError: the text is not of this form, or the section that the key should lie in does not exist.

    >>> values = {"training": {"steps": 1000}}
    >>> override(values, "training.steps=500"), values
    ('training.steps', {'training': {'steps': 500}})
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise PlanError(
            f"--set {text} is not an assignment; expected KEY=VALUE.", "Example: --set training.learning_rate=0.003"
        )
    target: Any = values
    for depth, part in enumerate(parts[:-1]):
        if not isinstance(target, dict) or part not in target:
            known = list(target) if isinstance(target, dict) else []
            raise PlanError(f"--set {text}: there is no key {'.'.join(parts[: depth + 1])!r}{suggestion(part, known)}")
        target = target[part]
    if isinstance(target, list):
        raise PlanError(f"--set {text}: {'.'.join(parts[:-1])!r} is a list; set it as a whole: KEY=[a, b, c].")
    if not isinstance(target, dict):
        raise PlanError(f"--set {text}: {'.'.join(parts[:-1])!r} is a single value; it has no {parts[-1]!r} in it.")
    try:
        target[parts[-1]] = _as_plain(_yaml().load(value))
    except Exception as error:  # the YAML library raises several unrelated types
        reason = " ".join(str(error).split())
        raise PlanError(f"--set {text}: {value!r} is not a valid YAML value for {key}: {reason}") from None
    return ".".join(parts)


@lru_cache(maxsize=4)
def _read_yaml(text: str) -> Any:
    """Return what a YAML text holds, with its comments; callers change nothing in it.

    The last texts are remembered: the folds of a run have one plan, and reading it takes longer than all that follows.
    """
    return _yaml().load(text)


def _yaml() -> Any:
    """Return a reader and writer of YAML that keeps comments."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 10_000  # never break a line: comments stand at its end
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _as_plain(node: Any, budget: Iterator[int] | None = None) -> Any:
    """Return ruamel's node types as plain Python values, with strings as keys.

    Raises:
        OverflowError: there are more than `_MOST_VALUES` values.
    """
    budget = budget if budget is not None else iter(range(_MOST_VALUES))
    if next(budget, None) is None:
        raise OverflowError
    if isinstance(node, dict):
        return {str(key): _as_plain(value, budget) for key, value in node.items()}
    if isinstance(node, list):
        return [_as_plain(value, budget) for value in node]
    for kind in (bool, int, float, str):  # bool first: it is an int, too
        if isinstance(node, kind):
            return kind(node)
    return node


def _commented(value: dict[str, Any], prefix: str, reasons: dict[str, str]) -> CommentedMap:
    """Return a mapping as ruamel writes it, with reasons as comments; `prefix` precedes its keys in dotted keys."""
    from ruamel.yaml.comments import CommentedMap

    tree = CommentedMap()
    for key, item in value.items():
        dotted = f"{prefix}{key}"
        block = isinstance(item, dict) and not _fits_on_a_line(item, f"{dotted}.", reasons)
        tree[key] = _commented(item, f"{dotted}.", reasons) if block else _flow(item)
        if dotted in reasons:
            tree.yaml_add_eol_comment(" ".join(reasons[dotted].split()), key, column=0)
    return tree


def _fits_on_a_line(value: dict[str, Any], prefix: str, reasons: dict[str, str]) -> bool:
    """Return whether a mapping goes on the line of its key: a few plain values without reasons of their own."""
    plain = not any(isinstance(item, dict | list) for item in value.values())
    return plain and len(value) <= _MOST_KEYS_ON_A_LINE and not any(f"{prefix}{key}" in reasons for key in value)


def _flow(value: Any) -> Any:
    """Return a value as ruamel writes it on one line: `[1, 2]`, `{a: 1}`."""
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


def _comments(node: Any, prefix: str = "") -> dict[str, str]:
    """Return dotted key -> comment, for every comment that stands behind a key."""
    comments: dict[str, str] = {}
    if not isinstance(node, dict):
        return comments
    for key, value in node.items():
        dotted = f"{prefix}{key}"
        texts = [token.value.split("\n")[0] for token in _tokens(node, key, value)]  # the rest are lines of their own
        texts = [re.sub(r"^\s*#\s?", "", text).strip() for text in texts]
        if comment := next(filter(None, texts), None):
            comments[dotted] = comment
        comments |= _comments(value, f"{dotted}.")
    return comments


def _tokens(node: Any, key: Any, value: Any) -> list[Any]:
    """Return the comment tokens that ruamel attaches to a key or, for a nested block, to the block itself."""
    tokens = list(node.ca.items.get(key) or [])
    if hasattr(value, "ca") and value.ca.comment:
        tokens.append(value.ca.comment[0])
    flat = [item for token in tokens for item in (token if isinstance(token, list) else [token])]
    return [token for token in flat if token is not None]


def choose_configuration(plan: Plan, name: str | None) -> str:
    """Return the name of the configuration that a user named; if none is named, that of the default one.

    Args:
        plan: the plan.
        name: what the user typed.

    Raises:
        PlanError: the plan has no such configuration.
    """
    if name is not None and name not in plan.configurations:
        raise PlanError(
            f"The plan {plan.name!r} has no configuration {name!r}; it has {', '.join(plan.configurations)}."
        )
    return name or plan.default_configuration
