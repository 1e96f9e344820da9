"""Write counts and lists of names in messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    >>> counted(1, "case"), counted(2, "case"), counted(0, "entry")
    ('1 case', '2 cases', '0 entries')
    """
    return f"{number} {noun}" if number == 1 else f"{number} " + re.sub(r"([^aeiou])y$", r"\1ie", noun) + "s"


def duration(seconds: float) -> str:
    """Return seconds as people write them.

    >>> duration(45), duration(200), duration(7500)
    ('45 s', '3:20', '2:05:00')
    """
    total_seconds = round(seconds)
    if total_seconds < 60:
        return f"{total_seconds} s"
    minutes, rest = divmod(total_seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def four_digits(value: float | None) -> str:
    """Return a score in four digits; a dash for none.

    >>> four_digits(0.5), four_digits(None)
    ('0.5000', '-')
    """
    return "-" if value is None else f"{value:.4f}"


def printable(text: str) -> str:
    r"""Return a text, such as the name of a stranger's file, with an escape for each sign that cannot be printed.

    >>> printable("a\nb"), printable("\udce4.png"), printable("Schädel 1")
    ('a\\nb', '\\udce4.png', 'Schädel 1')
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, at most `most` of them, with `...` if there are more.

    >>> first_few(["a", "b", "c"]), first_few(["a", "b", "c"], most=2)
    ('a, b, c', 'a, b, ...')
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def in_a_line(notes: Sequence[str]) -> str:
    """Return sentences, and phrases without a full stop, with a sign between them.

    >>> in_a_line(["It is dark.", "scan: odd"]), in_a_line(["It is dark."])
    ('It is dark; scan: odd', 'It is dark.')
    """
    return "; ".join([*(note.rstrip(".") for note in notes[:-1]), *notes[-1:]])


def fold_repeated(notes: Sequence[str], most: int = 3, total: int | None = None, name_all: bool = False) -> list[str]:
    """Return notes, with notes that say the same of more than a few cases merged into one that names the first cases.

    Args:
        notes: sentences; those on a case begin with its name and a colon.
        most: how many of a kind are left as they are.
        total: the number of all cases, if it is known.
        name_all: whether every case is named: of failures, none may be left out.

    >>> fold_repeated(["a: there is no a.png", "x", "b: there is no b.png"], most=1, total=9)
    ['2 of 9 cases: there is no CASE.png; the first is a', 'x']
    """
    kinds = [_case_and_kind(note) for note in notes]
    names: dict[str, list[str]] = {}
    for name, kind in kinds:
        names.setdefault(kind, []).append(name)
    folded = []
    for note, (name, kind) in zip(notes, kinds, strict=True):
        of_kind = names[kind]
        if not name or len(of_kind) <= most:
            folded.append(note)
        elif name == of_kind[0]:
            count = f"{len(of_kind)} of {total} cases" if total else counted(len(of_kind), "case")
            named = f"they are {', '.join(of_kind)}" if name_all else f"the first is {name}"
            folded.append(f"{count}: {kind}; {named}")
    return folded


def lines_of(failed: Mapping[str, str]) -> str:
    """Return {case: why it failed} as indented lines, one for each reason that several cases share.

    >>> lines_of({"a": "there is no a.png", "b": "it is empty"}).splitlines()
    ['', '  a: there is no a.png', '  b: it is empty']
    """
    return "".join(
        f"\n  {line}" for line in fold_repeated([f"{case}: {why}" for case, why in failed.items()], name_all=True)
    )


def _case_and_kind(note: str) -> tuple[str, str]:
    """Return the case that a note is about, and what it says with `CASE` in place of the name; "" and the note."""
    name, colon, rest = note.partition(": ")
    if not colon or not rest or " " in name:
        return "", note
    return name, re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "CASE", rest).rstrip(".")


def summary_line(result: object, *parts: object, failed: Collection[str] = ()) -> str:
    """Return a result of the Python API as one short line, for its `repr`.

    Args:
        result: the result; its class gives the name.
        parts: what matters most about it, in order.
        failed: the cases that failed; their number is said if there are any.

    >>> summary_line(Exception(), "runs/fold_0", "3 steps", failed=["case_1"])
    '<Exception: runs/fold_0, 3 steps, 1 failed>'
    """
    parts = (*parts, f"{len(failed)} failed") if failed else parts
    return f"<{type(result).__name__}: {', '.join(map(str, parts))}>"
