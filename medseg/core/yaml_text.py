"""Check YAML that a stranger may have written before it is parsed."""

from __future__ import annotations


def repeats_by_reference(text: str) -> bool:
    r"""Return whether a YAML text repeats parts by reference: a few lines of references can expand to gigabytes.

    >>> repeats_by_reference("a: &x [1]\nb: *x"), repeats_by_reference("a: '*x'")
    (True, False)

    Args:
        text: the content of a file; what is not YAML at all repeats nothing, and reading it will report that.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent

    if "*" not in text:  # no reference is written without one, and looking for them takes as long as reading the text
        return False
    try:
        return any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(text))
    except Exception:  # the YAML library raises several unrelated types
        return False
