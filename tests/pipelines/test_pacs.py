"""A study comes from a PACS, is answered, and the answer goes back, with the programs of docs/dicom/pacs.md."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom.orthanc import AE_TITLE, Orthanc, dicomweb_plugin, program, running

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")

import highdicom as hd
import pydicom
from dicomweb_client import DICOMwebClient

from medseg.io.dicom.listing.find import find_series
from medseg.io.images import read_label

_PROGRAMS = ("storescu", "findscu", "getscu")


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc with DICOMweb, in a folder of its own."""
    if program() is None or dicomweb_plugin() is None:
        pytest.skip("there is no Orthanc with DICOMweb (Debian: orthanc, orthanc-dicomweb)")
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]} (Debian: dcmtk)")
    with running(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


def dcmtk(pacs: Orthanc, name: str, *arguments: object) -> None:
    """One of dcmtk's programs, in its association with the PACS."""
    command = [name, "-aec", AE_TITLE, "127.0.0.1", str(pacs.dicom_port), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def medseg(*arguments: object) -> list[dict]:
    """The command line; its records."""
    command = [sys.executable, "-m", "medseg", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def voxels(path: Path, series) -> np.ndarray:
    """(z, y, x) values of a SEG on the slices of its source, by highdicom."""
    uids = [slice_.sop_instance_uid for slice_ in series.slices]
    seg = hd.seg.segread(path)
    return seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True, combine_segments=True)


@pytest.mark.real
def test_a_study_makes_a_round_trip_through_a_pacs(
    pacs: Orthanc, data_dir: Path, hippocampus_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = data_dir / "hippocampus_dicom" / "mr_study1"
    patient = str(pydicom.dcmread(next(source.iterdir()), stop_before_pixels=True).PatientID)
    incoming, answers = tmp_path / "incoming", tmp_path / "answers"

    dcmtk(pacs, "storescu", "--scan-directories", source)
    (tmp_path / "found").mkdir()
    query = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"PatientID={patient}", "-k", "StudyInstanceUID")
    dcmtk(pacs, "findscu", "-S", *query, "-X", "-od", tmp_path / "found")
    (response,) = (tmp_path / "found").iterdir()
    study = str(pydicom.dcmread(response, force=True).StudyInstanceUID)
    (incoming / "study").mkdir(parents=True)
    wanted = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    dcmtk(pacs, "getscu", "-S", *wanted, "-od", incoming / "study")
    instances = list((incoming / "study").iterdir())
    assert len(instances) == len(list(source.iterdir()))

    records = medseg("watch", incoming, answers, "--model", hippocampus_model, "--once", "--settle", "0.3s")
    (first,) = [record for record in records if "study" in record]
    assert (first["study"], first["state"]) == ("study", "done")

    web = DICOMwebClient(f"{pacs.url}/dicom-web")
    sent = pydicom.dcmread(answers / "study" / "study.seg.dcm")
    assert not web.store_instances([sent]).get("FailedSOPSequence")
    back = web.retrieve_instance(study, sent.SeriesInstanceUID, sent.SOPInstanceUID)
    back.save_as(tmp_path / "back.dcm", enforce_file_format=True)

    (series,) = find_series(incoming / "study").series
    labels, returned = read_label(answers / "study" / "study.nii.gz").array[0], voxels(tmp_path / "back.dcm", series)
    np.testing.assert_array_equal(returned, labels)
    counts = [int((labels == value).sum()) for value in (1, 2)]
    assert min(counts) > 100, "there is something to compare"
    assert back == sent, "every element is what was written"

    listed = web.search_for_series(study_instance_uid=study)
    assert sorted(one["00080060"]["Value"][0] for one in listed) == ["MR", "SEG"]
    assert len(web.search_for_studies()) == 1, "the answer lies in the same study"
    with capsys.disabled():
        print(  # noqa: T201
            f"\nPACS test: Orthanc {pacs.version}: {len(instances)} instances sent, found and fetched; SEG of "
            f"{len(counts)} segments stored over DICOMweb, listed in the same study and fetched again; "
            f"{labels.size} voxels equal, {counts[0]} and {counts[1]} of them marked"
        )
