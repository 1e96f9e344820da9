"""Names that label files give to their own values: they name the structures, or are refused where they contradict."""

import gzip
import itertools
import shlex
import shutil

import nibabel
import numpy as np
import pytest

from medseg.commands.data.check import check
from medseg.commands.data.plan import plan
from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.formats.named.caret import write_table
from medseg.io.formats.named.segment import Segment
from medseg.io.images import read_label

SHAPE = (4, 8, 8)


def save_segmentation(path, named):
    """Write a 3D Slicer segmentation of cubes; `named` is name -> value."""
    array = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(named.values()):
        array[1:3, 1:3, 1 + 2 * number : 3 + 2 * number] = value
    lines = ["NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior"]
    lines += [f"sizes: {' '.join(map(str, SHAPE[::-1]))}", "space directions: (1,0,0) (0,1,0) (0,0,1)"]
    lines += ["kinds: domain domain domain", "encoding: gzip", "space origin: (0,0,0)"]
    for number, (name, value) in enumerate(named.items()):
        lines += [f"Segment{number}_LabelValue:={value}", f"Segment{number}_Layer:=0", f"Segment{number}_Name:={name}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(array.tobytes()))


@pytest.fixture
def make(tmp_path, save_nifti):
    """Write paired folders of a scan and a segmentation for each table of names."""

    def write(tables):
        for number, named in enumerate(tables):
            save_nifti(tmp_path / f"set/images/p{number}.nii", np.random.default_rng(number).normal(0, 1, SHAPE))
            save_segmentation(tmp_path / f"set/labels/p{number}.seg.nrrd", named)
        return tmp_path / "set"

    return write


def test_names_that_agree_are_the_structures(make):
    data = find_data(make([{"liver": 1, "tumour": 2}, {"tumour": 2}, {"Liver": 1, "spleen": 5}]), DataOptions())
    assert data.labels.structures == {"liver": 1, "tumour": 2, "spleen": 5}
    assert "the headers of the label files name the structures: liver (1), tumour (2), spleen (5)" in data.problems


@pytest.mark.parametrize("order", [*itertools.permutations((1, 2, 3))][1:])
def test_names_with_several_values_are_read_by_name(make, order):
    names = ("liver", "tumour", "spleen")
    tables = [dict(zip(names, (1, 2, 3), strict=True)), dict(zip(names, order, strict=True))]
    data = find_data(make(tables), DataOptions())
    assert data.labels.structures == {"liver": 1, "spleen": 2, "tumour": 3}
    assert any("every name in the labels is a structure: liver (2 of 2)" in problem for problem in data.problems)
    for case in data.cases:
        array = read_label(case.label, data.reading).array[0]
        # the cubes lie in the order of the names, whatever their values
        assert [array[1, 1, 1 + 2 * number] for number in range(3)] == [1, 3, 2]
    # the way out for whoever knows that the names are wrong
    data = find_data(data.folder, DataOptions(structures=["a=1", "b=2", "c=3"]))
    assert data.labels.names == ("a", "b", "c")
    assert [read_label(data.cases[1].label, data.reading).array[0, 1, 1, 1 + 2 * number] for number in range(3)] == [
        *order
    ]


def test_evaluate_reads_names_with_several_values_by_name(make, tmp_path):
    references = make([{"liver": 1, "tumour": 2}, {"liver": 2, "tumour": 1}]) / "labels"
    for number in range(2):
        save_segmentation(tmp_path / f"answers/p{number}.seg.nrrd", {"liver": 5, "tumour": 3})
    result = evaluate(tmp_path / "answers", references)
    assert {name: scores.figures["dice"].mean for name, scores in result.summary.structures.items()} == {
        "liver": 1.0,
        "tumour": 1.0,
    }


def test_one_value_of_two_names_is_refused(make):
    with pytest.raises(DataError, match=r"liver is 1 in .*p0\.seg\.nrrd, and spleen is 1 in .*p1\.seg\.nrrd"):
        find_data(make([{"liver": 1}, {"spleen": 1}]), DataOptions())


def test_one_value_of_two_names_is_read_by_the_names_that_are_asked_for(make):
    folder = make([{"liver": 1}, {"spleen": 1}])
    data = find_data(folder, DataOptions(segments=["liver", "spleen"]))
    assert data.labels.structures == {"liver": 1, "spleen": 2}
    assert [int(read_label(case.label, data.reading).array.max()) for case in data.cases] == [1, 2]
    data = find_data(folder, DataOptions(segments=["liver=liver", "liver=spleen"]))
    assert [int(read_label(case.label, data.reading).array.max()) for case in data.cases] == [1, 1]


def test_names_that_are_not_the_declared_ones_are_told(make):
    folder = make([{"liver": 1}, {"liver": 1}])
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "spleen": 1}}')
    data = find_data(folder, DataOptions())
    assert data.labels.structures == {"spleen": 1}
    note = "declared are spleen (1); the headers of the label files say liver (1); what is declared counts"
    assert note in data.problems


def test_evaluate_names_its_structures_by_the_headers(make):
    labels = make([{"liver": 1, "tumour": 2}, {"liver": 1, "tumour": 2}]) / "labels"
    answers = shutil.copytree(labels, labels.with_name("answers"))
    result = evaluate(answers, labels)
    assert [*result.summary.structures] == ["liver", "tumour"]
    assert result.labels_from == "the names in the headers of the label files"


TABLE = {"spleen": 1, "kidney": 2, "liver": 5, "stomach": 6, "pancreas": 7}
"""As TotalSegmentator writes it, and as a mask keeps it that is made with the header of its answer."""


def save_named(path, values, named):
    """Write a NIfTI mask with a cube of each value, and a table of names in the header if there is one."""
    array = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(values):
        array[1:3, 1:3, 1 + 2 * number : 3 + 2 * number] = value
    image = nibabel.Nifti1Image(array.T, np.eye(4))
    if named:
        table = write_table([Segment(name, value) for name, value in named.items()])
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, table))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


@pytest.fixture
def make_nifti(tmp_path, save_nifti):
    """Write paired folders of a scan and a mask for each (values in it, names in its header)."""

    def write(masks):
        for number, (values, named) in enumerate(masks):
            save_nifti(tmp_path / f"set/images/p{number}.nii", np.random.default_rng(number).normal(0, 1, SHAPE))
            save_named(tmp_path / f"set/labels/p{number}.nii", values, named)
        return tmp_path / "set"

    return write


NO_TABLE = {}


@pytest.mark.parametrize(
    ("masks", "structures", "notes"),
    [
        pytest.param(
            [((1,), TABLE)] * 3,
            {"spleen": 1},
            ["name the structures: spleen (1)", "also name kidney (2), liver (5), stomach (6), pancreas (7), which no"],
            id="stale",
        ),
        pytest.param(
            [((1,), {"liver": 1})] * 2 + [((1, 2), NO_TABLE)] * 2,
            {"liver": 1, "label_2": 2},
            ["names 2 (in 2 label files): taken for label_2; --structures 'liver=1' --structures 'NAME=2' names all"],
            id="incomplete",
        ),
        pytest.param(
            [((1, 2), {"label_2": 1})] * 2,
            {"label_2": 1, "label_2_": 2},
            ["no header of the label files names 2 (in 2 label files): taken for label_2_"],
            id="the name of a value is that of another one",
        ),
        pytest.param(
            [((3,), TABLE)] * 2,
            None,
            ["name spleen (1), kidney (2), liver (5), stomach (6), pancreas (7), which no label file holds"],
            id="none of it",
        ),
        pytest.param(
            [((1, 2), {"liver": 1, "tumour": 2}), ((1,), {"Liver": 1})], {"liver": 1, "tumour": 2}, [], id="all"
        ),
    ],
)
def test_names_count_where_a_label_file_holds_their_values(make_nifti, tmp_path, masks, structures, notes):
    folder = make_nifti(masks)
    data = find_data(folder, DataOptions())
    assert (data.labels and data.labels.structures) == structures
    for note in notes:
        assert any(note in problem for problem in data.problems)
    checked = check(folder, tmp_path)
    assert (checked.usable, checked.errors) == (len(masks), [])
    made = plan(folder, tmp_path).plan.labels.structures
    assert made == (structures or {"foreground": 3})


def test_the_options_that_name_every_structure_work_as_they_are_printed(make_nifti):
    folder = make_nifti([((1,), {"liver": 1}), ((1, 2), NO_TABLE)])
    note = next(text for text in find_data(folder, DataOptions()).problems if "no header" in text)
    options = shlex.split(note[note.index("--structures") : note.index(" names all")])[1::2]
    assert find_data(folder, DataOptions(structures=options)).labels.structures == {"liver": 1, "NAME": 2}


def test_names_that_no_label_holds_are_none_where_files_are_read_by_name(make_nifti):
    data = find_data(make_nifti([((1,), TABLE), ((1, 2), {"kidney": 1, "spleen": 2})]), DataOptions())
    assert data.labels.structures == {"kidney": 1, "spleen": 2}
    assert [np.unique(read_label(case.label, data.reading).array).tolist() for case in data.cases] == [
        [0, 2],
        [0, 1, 2],
    ]
    note = "the headers of the label files also name liver, pancreas, stomach, which no label file holds: left out"
    assert note in data.problems


def test_names_of_values_that_are_ignored_or_no_background(make_nifti):
    folder = make_nifti([((1, 4), {"liver": 1, "unknown": 4})] * 2)
    labels = find_data(folder, DataOptions(ignore=4)).labels
    assert (labels.structures, labels.ignore) == ({"liver": 1}, 4)
    labels = find_data(folder, DataOptions(no_background=True)).labels
    assert (labels.structures, labels.background) == ({"label_0": 0, "liver": 1, "unknown": 4}, None)


def test_headers_that_contradict_each_other_are_refused_for_nifti(make_nifti):
    with pytest.raises(DataError, match="contradict each other"):
        find_data(make_nifti([((1,), {"liver": 1}), ((1,), {"spleen": 1})]), DataOptions())


def test_evaluate_takes_names_whose_values_occur(make_nifti, tmp_path):
    references = make_nifti([((1,), TABLE), ((1, 2), NO_TABLE), ((1, 3), NO_TABLE)]) / "labels"
    result = evaluate(shutil.copytree(references, tmp_path / "answers"), references)
    assert result.labels.structures == {"spleen": 1, "kidney": 2, "label_3": 3}
    assert result.failed == {}
    assert any("names 3 (in 2 label files): taken for label_3" in note for note in result.notes)


def test_evaluate_asks_no_headers_where_structures_are_declared(make_nifti, tmp_path):
    references = make_nifti([((1,), {"spleen": 1}), ((1,), {"liver": 1})]) / "labels"
    answers = shutil.copytree(references, tmp_path / "answers")
    note = "declared are liver (1); the headers of the label files say spleen (1); what is declared counts"
    result = evaluate(answers, references, Labels(structures={"liver": 1}))
    assert result.summary.structures["liver"].dice_mean == 1
    assert result.notes == (note,)
    (references.parent / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1}}')
    result = evaluate(answers, references.parent, options=EvaluateOptions(output=tmp_path / "scores"))
    assert (result.labels.structures, result.notes) == ({"liver": 1}, (note,))
    assert note in (tmp_path / "scores/report.html").read_text()
