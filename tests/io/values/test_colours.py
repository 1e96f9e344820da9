"""Masks in colours: tables, and what a look at every mask tells."""

import numpy as np
import pytest
from PIL import Image as pillow

from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.io.values.colours import name_colours, parse_colour, read_colour_table, survey_colours

RED, GREEN, BLUE, BLACK, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]


@pytest.fixture
def save_mask(tmp_path):
    """A mask of one block of 8 x 8 pixels for each colour."""

    def save(name, *colours, blur=False):
        pixels = np.repeat(np.repeat(np.array([colours], np.uint8), 8, axis=0), 8, axis=1)
        picture = pillow.fromarray(pixels)
        if blur:
            picture = picture.resize((picture.width * 3, picture.height * 3), pillow.Resampling.BILINEAR)
        picture.save(tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    ("text", "colour"),
    [("#F00", "#ff0000"), ("#00ff7F", "#00ff7f"), ("255, 0,1", "#ff0001"), ("255 0 1", "#ff0001")],
)
def test_colours_as_people_write_them(text, colour):
    assert parse_colour(text) == colour


@pytest.mark.parametrize("text", ["red", "#ff", "256,0,0", "1,2", ""])
def test_what_is_no_colour(text):
    assert parse_colour(text) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("colours.csv", "name,r,g,b\nliver,255,0,0\nleft kidney,0,255,0\n"),
        ("class_dict.csv", "name, r, g, b\nliver, 255, 0, 0\nleft kidney, 0, 255, 0\n"),
        ("colors.csv", "class,color\nliver,#ff0000\nleft kidney,#0F0\n"),
        ("label_colors.txt", "255 0 0\tliver\n0 255 0\tleft kidney\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nliver:255,0,0::\nleft kidney:0,255,0::\n"),
    ],
)
def test_tables_of_several_kinds(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_colour_table(tmp_path / name) == {"liver": "#ff0000", "left kidney": "#00ff00"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,r,g,b\nliver,300,0,0\n", "not a table of colours: its first line is 'name,r,g,b'"),
        ("liver\n", "not a table of colours"),
        ("", "not a table of colours"),
        ("name,colour\nliver,#f00\nspleen,#ff0000\n", "gives liver and spleen one colour"),
    ],
)
def test_tables_that_are_not_valid(tmp_path, content, message):
    (tmp_path / "colours.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_colour_table(tmp_path / "colours.csv")


def test_names_are_numbered_in_their_order_on_a_black_background():
    labels, colours = name_colours({"liver": "#ff0000", "spleen": "#00ff00"}, None, None)
    assert (labels.structures, labels.ignore) == ({"liver": 1, "spleen": 2}, None)
    assert colours == {"#000000": 0, "#ff0000": 1, "#00ff00": 2}


def test_background_and_ignore_may_have_colours():
    names = {"background": "#ffffff", "liver": "#ff0000", "ignore": "#808080", "outline": "#000000"}
    labels, colours = name_colours(names, None, None)
    assert (labels.structures, labels.ignore) == ({"liver": 1, "outline": 2}, 255)
    assert colours == {"#000000": 2, "#ffffff": 0, "#ff0000": 1, "#808080": 255}


def test_declared_structures_keep_their_values():
    declared = Labels(structures={"liver": 7, "spleen": 3})
    labels, colours = name_colours({"spleen": "#00ff00", "liver": "#ff0000"}, declared, None)
    assert labels is declared
    assert colours == {"#000000": 0, "#00ff00": 3, "#ff0000": 7}
    with pytest.raises(DataError, match="names heart; the structures are liver, spleen"):
        name_colours({"heart": "#ff0000"}, declared, None)


def test_one_table_for_the_colours_of_all_masks(save_mask):
    files = [save_mask("a.png", BLACK, RED), save_mask("b.png", BLACK, GREEN), save_mask("c.bmp", BLACK, BLUE, RED)]
    assert survey_colours(files) == {
        "colour_0000ff": "#0000ff",
        "colour_00ff00": "#00ff00",
        "colour_ff0000": "#ff0000",
    }


def test_masks_that_hold_values_have_no_colours(save_mask, save_picture, tmp_path):
    grey = save_picture(tmp_path / "a.png", [[0, 3], [255, 9]])
    as_colours = save_mask("b.png", BLACK, WHITE, [7, 7, 7])
    one_colour = save_mask("c.png", BLACK, RED)
    damaged = tmp_path / "d.png"
    damaged.write_bytes(one_colour.read_bytes()[:50])
    assert survey_colours([grey, as_colours, damaged]) == {}
    assert survey_colours([one_colour]) == {}


def test_a_background_that_is_not_black_has_to_be_named(save_mask):
    with pytest.raises(DataError, match="none of which is black") as caught:
        survey_colours([save_mask("a.png", WHITE, RED, GREEN)])
    assert "--colours 'background=" in str(caught.value)


def test_blends_are_refused_with_examples(save_mask):
    with pytest.raises(DataError, match=r"many of which fill no area \(#") as caught:
        survey_colours([save_mask("a.png", BLACK, RED, GREEN, BLACK, blur=True)])
    assert "--threshold 128" in str(caught.value)


def test_more_colours_than_structures_can_have(save_mask):
    colours = [[value, 255 - value, 7] for value in range(0, 140, 2)]
    with pytest.raises(DataError, match="more than 64 colours"):
        survey_colours([save_mask("a.png", BLACK, *colours)])


def test_palettes_have_to_agree(tmp_path):
    def palette(name, *colours):
        picture = pillow.new("P", (2, 1))
        picture.putdata([0, 1])
        picture.putpalette([part for colour in colours for part in colour])
        picture.save(tmp_path / name)
        return tmp_path / name

    same = [palette("a.png", BLACK, RED), palette("b.png", BLACK, RED, GREEN)]
    assert survey_colours(same) == {}
    with pytest.raises(DataError, match=r"palettes of .*a\.png and .*c\.png disagree: 1 is #ff0000 in one and #00ff00"):
        survey_colours([*same, palette("c.png", BLACK, GREEN)])


@pytest.mark.real
def test_real_masks_hold_values(data_dir):
    for folder in ("nuclei", "cardiac2d", "membrane"):
        assert survey_colours(sorted((data_dir / folder / "masks").iterdir())) == {}
