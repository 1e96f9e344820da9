"""Files of data sets in their layouts: empty ones, a dataset.json, and what was found by case."""

import json
from pathlib import Path

LIVER = {"background": 0, "liver": 1}


def write_json(folder: Path, **content: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(content))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def files_of(data) -> dict[str, list[str]]:
    return {
        case.id: [path.relative_to(data.folder).as_posix() for path in (*case.channels, case.label)]
        for case in data.cases
    }
