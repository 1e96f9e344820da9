"""Pictures of slices and a viewer's page of each case, made when asked for, for the page of a folder of answers.

An answer never depends on them: they are made once it is written, and what fails is named.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.case import Case
from medseg.core.files import atomic, remove_temporaries
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.read_answer import names_of_values, read_answer
from medseg.delivery.pages.own_page import is_own_page, remove_own_page, why_kept
from medseg.delivery.provenance.manifest import without_uids
from medseg.io.formats.table import says_sides
from medseg.io.load import load_case_image
from medseg.plans.sections.data import Data

if TYPE_CHECKING:
    from medseg.delivery.pictures.slices import LargestIn

FOLDER = "view"
"""In the folder of the answers, what its page shows and leads to."""
SMALL_VOXELS = 4_000_000
"""Scans of so many voxels are shown in a viewer without being asked: such a page is written in a fraction of a second,
and has about 10 MB at most."""
_MOST_SLICES = 6
_FIRST = "slice_1.png"
"""Of the pictures of a case, written last and removed first."""
_HEIGHT, _WIDEST, _LINE = 320, 480, 2
"""Of a picture of a slice, in pixels; it is shown at about half its size."""
_PACKED = 3
"""How well pictures are packed, of 1 to 9: with 6, they take twice as long to write and are a tenth smaller."""


@dataclass(frozen=True)
class CaseSlice:
    """A picture of a slice.

    Attributes:
        title: Which slice it is, such as `axial, 24 of 36`; empty for a 2D image.
        names: The structures that are largest in it.
        png: The picture.
    """

    title: str
    names: tuple[str, ...]
    png: bytes


@dataclass(frozen=True)
class CasePages:
    """Makes what the page shows of each case: pictures of slices, and a viewer's page.

    Attributes:
        wanted: whether anything is.
        viewer_voxels: scans of up to so many voxels get a page of the viewer; None for all.
        data: says how scans are read; needed where anything is wanted.
        folders: of the scans and of the answers, whose paths no page names.
    """

    wanted: bool = False
    viewer_voxels: int | None = 0
    data: Data | None = None
    folders: tuple[Path, ...] = ()

    def write(self, case: Case, answer: Image | Path, output: Path, labels: Labels) -> str:
        """Make the pictures of a case, and its viewer's page where the scan is not too large.

        Args:
            case: which case; its scan is read again.
            answer: label values (1, z, y, x) on the scan's grid, or their file.
            output: folder of the answers.
            labels: the structures.

        Returns:
            Why they could not be made; empty where all went well.
        """
        if not self.wanted or self.data is None:
            return ""
        try:
            remove(case, output)
            if why := why_kept(viewer_page(case.id, output)):
                return why
            scan = load_case_image(case, len(self.data.channels), self.data.reading)
            label = read_answer(answer, labels, scan) if isinstance(answer, Path) else answer
            _write_slices(case, scan, label, output, labels)
            if self.shows_in_viewer(scan.shape_zyx):
                page, sides_known = viewer_page(case.id, output), says_sides(case.channels[0])
                write_viewer(page, scan, {"answer": label}, labels, sides_known, self.folders)
        except Exception as error:  # whatever libraries raise: the answer is there, and stays
            return " ".join(str(error).split()) or type(error).__name__
        return ""

    def shows_in_viewer(self, shape_zyx: Sequence[int]) -> bool:
        """Return whether a scan of such a shape gets a page of the viewer."""
        z, y, x = shape_zyx
        return self.viewer_voxels is None or z * y * x <= self.viewer_voxels

    def complete(self, case: Case, output: Path, shape_zyx: Sequence[int]) -> bool:
        """Return whether all files that are wanted of a case exist.

        Args:
            case: the case.
            output: folder of the answers.
            shape_zyx: of its scan.
        """
        viewer = is_own_page(viewer_page(case.id, output)) or not self.shows_in_viewer(shape_zyx)
        return not self.wanted or (viewer and (output / FOLDER / case.id / _FIRST).is_file())


def viewer_page(case: str, output: Path) -> Path:
    """Return where the viewer's page of a case lies, if there is one.

    Args:
        case: id of the case.
        output: folder of the answers.
    """
    return output / FOLDER / f"{case}.html"


def case_files(case: Case, output: Path) -> list[Path]:
    """Return the files that there are for the page of a folder of answers.

    Args:
        case: the case.
        output: folder of the answers.
    """
    page = viewer_page(case.id, output)
    return [*([page] if is_own_page(page) else []), *_slice_files(case, output)]


def remove(case: Case, output: Path) -> None:
    """Remove the pictures and the viewer's page of an earlier answer to a case.

    Args:
        case: the case.
        output: folder of the answers.
    """
    folder = output / FOLDER / case.id
    remove_temporaries(folder)
    remove_own_page(viewer_page(case.id, output))
    for path in _slice_files(case, output):
        path.unlink()
    with suppress(OSError):  # it is not there, or holds a file of someone else's
        folder.rmdir()


def read_slices(case: Case, output: Path) -> list[CaseSlice]:
    """Return the pictures of a case, in the order of the slices; those that cannot be read are left out.

    Args:
        case: the case.
        output: folder of the answers.
    """
    from PIL import Image as pillow

    slices = []
    for path in _slice_files(case, output):
        with suppress(OSError), pillow.open(path) as picture:
            texts = dict(picture.info)
            names = tuple(name for name in str(texts.get("Description", "")).split("\n") if name)
            slices.append(CaseSlice(str(texts.get("Title", "")), names, path.read_bytes()))
    return slices


def _slice_files(case: Case, output: Path) -> list[Path]:
    return sorted((output / FOLDER / case.id).glob("slice_*.png"))


def _write_slices(case: Case, scan: Image, answer: Image, output: Path, labels: Labels) -> None:
    """Write a PNG of each slice in which structures are largest; each says which slice it is, and names them."""
    from PIL import Image as pillow
    from PIL.PngImagePlugin import PngInfo

    from medseg.delivery.pictures.drawing import window
    from medseg.delivery.pictures.slices import Style, draw_slice, largest_slices

    style = Style(area=0, line=_LINE, height=_HEIGHT, widest=_WIDEST)
    levels = window(scan, answer.array[0] != labels.background)
    # the first one last: it says that all are there (`CasePages.complete`)
    for number, shown in reversed([*enumerate(largest_slices(answer, labels, _MOST_SLICES), start=1)]):
        picture = pillow.fromarray(draw_slice(shown.plane, scan, answer, labels, levels, style))
        texts = PngInfo()
        texts.add_itxt("Title", _title(shown))
        texts.add_itxt("Description", "\n".join(shown.names))
        stream = io.BytesIO()
        picture.save(stream, "PNG", pnginfo=texts, compress_level=_PACKED)
        with atomic(output / FOLDER / case.id / f"slice_{number}.png") as path:
            path.write_bytes(stream.getvalue())


def _title(shown: LargestIn) -> str:
    if shown.count == 1:
        return ""
    return f"{shown.plane.name or 'slice'} {shown.plane.index + 1} of {shown.count}"


def write_viewer(
    page: Path,
    scan: Image,
    layers: Mapping[str, Image],
    labels: Labels,
    sides_known: bool,
    folders: Sequence[Path] = (),
) -> None:
    """Write a page that shows a scan and label maps on its grid, under the name of the case.

    Args:
        page: where to write it: CASE.html.
        scan: (channel, z, y, x).
        layers: {name: label map (1, z, y, x) on the scan's grid}.
        labels: the structures.
        sides_known: whether the scan's file says which side of the patient is which.
        folders: whose paths the page does not name.
    """
    from medseg.delivery.viewer.scene import make_scene, shown_channels
    from medseg.delivery.viewer.view_page import write_view

    names = names_of_values(labels)
    scene = make_scene(page.stem, shown_channels(scan, 0), layers, names, labels.background, sides_known)
    write_view(page, replace(scene, notes=tuple(without_uids(scene.notes, folders))))
