"""Which slices show the structures of an answer at their largest, and how outlines are drawn."""

from __future__ import annotations

import numpy as np

from medseg.core.colours import rgb_number
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.pictures.slices import Style, draw_slice, largest_slices

FIVE = Labels(structures={f"s{n}": n for n in range(1, 6)}, ignore=9)


def answer_of(areas: dict[int, list[int]]) -> Image:
    """Of each structure, its voxels in each slice, one row a structure."""
    values = np.full((1, len(areas[1]), 6, 20), 0, np.uint8)
    for value, of_slices in areas.items():
        for z, count in enumerate(of_slices):
            values[0, z, value, :count] = value
    return Image(values, np.eye(4))


def test_of_many_structures_the_slices_are_chosen_that_show_most_of_them() -> None:
    answer = answer_of({1: [10, 9, 0], 2: [9, 10, 0], 3: [8, 0, 0], 4: [0, 0, 4], 5: [0, 0, 6]})
    assert [shown.plane.index for shown in largest_slices(answer, FIVE, 3)] == [0, 1, 2]
    two = largest_slices(answer, FIVE, 2)
    assert [(shown.plane.index, shown.names) for shown in two] == [(0, ("s1", "s2", "s3")), (2, ("s4", "s5"))]
    assert [shown.count for shown in two] == [3, 3]


def test_voxels_to_ignore_are_no_structure_and_a_flat_image_has_one_plane() -> None:
    answer = answer_of({1: [2, 5, 3]})
    answer.array[0, 0, 0, :] = 9
    assert [(shown.plane.index, shown.names) for shown in largest_slices(answer, FIVE, 4)] == [(1, ("s1",))]
    flat = Image(answer.array[:, :1], np.eye(4), spacing_known=False)
    assert [(shown.plane.index, shown.count) for shown in largest_slices(flat, FIVE, 4)] == [(0, 1)]


def test_an_outline_is_as_wide_as_asked_and_the_inside_stays_as_it_is() -> None:
    answer = answer_of({1: [0]})
    answer.array[0, 0, 1:5, 4:10] = 1
    image = Image(np.ones((1, 1, 6, 20), np.float32), np.eye(4), spacing_known=False)
    flat = image.with_array(answer.array)
    (shown,) = largest_slices(flat, FIVE, 4)
    pixels = draw_slice(shown.plane, image, flat, FIVE, (0.0, 2.0), Style(area=0, line=2, height=60, widest=400))
    assert pixels.shape == (60, 200, 3)  # ten pixels a voxel
    outline = (pixels == rgb_number(0)).all(axis=-1)
    assert outline.sum() == 40 * 60 - 36 * 56
    assert (pixels[~outline] == 127).all()
