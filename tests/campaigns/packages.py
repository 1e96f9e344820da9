"""Hostile model packages, zips of nnU-Net's and checkpoints: each is refused in one message, and nothing is run.

    python tests/campaigns/packages.py --count 500

Names that lead upwards, absolute names, links, members twice, bombs, members that overlap, wrong sizes and hashes, cut
files, tensors that are not finite or whose shape, type or offset is not possible, pickles that call a function,
metadata with 200,000 folds or names of other files. `medseg predict --model` (packages) or `import-nnunet` (zips,
folders) runs on each with limits on time and memory. A try may end well only if the change leaves a model that means
the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign import Fault, Settings, Tally, load_everything, main, outcome, run

_NAMES = (
    *("../outside", "/tmp/outside-of-campaigns", "a/../../outside", "..\\outside", "C:\\outside", "fold_0/../../x"),
    *(
        "fold_0",
        "plan.yaml/",
        "fold_00000/weights.safetensors",
        "plan.yaml\0.txt",
        "con",
        "\u202eyaml.nalp",
        "x" * 60_000,
    ),
    *("weights.pkl", "__init__.py", "previous/previous/previous/previous/plan.yaml", "PLAN.yaml", " ", "."),
)
_SHAPES = ([-1], [2**62], [2**31, 2**31, 4], [0], [10**30], [1.5], ["4"], [[4]], None, [4] * 2000)
_VALUES = ("text", -1, 10**30, 1.5, None, [], {}, [[]], "../../x", True, "0" * 64, "fold_0", 0)

Members = dict[str, bytes]


class Calls:
    """Pickles as a call that leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("called-by-a-pickle",)


# --- hostile packages ---


def with_hashes(members: Members) -> Members:
    """Return the members with metadata that says what they are, as an attacker would."""
    metadata = json.loads(members["metadata.json"])
    described = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != "metadata.json"
    }
    return {**members, "metadata.json": json.dumps({**metadata, "members": described}).encode()}


def zipped(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def names(members: Members, rng: Any) -> bytes:
    """A member more, or one that is called otherwise."""
    name, victim = _NAMES[rng.integers(len(_NAMES))], [*members][rng.integers(len(members))]
    content = members[victim]
    kept = {key: value for key, value in members.items() if key != victim or rng.random() < 0.5}
    changed = {**kept, name: content}
    return zipped(with_hashes(changed) if "metadata.json" in changed and rng.random() < 0.5 else changed)


def links(members: Members, rng: Any) -> bytes:
    """A member that is a symbolic link."""
    stream, victim = io.BytesIO(), [*members][rng.integers(len(members))]
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if name == victim:
                info.external_attr = 0o120777 << 16
            archive.writestr(info, b"/etc/passwd" if name == victim and rng.random() < 0.7 else content)
    return stream.getvalue()


def twice(members: Members, rng: Any) -> bytes:
    """A member that is there twice, with another content."""
    stream, victim = io.BytesIO(), [*members][rng.integers(len(members))]
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(victim, members[victim] if rng.random() < 0.5 else b"x" * len(members[victim]))
    return stream.getvalue()


def bombs(members: Members, rng: Any) -> bytes:
    """Members that are compressed, very large ones, or sizes that are not true."""
    way, victim = rng.integers(4), [*members][rng.integers(len(members))]
    if way == 0:
        return zipped({**members, victim: bytes(200 << 20)}, zipfile.ZIP_DEFLATED)
    if way == 1:
        return zipped(members, [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED][rng.integers(3)])
    if way == 2:
        return zipped(members | {f"member{number}": b"" for number in range(30_000)})
    data, size = bytearray(zipped(members)), struct.pack("<I", int(rng.choice([0, 1, 2**31, 2**32 - 1])))
    entry = data.rfind(b"PK\1\2") if rng.random() < 0.5 else data.find(b"PK\1\2")  # of the list at the end
    data[entry + 24 : entry + 28] = size
    if rng.random() < 0.5:
        data[entry + 20 : entry + 24] = size
    return bytes(data)


def overlaps(members: Members, rng: Any) -> bytes:
    """Entries of the list that point at the same bytes, or at none."""
    data = bytearray(zipped(members))
    first = data.find(b"PK\1\2")
    entry = data.find(b"PK\1\2", first + 4)
    target = data[first + 42 : first + 46] if rng.random() < 0.5 else struct.pack("<I", int(rng.integers(2**31)))
    data[entry + 42 : entry + 46] = target
    return bytes(data)


def cut(members: Members, rng: Any) -> bytes:
    """A file that ends early, or bytes that were changed."""
    data = bytearray(zipped(members))
    if rng.random() < 0.4:
        return bytes(data[: rng.integers(len(data))])
    for position in rng.integers(len(data), size=rng.integers(1, 9)):
        data[position] ^= 1 << int(rng.integers(8))
    return bytes(data)


def metadata(members: Members, rng: Any) -> bytes:
    """Metadata with values of other types, thousands of folds, keys twice, or none."""
    values, way = json.loads(members["metadata.json"]), rng.integers(6)
    text = None
    if way == 0:
        values["stages"][0]["folds"] = [str(number) for number in range(int(rng.choice([2, 101, 200_000])))]
    elif way == 1:
        values["stages"] = values["stages"] * int(rng.choice([0, 2, 5, 5000]))
    elif way == 2:
        text = json.dumps(values)[:-1] + ', "members": {}, "stages": []}'
    elif way == 3:
        text = str(rng.choice(["", "[" * 200_000, "null", "[]", "\0", "NaN", '{"a":' * 50_000]))
    elif way == 4:
        key = [*values["members"]][rng.integers(len(values["members"]))]
        values["members"][key][str(rng.choice(["bytes", "sha256"]))] = _VALUES[rng.integers(len(_VALUES))]
    else:
        parent = values["stages"][0] if rng.random() < 0.4 else values
        key = [*parent][rng.integers(len(parent))]
        parent[key] = _VALUES[rng.integers(len(_VALUES))]
    return zipped({**members, "metadata.json": (json.dumps(values) if text is None else text).encode()})


def header_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, and its voxels."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def tensors(members: Members, rng: Any) -> bytes:
    """Weights that are not finite, of an impossible shape, type or place, or that are missing, or pickles."""
    import numpy as np

    name = next(name for name in members if name.endswith(".safetensors"))
    header, values = header_of(members[name])
    weights = [key for key in header if key != "__metadata__"]
    victim, way = weights[rng.integers(len(weights))], rng.integers(8)
    content = None
    if way == 0:
        start, end = header[victim]["data_offsets"]
        number = np.float32(rng.choice([np.nan, np.inf, -np.inf])).tobytes()
        values = (
            values[:start]
            + (number if rng.random() < 0.5 else number * ((end - start) // 4)).ljust(end - start, b"\0")[: end - start]
            + values[end:]
        )
    elif way == 1:
        header[victim]["shape"] = _SHAPES[rng.integers(len(_SHAPES))]
    elif way == 2:
        header[victim]["dtype"] = str(rng.choice(["F16", "F64", "I64", "C64", "F8_E4M3", "X", "BOOL", "U8"]))
    elif way == 3:
        header[victim]["data_offsets"] = [[0, 2**40], [-4, 0], [4, 0], [0, len(values)], "ab", [0], None][
            rng.integers(7)
        ]
    elif way == 4:
        del header[victim]
    elif way == 5:
        header["another.weight"] = header[victim] if rng.random() < 0.5 else {**header[victim], "shape": [1]}
    elif way == 6:
        content = pickle.dumps({victim: Calls()})
    else:
        content = struct.pack("<Q", int(rng.choice([0, 2**31, 2**63 - 1]))) + members[name][8:]
    if content is None:
        text = json.dumps(header).encode()
        content = struct.pack("<Q", len(text)) + text + values
    return zipped(with_hashes({**members, name: content}))


PACKAGES: dict[str, Callable[[Members, Any], bytes]] = {
    "names of members": names,
    "links": links,
    "members twice": twice,
    "bombs and false sizes": bombs,
    "overlapping members": overlaps,
    "cut or changed": cut,
    "metadata": metadata,
    "tensors": tensors,
}
_MAY_WORK = ("cut or changed", "tensors", "metadata")
"""Changes that may leave a sound model: a bit of a date in the zip, a name of metadata that is only shown."""


# --- hostile models of nnU-Net's ---


def checkpoint(model: Path, rng: Any) -> str:
    """Write a checkpoint that calls a function, lacks what it needs, or is damaged."""
    import torch

    path, way = model / "fold_0" / "checkpoint_final.pth", rng.integers(6)
    state = torch.load(path, weights_only=False)
    if way == 0:
        torch.save({**state, "call": Calls()}, path)
    elif way == 1:
        path.write_bytes(pickle.dumps({**state, "call": Calls()}))
    elif way == 2:
        state["network_weights"] = {key: value * float("nan") for key, value in state["network_weights"].items()}
        torch.save(state, path)
    elif way == 3:
        key = [*state["network_weights"]][rng.integers(len(state["network_weights"]))]
        state["network_weights"][key] = [torch.zeros(1), None, "text", torch.zeros(2, 0)][rng.integers(4)]
        torch.save(state, path)
    elif way == 4:
        del state[str(rng.choice(["network_weights", "init_args", "trainer_name"]))]
        torch.save(state, path)
    else:
        data = bytearray(path.read_bytes())
        for position in rng.integers(len(data), size=rng.integers(1, 9)):
            data[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.5 else data)
    return f"checkpoint, way {way}"


class Packages:
    """The folder of the campaign, with a valid package, zip and folder."""

    def __init__(self, folder: Path) -> None:
        from nnunet_folders import write_model
        from toy_workspace import write_toy_workspace

        self.folder, self.base, self.work = folder, folder / "base", folder / "place" / "of" / "work"
        write_toy_workspace(self.base)
        for words in (["train", "--steps", "1"], ["package", "toy/main", "toy.medseg"]):
            if outcome(answer := run(words, self.base, more_bytes=None)) != "worked":
                raise Fault(answer.text)
        with zipfile.ZipFile(self.base / "toy.medseg") as archive:
            self.package: Members = {name: archive.read(name) for name in archive.namelist()}
        write_model(self.base / "nnunet")
        files = [path for path in (self.base / "nnunet").rglob("*") if path.is_file()]
        self.zip: Members = {path.relative_to(self.base / "nnunet").as_posix(): path.read_bytes() for path in files}
        self.outside = self._outside()

    def _outside(self) -> set[str]:
        rest = {str(path) for path in self.folder.rglob("*") if self.work not in (path, *path.parents)}
        return {
            path
            for path in rest | {*map(str, Path("/tmp").glob("outside*"))}
            if not path.startswith(str(self.work.parent.parent))
        }

    def attempt(self, kind: str, rng: Any) -> str:
        """Write one hostile file and give it to the verb that takes it."""
        shutil.rmtree(self.work.parent.parent, ignore_errors=True)
        self.work.mkdir(parents=True)
        what, _, way = kind.partition(": ")
        if what == "checkpoint":
            shutil.copytree(self.base / "nnunet", self.work / "model")
            checkpoint(next((self.work / "model").iterdir()), rng)
            words = ["import-nnunet", "model"]
        else:
            path = self.work / ("model.medseg" if what == "package" else "model.zip")
            members = self.package if what == "package" else self.zip
            path.write_bytes(PACKAGES[way](members, rng) if way else zipped(members))
            scan = self.base / "data" / "0_image.nii.gz"
            words = ["predict", str(scan), "out", "--model", path.name]
            words = words if what == "package" else ["import-nnunet", path.name]
        before = {*self.work.rglob("*")}
        answer = run(words, self.work)
        result = outcome(answer)
        if rest := sorted(self._outside() - self.outside):
            raise Fault(f"written outside: {rest}")
        if (self.work / "called-by-a-pickle").exists():
            raise Fault("a pickle was run")
        if result == "refused" and (rest := [path for path in self.work.rglob("*") if path not in before]):
            raise Fault(f"left behind by what was refused: {rest}")
        if result == "worked" and what == "package" and way and way not in _MAY_WORK:
            raise Fault(f"taken for a valid model:\n{answer.text}")
        return result


KINDS = [*(f"package: {way}" for way in PACKAGES), *(f"zip: {way}" for way in [*PACKAGES][:6]), "checkpoint"]


def campaign(settings: Settings, tally: Tally) -> None:
    """Try every kind in turn."""
    load_everything()
    packages = Packages(settings.folder)
    for kind in ("package", "zip"):
        if (result := packages.attempt(kind, None)) != "worked":
            raise Fault(f"a {kind} that is not changed: {result}")
    for number, rng in settings.tries():
        kind = KINDS[number % len(KINDS)]
        tally.try_it(kind, number, lambda kind=kind, rng=rng: packages.attempt(kind, rng))


if __name__ == "__main__":
    sys.exit(main(campaign, __doc__, 500))
