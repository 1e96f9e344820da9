"""Preprocessed cases on disk, one file each, named after everything that they depend on.

The key in the name covers the preprocessing part of the plan and the contents of the case's files, so after a change of
plan or scan no file is found, and a new one is made. Files are written under a temporary name and renamed: a process
that is killed leaves nothing half written, and two processes that fill one cache do the same work twice at worst.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.files import content_hash, remove_temporaries, saving
from medseg.core.labels import IGNORE, Labels
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.planning.annotation import annotated_mask
from medseg.plans.schema import Configuration, Plan
from medseg.preprocessing.normalize import registered_code

_FORMAT = 1  # to be raised when the contents of the files change
_MOST_LOCATIONS = 10_000  # of a structure, unless 1 % of it are more: nnU-Net's figures (`default_preprocessor.py`),
_LOCATION_FRACTION = 0.01
_LOCATION_SEED = 1234  # and its seed


@dataclass(frozen=True)
class Sample:
    """A preprocessed training case.

    Its tensors are views of the mapped cache file: a part is read from the disk when it is used, and kept in memory by
    the operating system as long as there is room. They must not be written to.

    Attributes:
        case: where it comes from.
        image: (channel, z, y, x) float32.
        label: (z, y, x) int16 indices, `IGNORE` and `OUTSIDE` included.
        locations: for each structure, flat indices of some of its voxels, to centre patches on.
        annotated: for ignore labels, flat indices of annotated voxels; empty where everything is annotated.
        structures: (structures,) bool, which of them were annotated; None where all were.
        previous: (z, y, x) int16, label indices from the previous stage of a cascade; None where there is none.
        key: names the contents of the case's files and how they were preprocessed.
        contents: names what training takes from the case, however it is preprocessed: the contents of its files, its
            weights, and which structures were annotated.
        weight_offsets: (z, y, x) float32, the weight of each voxel in the loss minus 1, so that what is padded with 0
            has the weight 1; None where the case has no map of weights.
    """

    case: Case
    image: torch.Tensor
    label: torch.Tensor
    locations: tuple[torch.Tensor, ...]
    annotated: torch.Tensor
    structures: torch.Tensor | None = None
    previous: torch.Tensor | None = None
    key: str = ""
    contents: str = ""
    weight_offsets: torch.Tensor | None = None


def load_samples(
    cases: Sequence[Case], plan: Plan, configuration: Configuration, folder: Path, callback: Callback = silent
) -> tuple[list[Sample], dict[str, str]]:
    """Return preprocessed cases, from the cache if they are in it, else made and put there.

    Args:
        cases: with labels.
        plan: has channels, labels and how files are read.
        configuration: says how they are preprocessed.
        folder: the folder of the cache; made if need be.
        callback: receives progress after every case, as the stage `preprocess`.

    Returns:
        The samples, and why the cases that failed did: {case id: message}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder)
    recipe = _recipe(plan, configuration)

    def load(case: Case) -> Sample:
        try:
            contents = _contents(case)
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from None
        key = _digest(recipe + contents)
        path = folder / f"{case.id}-{key}.safetensors"
        taken = _digest(f"{contents}{case.annotated}{case.weight}{case.loss_weight}")
        if path.exists():
            try:
                return replace(_read(case, path, plan.labels), key=key, contents=taken)
            except Exception:  # safetensors' own kinds of error: the file is damaged, and is made again
                path.unlink()
        _make(case, plan, configuration, path)
        return replace(_read(case, path, plan.labels), key=key, contents=taken)

    samples: list[Sample] = []
    failed: dict[str, str] = {}
    for case, result in track(map_cases(load, cases), "preprocess", len(cases), callback):
        if isinstance(result, MedsegError):
            failed[case.id] = str(result)
        else:
            samples.append(result)
    return samples, failed


def load_previous(sample: Sample, folder: Path, source: str, make: Callable[[], NDArray[np.int16]]) -> Sample:
    """Return a sample with the label map of a cascade's previous stage, read from the cache like its other tensors.

    Args:
        sample: the sample of the later stage.
        folder: the folder of the cache.
        source: text that names everything that the map depends on.
        make: makes the map (z, y, x) of label indices; called if it is not in the cache.
    """
    from safetensors.numpy import save_file
    from safetensors.torch import load_file

    path = folder / f"{sample.case.id}-{source}.previous.safetensors"
    if path.exists():
        try:
            return replace(sample, previous=load_file(path)["previous"])
        except Exception:  # safetensors' own kinds of error: the file is damaged, and is made again
            path.unlink()
    label_map = make()
    with saving(path, own_folder=True) as temporary:
        save_file({"previous": label_map}, temporary)
    return replace(sample, previous=load_file(path)["previous"])


def _recipe(plan: Plan, configuration: Configuration) -> str:
    """Return everything that the preprocessing of every case depends on, as text."""
    keys = {"spacing_mm", "normalization", "resample_image", "resample_label"}
    settings: dict[str, Any] = {
        "format": _FORMAT,
        "orientation": plan.orientation,
        "transpose_forward": plan.transpose_forward,
        "reading": plan.data.reading.model_dump(mode="json"),
        "labels": plan.labels.model_dump(include={"structures", "background", "ignore"}),
        "intensities": [intensity.model_dump() for intensity in plan.data.intensities],
        "configuration": configuration.model_dump(include=keys),
    }
    # only where they are not the usual ones, so that what was cached before they counted is still found
    if plan.data.spacing_rule != "files":
        settings["spacing_rule"] = plan.data.spacing_rule
    members = [*plan.labels.members.items()]
    if members != sorted(members, key=lambda item: item[1]):
        settings["order"] = [*plan.labels.names]
    segments = [*plan.data.reading.segments]
    if segments != sorted(segments):
        settings["segments"] = segments  # of overlapping ones the later may win
    code = registered_code(configuration)
    if code:  # only then, so that what was cached before there were registered schemes is still found
        settings["registered_code"] = code
    return json.dumps(settings, sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _contents(case: Case) -> str:
    """Return text that changes with the contents of a case's files.

    Raises:
        OSError: one of them cannot be read.
    """
    # readers are imported in the threads that use them, what preprocesses only where a case is not in the cache
    from medseg.io.annotations.coco import content_of, split_reference
    from medseg.io.several_files import files_of, is_by_structure

    named, text = [*case.channels], ""
    if case.label is not None and split_reference(case.label):
        text += content_of(case.label)  # and not the whole file, which is about all images
    elif case.label is not None:
        named.append(case.label)
    if case.weight_map is not None:
        named.append(case.weight_map)
        text += " with weights"  # of the same contents as another file, it is something else
    files = [file for name in named for file in files_of(name)]
    for path in filter(is_by_structure, named):  # the names of masks, or of their folders, say what they mean
        above = path if path.is_dir() else path.parent.parent
        text += "".join(file.relative_to(above).as_posix() for file in files_of(path))
    return text + "".join(content_hash(file) if file.exists() else "missing" for file in files)


def _make(case: Case, plan: Plan, configuration: Configuration, path: Path) -> None:
    from safetensors.numpy import save_file

    from medseg.io.load import load_case, load_weight_map
    from medseg.preprocessing.volume import prepare, prepare_weights

    loaded = load_case(case, len(plan.data.channels), plan.data.reading, plan.labels)
    image, label = loaded.image, plan.labels.encode(loaded.label.array[0], str(case.label))
    volume = prepare(image, plan, configuration, label)
    assert volume.label is not None
    tensors: dict[str, NDArray] = {
        "image": volume.image,
        "label": volume.label,
        **_locations(volume.label, plan.labels),
    }
    weights = load_weight_map(case, image)
    if weights is not None:
        tensors["weight_offsets"] = prepare_weights(weights, volume.geometry, configuration) - 1
    with saving(path, own_folder=True) as temporary:
        save_file(tensors, temporary)


def _locations(label: NDArray[np.int16], labels: Labels) -> dict[str, NDArray[np.int64]]:
    """Return voxels to centre patches on: as in nnU-Net, 10,000 (or all) of each structure, or 1 % if that is more."""
    locations = {}
    for number, members in enumerate(labels.membership):
        inside = np.isin(label, np.flatnonzero(members).astype(np.int16))
        locations[f"locations_{number}"] = _choose(np.flatnonzero(inside))
    if labels.ignore is not None:
        locations["annotated"] = _choose(np.flatnonzero(label != IGNORE))
    return locations


def _choose(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return some of the flat indices of voxels, the same ones every time, in rising order."""
    count = max(min(_MOST_LOCATIONS, voxels.size), int(np.ceil(_LOCATION_FRACTION * voxels.size)))
    if count == voxels.size:
        return voxels
    return np.sort(np.random.default_rng(_LOCATION_SEED).choice(voxels, count, replace=False))


def _read(case: Case, path: Path, labels: Labels) -> Sample:
    """Return a sample from its file; the file is the same whichever structures were annotated."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    no_voxels = torch.empty(0, dtype=torch.int64)
    known = annotated_mask(case, labels)
    locations = tuple(
        tensors[f"locations_{number}"] if known is None or known[number] else no_voxels
        for number in range(len(labels.names))
    )
    structures = None if known is None else torch.from_numpy(known)
    annotated = tensors.get("annotated", no_voxels)
    offsets = tensors.get("weight_offsets")
    return Sample(case, tensors["image"], tensors["label"], locations, annotated, structures, weight_offsets=offsets)
