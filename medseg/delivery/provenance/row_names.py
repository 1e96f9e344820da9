"""The names of networks and losses, without importing their tables.

`medseg plan` needs nothing of the tables but these names, for editors, and they import torch, which takes longer than
to plan a hundred cases. A table that this process has imported is asked, as it may have rows that you registered; of
others the keys are read from their source, beside the names that lie in `medseg.plans` anyway.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from medseg.plans.network_rules import CLASS_NAMES, ENCODER_CLASSES, UNETS
from medseg.plans.sections.losses import DEFAULT_LOSS


def network_names() -> list[str]:
    """Return the names of the networks that this process knows, sorted."""
    return _row_names("medseg.networks.table", "NETWORKS", [*UNETS, *CLASS_NAMES.values(), *ENCODER_CLASSES.values()])


def loss_names() -> list[str]:
    """Return the names of the losses that this process knows, sorted."""
    return _row_names("medseg.training.losses.table", "LOSSES", [DEFAULT_LOSS])


def _row_names(module: str, table: str, elsewhere: Iterable[str]) -> list[str]:
    """Return the keys of a table.

    Args:
        module: the module of the table.
        table: its name there.
        elsewhere: keys that are not written out there, but taken from a table of `medseg.plans`.
    """
    if module in sys.modules:
        return sorted(getattr(sys.modules[module], table))
    written = [*_written_keys(_source(module), table)]
    return sorted({*written, *elsewhere}) if written else sorted(getattr(import_module(module), table))


def _source(module: str) -> str:
    """Return the source of a module that is not imported; "" where there is none."""
    spec = find_spec(module)
    loader: Any = spec.loader if spec else None
    return (loader.get_source(module) if hasattr(loader, "get_source") else None) or ""


def _written_keys(source: str, table: str) -> Iterator[str]:
    """Yield the keys that stand as text in the dictionary that a module assigns to a name.

    >>> list(_written_keys("ROWS: dict[str, int] = {'a': 1, **OTHERS, 'b': 2}", "ROWS"))
    ['a', 'b']
    """
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.AnnAssign) or ast.unparse(statement.target) != table:
            continue
        for key in statement.value.keys if isinstance(statement.value, ast.Dict) else ():
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value
