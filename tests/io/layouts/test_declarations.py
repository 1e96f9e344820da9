"""What a file declares is taken as a whole, or refused: no name, value or key is dropped without a word."""

import json

import pytest

from medseg.core.errors import DataError
from medseg.io.layouts.published.dataset_json import declared_channels, declared_labels, read_dataset_json
from medseg.io.values.class_names import means_background, read_index_table

BACKGROUNDS = ["background", "Background", "_background_", "BG", "unlabelled", "Clear Label", "clear-label", "0"]


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_the_value_0_may_be_called_by_any_word_for_background(name):
    assert declared_labels({"labels": {"0": name, "1": "mass"}}, "x").structures == {"mass": 1}
    labels = declared_labels({"labels": {name: 0, "mass": 1}}, "x")
    assert (labels.structures, labels.background) == ({"mass": 1}, 0)


@pytest.mark.parametrize("name", ["nodule", "liver", "class_0", "foreground"])
@pytest.mark.parametrize("form", ["msd", "nnunet", "both", "zeros"])
def test_a_structure_of_the_value_0_is_refused(name, form):
    declared = {
        "msd": {"0": name, "1": "mass"},
        "nnunet": {name: 0, "mass": 1},
        "both": {"background": 0, name: 0, "mass": 1},
        "zeros": {"00": name, "1": "mass"},
    }[form]
    with pytest.raises(DataError, match=f"x calls the value 0 {name!r}, but 0 is the background"):
        declared_labels({"labels": declared}, "x")


def test_a_structure_of_the_value_0_in_a_table_is_refused(tmp_path):
    path = tmp_path / "dseg.tsv"
    path.write_text("index\tname\n0\tliver\n1\tspleen\n")
    with pytest.raises(DataError, match="calls the value 0 'liver'"):
        read_index_table(path)
    path.write_text("index\tname\n0\tBackground\n1\tspleen\n")
    assert read_index_table(path) == {"spleen": 1}


def test_words_for_background_are_few():
    assert not any(map(means_background, ["lesion", "back", "ground", "airway", "restiform body", "bgx"]))


@pytest.mark.parametrize("place", ["labels", "top"])
def test_a_key_that_stands_twice_is_refused(tmp_path, place):
    labels = '{"background": 0, "liver": 1, "liver": 2}' if place == "labels" else '{"background": 0, "liver": 1}'
    twice = ', "labels": {"background": 0, "spleen": 1}' if place == "top" else ""
    text = f'{{"channel_names": {{"0": "CT"}}, "labels": {labels}, "file_ending": ".nii.gz"{twice}}}'
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"the key '(liver|labels)' stands there twice"):
        read_dataset_json(tmp_path)


@pytest.mark.parametrize("key", ["{}", "{:04d}", "{:02d}"])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 11])
def test_channels_are_counted_as_nnunet_does(key, first, count):
    names = [f"c{number}" for number in range(count)]
    numbered = {key.format(first + number): name for number, name in enumerate(names)}
    for name in ("channel_names", "modality"):
        assert declared_channels(json.loads(json.dumps({name: numbered})), "x") == tuple(names)


@pytest.mark.parametrize(
    "names", [{}, {"0": "a", "2": "b"}, {"2": "a"}, {"0": "a", "00": "b"}, {"T1": "a"}, ["a"], None]
)
def test_channels_that_are_not_numbered_are_refused(names):
    with pytest.raises(DataError, match="channel_names"):
        declared_channels({"channel_names": names}, "x")


@pytest.mark.parametrize("name", [{"name": "CT"}, ["CT"], None])
def test_a_channel_whose_name_is_no_text_is_refused(name):
    with pytest.raises(DataError, match="channel_names"):
        declared_channels({"channel_names": {"0": name}}, "x")
