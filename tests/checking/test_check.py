"""The check on real cases that were damaged on purpose: each is named, and nothing else is."""

import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from damage import pictures, sets

from medseg.checking.check import check_set, refuse_findings, warnings_in_short
from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases
from medseg.planning.findings import Finding
from medseg.planning.survey import survey

CLEAN, CLEAN_PICTURES = 30, 32
OF_THE_SET = {"no label file", "no image file", "in the test set", "name in the test set"}


def findings_by_case(folder):
    data = find_cases(folder)
    by_case = defaultdict(list)
    for one in check_set(data, survey(data, "canonical"), "canonical"):
        by_case[one.case].append(one)
    return by_case


@pytest.fixture(scope="module")
def hippocampus(data_dir, tmp_path_factory):
    """Findings by case of a set with every kind of damage, the damaged case of each kind, and the folder."""
    source, folder = data_dir / "hippocampus", tmp_path_factory.mktemp("damaged")
    # cases of one scanner: those scaled by 1000 are rightly named in a set as small as this
    names = [path.name[:-7] for path in sorted((source / "labelsTr").glob("*.gz"))]
    names = [name for name in names if 2 < np.log10(sets.brightest(source / f"imagesTr/{name}.nii.gz")) < 4]
    damaged = sets.build(folder, source, names[: CLEAN + len(sets.DAMAGE)], [*sets.DAMAGE])
    return findings_by_case(folder), damaged, folder


@pytest.mark.real
@pytest.mark.parametrize("kind", sets.DAMAGE)
def test_each_damage_is_named_with_its_file_and_a_remedy(hippocampus, kind):
    found, damaged, folder = hippocampus
    id, expected = damaged[kind], sets.DAMAGE[kind][0]
    named = [finding for finding in found[id] if finding.kind == expected]
    assert named, f"{kind} in {id}: {[finding.kind for finding in found[id]]}"
    finding = named[0]
    assert finding.message
    assert finding.remedy
    assert finding.file is not None
    assert finding.file.is_relative_to(folder)
    if kind not in OF_THE_SET:
        assert id in finding.file.name


@pytest.mark.real
def test_the_clean_cases_are_not_named(hippocampus):
    found, damaged, _ = hippocampus
    assert not found.keys() - set(damaged.values())


@pytest.mark.real
def test_how_grids_differ_is_said(hippocampus):
    found, damaged, _ = hippocampus
    messages = {kind: found[damaged[kind]][0].message for kind in damaged}
    assert "shapes (z, y, x)" in messages["cropped label"]
    assert "shifted by 3 mm to the right" in messages["moved label"]
    assert "turned by 5.73 degrees" in messages["turned label"]
    assert "mirrored: its x runs the other way" in messages["mirrored label"]
    assert "a spacing (z, y, x) of 2 x 1 x 1 instead of 1 x 1 x 1 mm" in messages["stretched label"]


@pytest.mark.real
def test_damaged_pictures_are_named(data_dir, tmp_path):
    source = data_dir / "nuclei"
    images = sorted((source / "images").glob("*.png"))
    # in so small a set the other kinds are rightly named
    names = [path.stem for path in images if pictures.is_dark(path)]
    damaged = pictures.build(tmp_path, source, names[: CLEAN_PICTURES + len(pictures.DAMAGE)], [*pictures.DAMAGE])
    found = findings_by_case(tmp_path)
    for kind, id in damaged.items():
        assert pictures.DAMAGE[kind][0] in [finding.kind for finding in found[id]], kind
    assert not found.keys() - set(damaged.values())


@pytest.mark.real
def test_damaged_channels_are_named(data_dir, tmp_path):
    source = data_dir / "hippocampus"
    names = [path.name[:-7] for path in sorted((source / "labelsTr").glob("*.gz"))][:12]
    sets.build(tmp_path, source, names)
    for id in names:
        shutil.copyfile(tmp_path / f"imagesTr/{id}_0000.nii.gz", tmp_path / f"imagesTr/{id}_0001.nii.gz")
    sets.describe(tmp_path, ["T1", "T2"], len(names))
    second = [tmp_path / f"imagesTr/{id}_0001.nii.gz" for id in names]
    second[0].unlink()
    sets.edit(second[1], move=(0, 2, 0))
    sets.edit(second[2], values=0)
    found = {id: [one.kind for one in ones] for id, ones in findings_by_case(tmp_path).items()}
    assert found == {names[0]: ["missing channel"], names[1]: ["channel grid"], names[2]: ["empty channel"]}


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "kinds"),
    [("hippocampus", []), ("nuclei", []), ("membrane", []), ("cardiac2d", ["grouped names"]), ("brain_tumour", [])],
)
def test_the_public_sets_give_no_false_alarm(data_dir, name, kinds):
    found = findings_by_case(data_dir / name)
    assert [one.kind for ones in found.values() for one in ones] == kinds


def test_warnings_in_short_and_strictly():
    findings = [Finding("truncated", "a", "a.nii ends", ""), Finding("spacing", "b", "b.nii is odd", "")]
    assert warnings_in_short(findings[:1], Path("set")) == []
    (sentence,) = warnings_in_short([*findings, findings[1]], Path("set"))
    assert sentence == (
        "2 warnings, which keep their cases: spacings far from the rest (2). `medseg check set` shows more"
    )
    refuse_findings([], Path("set"))
    with pytest.raises(DataError, match=r"found 1 error and 1 warning, and --strict allows none(?s:.*)b.nii is odd"):
        refuse_findings(findings, Path("set"))
