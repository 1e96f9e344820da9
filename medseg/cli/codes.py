"""`medseg codes`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from medseg.cli.output.display import console
from medseg.cli.output.records import emit, record_result
from medseg.core.options import Option
from medseg.core.wording import counted

if TYPE_CHECKING:
    from medseg.delivery.dicom.codes import Entry


def command(
    *,
    name: Annotated[str | None, Option(positional=True)] = None,
    output: Annotated[Path | None, Option("--output -o", metavar="FILE")] = None,
) -> None:
    """List the structures whose DICOM codes are known, by the names that --codes takes, with their codes.

    Exit code: 0, or 2 if the table has no such structure.

    Args:
        name: Only structures with these words in a name, such as kidney.
        output: Write them into a CSV file that --codes reads: rename and change rows for structures of your own.

    Examples:
        medseg codes
        medseg codes hippocampus
        medseg codes kidney --output codes.csv
    """
    from medseg.commands.dicom.codes import find_codes, write_codes

    entries = find_codes(name)
    for entry in entries:
        codes = entry.coding.model_dump(mode="json")
        emit("codes", names=entry.names, pair=bool(entry.sides), source=entry.source, **codes)
    record_result(structures=len(entries), file=output)
    if output is None:
        for entry in entries:
            console.print(_line(entry), markup=False, soft_wrap=True)
        return
    rows = write_codes(output, entries)
    option = f"--codes {shlex.quote(str(output))}"
    console.print(f"{output}: {counted(rows, 'row')}; {option} reads it", markup=False, soft_wrap=True)


def _line(entry: Entry) -> str:
    """Return the names of a structure and its codes."""
    names = ", ".join(entry.names) + " (left, right)" * bool(entry.sides)
    coding = entry.coding
    parts = [coding.type, *coding.modifiers, *([f"in {coding.region}"] if coding.region else [])]
    return f"{names}: {', '.join([*parts, *coding.region_modifiers])}"
