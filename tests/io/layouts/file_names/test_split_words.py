"""Words for the parts of a split, in every spelling, and names that only look like them."""

import pytest

from medseg.io.layouts.file_names.split_words import PARTS, SET_WORDS, part_named
from medseg.io.layouts.split_folders import part_of_name


@pytest.mark.parametrize("word", PARTS)
def test_every_word_means_its_part_in_a_list_whatever_stands_beside_it(word: str) -> None:
    for name in (word, word.upper(), f"{word}_ids", f"{word} set", f"{word}2012", f"list-{word}"):
        assert part_named(name) == PARTS[word], name


@pytest.mark.parametrize("word", [word for word in PARTS if len(word) > len("val") - 1 and word != "dev"])
def test_every_word_means_its_part_in_a_folder(word: str) -> None:
    for beside in sorted(SET_WORDS):
        for name in (f"{word}{beside}", f"{word}_{beside}", f"{beside}-{word}", f"{word.title()}{beside.title()}"):
            assert part_of_name(name) == (PARTS[word], "both"), name


@pytest.mark.parametrize(
    "name", ["contrast", "testis", "latest", "device", "trains", "evaluation", "train_fold1", "train1", "stage1_train"]
)
def test_other_names_mean_no_part(name: str) -> None:
    assert part_named(name) is None
    assert part_of_name(name) is None


@pytest.mark.parametrize("name", ["tr", "ts", "dev", "data", "set", "images", "train_images_labels"])
def test_names_that_a_folder_may_have_for_anything_are_no_parts(name: str) -> None:
    assert part_of_name(name) is None
