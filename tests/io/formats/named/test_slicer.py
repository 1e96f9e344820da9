"""Fields of a 3D Slicer segmentation in NRRD headers: written and read back, and those of older versions."""

import numpy as np

from medseg.io.formats.named.segment import Segment
from medseg.io.formats.named.slicer import header_lines, read_segments

CODES = "Segmentation category~SCT^85756007^Tissue"


def test_what_was_written_is_read() -> None:
    layers = np.zeros((2, 2, 3, 4), np.uint8)
    layers[0, 1, :2, 2:] = 1
    layers[1] = 2
    segments = [
        Segment("liver", 1, colour=(255, 0, 51), terminology=CODES),
        Segment("vessel", 2, layer=1, colour=(0, 128, 255)),
        Segment("nowhere", 7, colour=(1, 2, 3)),
    ]
    lines = header_lines(segments, layers)
    assert read_segments("\n".join(lines), layered=True) == segments
    extents = [line.partition(":=")[2] for line in lines if "_Extent:=" in line]
    assert extents == ["2 3 0 1 1 1", "0 3 0 2 0 1", "0 -1 0 -1 0 -1"], "first and last index along x, y, z"


def test_before_there_were_values_a_layer_was_a_segment() -> None:
    header = "Segment0_Name:=liver\r\nSegment1_Name:=vessel\r\n"
    assert read_segments(header, layered=True) == [Segment("liver", 1, 0), Segment("vessel", 1, 1)]
    assert read_segments(header, layered=False) == [], "in one layer nothing says which value is which"


def test_fields_that_say_nothing_are_passed_over() -> None:
    header = "Segment0_Name:= \nSegment0_LabelValue:=1\nSegment1_Name:=liver\nSegment1_LabelValue:=two\n"
    assert read_segments(header, layered=False) == []
