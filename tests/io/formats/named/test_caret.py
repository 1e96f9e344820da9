"""Tables of names in NIfTI headers: written and read back, and what is no such table."""

import pytest
from nibabel.nifti1 import Nifti1Extension

from medseg.io.formats.named.caret import read_table, write_table
from medseg.io.formats.named.segment import Segment

SEGMENTS = [Segment("liver", 3, colour=(255, 0, 51)), Segment("left\n <kidney> & rest", 300, colour=(1, 2, 254))]


@pytest.mark.parametrize("code", [0, 30])
@pytest.mark.parametrize("padding", [b"", b"\0\0\0", b" \n"])
def test_what_was_written_is_read_with_names_in_one_line(code: int, padding: bytes) -> None:
    (liver, kidney) = read_table([Nifti1Extension(code, write_table(SEGMENTS) + padding)])
    assert liver == SEGMENTS[0]
    assert (kidney.name, kidney.value, kidney.colour) == ("left <kidney> & rest", 300, (1, 2, 254))


def test_the_first_table_counts_and_other_extensions_are_passed_over() -> None:
    extensions = [Nifti1Extension(6, b"a comment"), *(Nifti1Extension(0, write_table([one])) for one in SEGMENTS)]
    assert [segment.value for segment in read_table(extensions)] == [3]
    assert read_table([Nifti1Extension(4, write_table(SEGMENTS))]) == [], "another code is another content"


@pytest.mark.parametrize("name", ["???", "background"])
def test_the_background_is_no_structure(name: str) -> None:
    assert read_table([Nifti1Extension(0, write_table([Segment(name, 0), Segment("spleen", 1)]))]) == [
        Segment("spleen", 1, colour=(255, 255, 255))
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<CaretExtension>", b"<!DOCTYPE x><CaretExtension>"),  # entities may grow without end
        (b"</CaretExtension>", b""),
        (b'Key="3"', b'Key="three"'),
    ],
)
def test_what_is_no_table_names_nothing(old: bytes, new: bytes) -> None:
    table = write_table(SEGMENTS)
    assert old in table
    assert read_table([Nifti1Extension(0, table.replace(old, new))]) == []
