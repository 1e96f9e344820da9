"""Complete hints that name options of another verb than the one that prints them.

Readers of files advise the options with which a data set is planned. `medseg train` and others read the same files and
print the same hints, but take what these options say from the plan.
"""

from __future__ import annotations

import re
import sys

from medseg.cli.parsing.short_help import HELP_ALL
from medseg.cli.parsing.signature import fields_of_function, flat

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_VERB = re.compile(r"\bmedseg ([a-z-]+)")


def options_of(verb: str) -> set[str]:
    """Return every option of a verb as it is typed, `--json` among them."""
    from medseg.cli.app import verb_function
    from medseg.cli.output.records import OPTION

    named = [field for field in flat(fields_of_function(verb_function(verb))) if not field.is_argument]
    return {
        OPTION,
        "--help",
        HELP_ALL,
        *(spelling for field in named for spelling in field.spellings),
    }


def with_owners(text: str) -> str:
    """Return a message with the verb added for each option in it that the typed verb does not have.

    Args:
        text: the message; options of a verb that it names itself (`medseg plan`) are taken to be that verb's.
    """
    from medseg.cli.app import VERBS

    typed = next((word for word in sys.argv[1:] if word in VERBS), None)
    named = dict.fromkeys(_OPTION.findall(text))
    if typed is None or not named:
        return text
    verbs = [typed, *(verb for verb in _VERB.findall(text) if verb in VERBS)]
    known = set().union(*map(options_of, verbs))
    foreign: dict[str, list[str]] = {}
    for option in named.keys() - known:
        owners = [verb for verb in ("plan", *VERBS) if option in options_of(verb)]
        if owners:
            foreign.setdefault(owners[0], []).append(option)
    sentences = [
        f"({', '.join(sorted(options))} {'is an option' if len(options) == 1 else 'are options'} of `medseg {verb}`.)"
        for verb, options in foreign.items()
    ]
    return " ".join([text, *sentences])
