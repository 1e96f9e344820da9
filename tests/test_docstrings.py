"""What a docstring has to say: of public functions, three or more parameters each, and what is returned."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from paths import ROOT

FEW = 3
SECTION = re.compile(
    r"^\s*(Args|Attributes):\s*$(.*?)(?=^\s*(Returns|Raises|Yields|Examples?|Attributes|Args):\s*$|\Z)", re.M | re.S
)


def public_functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Functions and methods whose names, and classes, have no leading underscore; with the docstring of the class."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for name, function, _ in public_functions(node, f"{prefix}{node.name}."):
                yield name, function, ast.get_docstring(node) or ""
        elif isinstance(node, ast.FunctionDef) and (
            not node.name.startswith("_") or node.name in {"__init__", "__call__"}
        ):
            yield f"{prefix}{node.name}", node, ""


def parameters(function: ast.FunctionDef) -> list[str]:
    spec = function.args
    names = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return [name.arg for name in names if name.arg not in {"self", "cls"} and not name.arg.startswith("_")]


def described(docstring: str) -> set[str]:
    """The names before the colons of the sections Args and Attributes."""
    lines = [line for section in SECTION.finditer(docstring) for line in section[2].splitlines()]
    names = [re.match(r"\s+([\w*, ]+?)\s*(\([^)]*\))?:", line) for line in lines]
    return {word.strip(" *") for name in names if name for word in name[1].split(",")}


def test_every_parameter_is_described() -> None:
    missing = []
    for path in sorted((ROOT / "medseg").rglob("*.py")):
        for name, function, of_class in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            wanted = parameters(function)
            if any(
                isinstance(mark, ast.Name) and mark.id in ("override", "overload") for mark in function.decorator_list
            ):
                continue
            known = described(ast.get_docstring(function) or "") | described(of_class)
            if len(wanted) >= FEW and (left := [one for one in wanted if one not in known]):
                missing.append(f"{path.relative_to(ROOT)}:{function.lineno} {name}: {', '.join(left)}")
    assert not missing, "\n".join(missing)


def returns_something(function: ast.FunctionDef) -> bool:
    """Whether a call gives a value; properties are described as what they are, blocks that yield None give nothing."""
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in function.decorator_list}
    annotation = ast.unparse(function.returns) if function.returns else "None"
    return annotation not in {"None", "NoReturn", "Iterator[None]"} and not marks & {
        *("property", "cached_property", "override", "overload", "setter")
    }


def test_every_result_is_described() -> None:
    """By a section `Returns` or `Yields`, or by a first line that says so, such as "Return the folds of a plan."."""
    missing = []
    for path in sorted((ROOT / "medseg").rglob("*.py")):
        for name, function, _ in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            docstring = ast.get_docstring(function) or ""
            first = docstring.partition("\n")[0]
            if returns_something(function) and not (
                re.search(r"\b(return|yield)\b", first, re.I) or re.search(r"^(Returns|Yields):$", docstring, re.M)
            ):
                missing.append(f"{path.relative_to(ROOT)}:{function.lineno} {name}")
    assert not missing, "\n".join(missing)
