"""Find the scans of a data set that lists its files: those for testing where it names such, with or without labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from medseg.core.errors import DataError
from medseg.core.wording import counted, first_few
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.case_table import scans_of_table
from medseg.io.layouts.dataset import Why
from medseg.io.layouts.file_names.modalities import may_be, says
from medseg.io.layouts.file_names.side_folders import shows_scans
from medseg.io.layouts.file_names.words import names_images, names_labels
from medseg.io.layouts.pairs import TEST_IMAGES
from medseg.io.layouts.published.datalist import scans_of_datalist
from medseg.io.layouts.published.dataset_json import NAME, channels_declared_in, scans_of_dataset_json
from medseg.io.layouts.published.descriptions import ListedScans
from medseg.io.layouts.published.mist import scans_of_mist
from medseg.io.layouts.used_paths import absolute

_DESCRIPTIONS = (scans_of_datalist, scans_of_mist, scans_of_dataset_json)
"""JSON files that list the files of cases, in the order in which `plan` asks them."""
_MOST_NAMED = 20
_ONE_FILE = "Split the files by channels, and say which is which by patterns: --channels '*_t1.nii.gz,*_flair.nii.gz'."


def listed_scans(folder: Path, channels: Sequence[str]) -> ListedScans | None:
    """Return the scans that the table or the JSON file of a data set lists.

    Args:
        folder: the data set's.
        channels: names of the model's channels, which columns of a table may have.

    Returns:
        None where it has neither, or a folder of test images, which are meant then.

    Raises:
        DataError: the list is not valid.
    """
    if (folder / TEST_IMAGES).is_dir():
        return None
    table = scans_of_table(folder, channels)
    found = (listed for scans_of in _DESCRIPTIONS if (listed := scans_of(folder)) is not None)
    return table if table is not None else next(found, None)


def unlisted(listed: ListedScans) -> list[tuple[str, Why]]:
    """Return (name, why) of the images beside those that a list names, as one entry; empty where there are none.

    Args:
        listed: what its list names.
    """
    if listed.beside is None:
        return []
    known = {absolute(path) for files in listed.files.values() for path in files} | {*map(absolute, listed.beside)}
    folders = {path.parent for files in listed.files.values() for path in map(absolute, files)}
    names = [path.name for place in sorted(folders) for path in sorted(place.iterdir()) if _is_new(path, known)]
    return unlisted_entry(names, [listed.source.name])


def unlisted_entry(names: Sequence[str], lists: Sequence[str]) -> list[tuple[str, Why]]:
    """Return one entry (name, why) for images that no list names; none where there are none.

    Args:
        names: of the images.
        lists: names of the files that list images.
    """
    if not names:
        return []
    what = f"{counted(len(names), 'image')} not listed in {first_few([*lists])}, and not segmented"
    return [(names[0], Why(f"{what}: {first_few([*names], _MOST_NAMED)}"))]


def _is_new(path: Path, known: Collection[Path]) -> bool:
    """Return whether a file is an image that is not known, and that no name calls a label or a preview."""
    if path in known or path.name.startswith(".") or not is_image(path) or path.is_dir():
        return False
    return not names_labels(split_suffix(path)[0]) and not shows_scans(path.name)


def check_order(folder: Path, channels: Sequence[str], suffix: str | None) -> None:
    """Refuse a data set that has the model's channels in another order: they would be taken for each other.

    Args:
        folder: of files that are numbered (`CASE_0000`) or hold all channels, or of the data set.
        channels: names of the model's channels, in order.
        suffix: that of numbered files; None for files that hold all channels.

    Raises:
        DataError: a `dataset.json` here, or in the folder above, has the model's channels in another order.
    """
    for root in (folder, folder.absolute().parent):
        declared: list[str] = []
        with suppress(DataError):  # planning names what is wrong with the file
            declared = [name.lower() for name in channels_declared_in(root)]
        wanted = [name.lower() for name in channels]
        if declared != wanted and sorted(declared) == sorted(wanted):
            patterns = ",".join(f"*_{declared.index(name):04d}{suffix}" for name in wanted)
            say = f"Name the folder of the images, and say which file is which: --channels '{patterns}'."
            raise _another_order(
                root / NAME, declared, wanted, say if suffix and len({*wanted}) == len(wanted) else _ONE_FILE
            )


def in_order(listed: ListedScans, channels: Sequence[str]) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """Return the files of each case in the order of the model's channels, and {case: why it is left out}.

    Where a list does not name its channels, or only as `image` or `channel_0`, names of files decide, if they say
    channels; else files keep the order of the list.

    Raises:
        DataError: the names are others than the model's.
    """
    names = [name.lower() for name in listed.channels]
    wanted = [name.lower() for name in channels]
    if names == wanted:
        return listed.files, listed.problems
    if {*wanted} <= {*names} and len({*names}) == len(names):
        order = [names.index(name) for name in wanted]
        whole = {id: files for id, files in listed.files.items() if len(files) == len(names)}
        if listed.files and not whole:
            raise _another_order(listed.source, names, wanted, _ONE_FILE)
        others = {
            id: f"{listed.source.name} lists {counted(len(files), 'file')} of it; expected {', '.join(names)}"
            for id, files in listed.files.items()
            if id not in whole
        }
        ordered = {id: tuple(files[number] for number in order) for id, files in whole.items()}
        return ordered, listed.problems | others
    if len(names) == 1:  # of several channels, one file may hold all
        fits = len(wanted) > 1 or may_be(names[0], channels)
    else:
        fits = not names or (len(names) == len(wanted) and all(map(_fits, names, wanted)))
    if not fits:
        raise DataError(
            f"{listed.source} lists the channels {', '.join(listed.channels)}; the model takes {', '.join(channels)}.",
            "Give the columns or channels of the list the names of the model's, or name the folder of the images with "
            "a pattern for each channel: --channels '*_t1.nii.gz'.",
        )
    by_name = {id: _by_file_names(files, channels) for id, files in listed.files.items()}
    unclear = {
        id: f"the names of its files ({', '.join(path.name for path in listed.files[id])}) say other channels than "
        f"{', '.join(channels)}"
        for id, files in by_name.items()
        if files is None
    }
    return {id: files for id, files in by_name.items() if files is not None}, listed.problems | unclear


def _by_file_names(files: tuple[Path, ...], channels: Sequence[str]) -> tuple[Path, ...] | None:
    """Return files in the order of the channels that their names say; as they are where these say nothing.

    Args:
        files: of one case, in the order of a list that does not name the channels.
        channels: names of the model's channels, in order.

    Returns:
        None where a name says another channel than the one that the file would be taken for.
    """
    if len(files) != len(channels) or len(files) == 1:
        return files
    stems = [split_suffix(path)[0] for path in files]
    fitting = [[path for path, stem in zip(files, stems, strict=True) if says(stem, [name])] for name in channels]
    if all(len(paths) == 1 for paths in fitting) and len({paths[0] for paths in fitting}) == len(files):
        return tuple(paths[0] for paths in fitting)
    as_listed = all(may_be(stem, [name]) for stem, name in zip(stems, channels, strict=True))
    return files if as_listed else None


def _another_order(source: Path, declared: Sequence[str], wanted: Sequence[str], hint: str) -> DataError:
    """Return why channels that a description has in another order than the model are refused."""
    has, takes = ", ".join(declared), ", ".join(wanted)
    return DataError(f"{source} has the channels {has}; the model takes them as {takes}.", hint)


def _fits(name: str, wanted: str) -> bool:
    """Return whether a channel is the model's by their names, or one of the names says nothing."""
    return any(names_images(text) or text.startswith("channel_") for text in (name, wanted)) or says(name, [wanted])
