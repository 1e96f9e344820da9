"""Mutated plans of medseg's, and mutated plans.json and dataset.json of nnU-Net's: a run that works, or one message.

    python tests/campaigns/plans.py --count 1000

Each try changes one to three places of a valid file: a value is dropped, doubled, of another type, huge, tiny, negative
or not a number, a name becomes a path, a list gets longer, a mapping deeper; or the text itself is cut, repeated or
full of references. The verb that reads the file then runs with limits on time and memory. It must refuse the file in
one message (exit code 2), or do its work; and it must write nothing outside its workspace.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from campaign import Fault, Settings, Tally, load_everything, main, outcome, run

_NUMBERS = (0, -1, 1, 2, 0.5, 1e-300, 1e300, -1e9, 10**7, 2**31, 2**63, 10**30, float("nan"), float("inf"), 3)
_TEXTS = (
    *(
        "",
        "../../../../outside",
        "/tmp/outside-of-campaigns",
        "a/b",
        "..",
        ".",
        "nul\0",
        "name\nwith lines",
        "x" * 5000,
    ),
    *(
        "é" * 10,
        "\u202eright to left",
        "日本語",
        "=1+1",
        "{0}",
        "%s%n",
        "[bold]",
        "-rf",
        "CON",
        "~",
        "0",
        "true",
        "\ud800",
    ),
)
_OTHERS = (None, True, False, [], {}, [[]], [None], {"": None}, {"a": {"b": {}}}, "text", 1, [1, "a", None])


# --- mutations of values ---


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in lists and mappings, to a depth that files have."""
    if path:
        yield path
    if len(path) > 20:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, content in items:
        yield from places(content, (*path, key))


def changed(value: Any, rng: Any) -> Any:
    """Return another value in place of a value."""
    way = rng.integers(6)
    if way == 0 and isinstance(value, int | float) and not isinstance(value, bool):
        return value * float(rng.choice([-1, 0, 1e-6, 0.5, 2, 1000, 1e6, 1e12]))
    if way == 1 and isinstance(value, list):
        return value * int(rng.choice([0, 2, 50])) if rng.random() < 0.7 else value[:-1]
    if way == 2:
        return nested(int(rng.choice([3, 60, 900])))
    if way == 3:
        return _TEXTS[rng.integers(len(_TEXTS))]
    if way == 4:
        return deepcopy(_OTHERS[rng.integers(len(_OTHERS))])
    return _NUMBERS[rng.integers(len(_NUMBERS))]


def nested(depth: int) -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def mutate(values: Any, rng: Any) -> str:
    """Change one place of nested values; returns what was done."""
    every = [*places(values)]
    if not every:
        return "nothing"
    path = every[rng.integers(len(every))]
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    key, way = path[-1], rng.random()
    where = ".".join(map(str, path))
    if way < 0.15:
        del parent[key]
        return f"{where} dropped"
    if way < 0.3 and isinstance(parent, dict):
        name = _TEXTS[rng.integers(len(_TEXTS))]
        parent[name] = parent.pop(key) if rng.random() < 0.5 else parent[key]
        return f"{where} called {name!r:.60}"
    if way < 0.35 and isinstance(parent, list):
        parent.insert(key, parent[key])
        return f"{where} doubled"
    parent[key] = changed(parent[key], rng)
    return f"{where} = {parent[key]!r:.60}"


# --- mutations of texts ---


def mutate_text(text: str, is_yaml: bool, rng: Any) -> tuple[str, str]:
    """Change the text of a file; returns what was done."""
    lines, way = text.splitlines(), rng.integers(7)
    row = int(rng.integers(len(lines)))
    if way == 0:
        return text[: rng.integers(len(text))], "cut"
    if way == 1:
        return "\n".join([*lines[: row + 1], *lines[row:]]), f"line {row} twice"
    if way == 2:
        return "\n".join(lines[:row] + lines[row + 1 :]), f"line {row} dropped"
    if way == 3 and is_yaml:
        bomb = "\n".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9) if k else 'x'}]" for k in range(12))
        return f"{bomb}\n{text}", "references that grow"
    if way == 3:
        return "[" * 100_000, "100,000 brackets"
    if way == 4:
        return text + "".join(f"\nkey{k}: {k}" for k in range(20_000)), "20,000 more keys"
    if way == 5:
        place = int(rng.integers(len(text)))
        return text[:place] + str(rng.choice(["\0", "\t", "\x85", "{", "- ", "!!python/object:os.system", '"'])) + text[
            place:
        ], f"a character more at {place}"
    return "\ufeff" + text, "a byte order mark"


# --- what reads the files ---


class Plans:
    """The folder of the campaign, and what is tried in it."""

    def __init__(self, folder: Path) -> None:
        from nnunet_folders import write_model
        from toy_workspace import write_toy_workspace

        self.folder, self.base, self.work = folder, folder / "base", folder / "place" / "of" / "work"
        write_toy_workspace(self.base)
        (self.base / "scans").mkdir()
        for number in range(4):
            shutil.copy(self.base / "data" / f"{number}_image.nii.gz", self.base / "scans" / f"{number}_0000.nii.gz")
        write_model(self.base / "nnunet")
        raw = self.base / "raw"
        for kind, name in (("images", "{}_0000"), ("labels", "{}")):
            (raw / f"{kind}Tr").mkdir(parents=True)
            for number in range(4):
                source = self.base / "data" / f"{number}_{kind[:-1]}.nii.gz"
                shutil.copy(source, raw / f"{kind}Tr" / f"{name.format(number)}.nii.gz")
        declared = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "one": 1, "two": 2}, "numTraining": 4}
        (raw / "dataset.json").write_text(json.dumps({**declared, "file_ending": ".nii.gz"}, indent=1))
        self.outside = self._outside()

    def _outside(self) -> list[str]:
        """Return what lies beside the workspace, where nothing may be written."""
        rest = [path for path in self.folder.rglob("*") if self.work not in (path, *path.parents)]
        return sorted(str(path) for path in [*rest, *Path("/tmp").glob("outside*")] if path not in self.work.parents)

    def attempt(self, kind: str, rng: Any) -> tuple[str, Callable[[], str]]:
        """Return what is changed, and the try."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.base, self.work)
        model = next((self.work / "nnunet").iterdir())
        path, words = {
            "a plan": (
                self.work / "plans" / "toy.yaml",
                ["train", "--plan", "toy", "--steps", "1", "--device", "cpu", "--set", "training.validations=1"],
            ),
            "plans.json of a model": (model / "plans.json", ["predict", "scans", "out", "--model", str(model)]),
            "dataset.json of a model": (model / "dataset.json", ["import-nnunet", str(model)]),
            "plans.json alone": (model / "plans.json", ["import-nnunet", str(model / "plans.json")]),
            "dataset.json of a set": (self.work / "raw" / "dataset.json", ["plan", "raw", "--preset", "cpu"]),
        }[kind]
        what = "nothing" if rng is None else self._damage(path, rng)

        def attempt() -> str:
            result = outcome(run(words, self.work))
            if new := [name for name in self._outside() if name not in self.outside]:
                raise Fault(f"written outside of the workspace: {new}")
            return result

        return what, attempt

    def _damage(self, path: Path, rng: Any) -> str:
        """Change a file; returns what was changed."""
        from ruamel.yaml import YAML

        text, is_yaml = path.read_text(), path.suffix == ".yaml"
        if rng.random() < 0.15:
            text, what = mutate_text(text, is_yaml, rng)
        else:
            values = YAML(typ="safe").load(text) if is_yaml else json.loads(text)
            what = "; ".join(mutate(values, rng) for _ in range(rng.choice([1, 1, 1, 2, 3])))
            text = json.dumps(values, indent=1)  # which is YAML, too
        path.write_text(text, errors="surrogatepass")
        return what


KINDS = ("a plan", "plans.json of a model", "dataset.json of a model", "plans.json alone", "dataset.json of a set")


def campaign(settings: Settings, tally: Tally) -> None:
    """Try every kind of file in turn."""
    load_everything()
    plans = Plans(settings.folder)
    for kind in KINDS:
        _, attempt = plans.attempt(kind, None)
        if (result := attempt()) != "worked":
            raise Fault(f"{kind}, unchanged: {result}")
    for number, rng in settings.tries():
        kind = KINDS[number % len(KINDS)]
        what, attempt = plans.attempt(kind, rng)
        tally.try_it(kind, number, attempt, what)


if __name__ == "__main__":
    sys.exit(main(campaign, __doc__, 1000))
