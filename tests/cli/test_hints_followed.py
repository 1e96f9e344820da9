"""Each hint is followed as it was printed: what fails prints a command or an option, and with that it succeeds."""

from __future__ import annotations

import json
import re
import resource
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from small_sets import ball_at, run, save_nifti, scan_and_ball, write_all, write_data, write_pictures, write_study

import medseg
from medseg.cli.parsing.other_tools import OTHER_OPTIONS
from medseg.core.errors import Stopped
from medseg.core.progress import Progress

pytestmark = pytest.mark.slow

_TINY = "--set configurations.3d_fullres.patch_voxels=[16,16,16] --set configurations.3d_fullres.batch_size=2"
_TINY += " --set configurations.3d_fullres.network.features=[4,8,8] --set training.validation_cases=1"
_TRAIN = "train --plan balls --steps 1"
_SEG = "predict study {out} --model balls.medseg --write seg"
_ANSWERED = "predict data/imagesTr answered --model balls.medseg"
_VIEW = "view data/imagesTr/case_0.nii.gz --no-open"
_CONTOURS = "dicom studies/p0/rtstruct.dcm studies/p0 {out} --manual"
_LIVER = "dicom map.nii.gz study {out} --structures liver=1"

# what fails | the part of its output that is followed, in groups | the command that follows it; {0} is what failed,
# {1}, {2} the groups, and {out} a new folder
EVALUATE = [
    ("evaluate float data/labelsTr --output {out}", r"(--prediction-threshold \S+) takes", "{0} {1}"),
    ("evaluate masks float --output {out}", r"(--threshold \S+) takes", "{0} {1}"),
    ("evaluate blur data/labelsTr --output {out}", r"(--prediction-threshold \S+) takes", "{0} {1}"),
    ("evaluate blur masks --output {out}", r"(--prediction-threshold \S+) takes", "{0} {1}"),
    ("evaluate masks blur --output {out}", r"(--threshold \S+) takes", "{0} {1}"),
    ("evaluate sevens data/labelsTr --output {out}", r"(--prediction-map 7=1) reads it as ball", "{0} {1}"),
    ("evaluate sevens data/labelsTr --output {out}", r"(--prediction-map 7=0) as background", "{0} {1}"),
    ("evaluate sevens masks --output {out}", r"references: (--prediction-map 7=1) ", "{0} {1}"),
    ("evaluate twos corners --output {out}", r"(--prediction-map 2=7)", "{0} {1}"),
    ("evaluate shifted data/labelsTr --output {out}", r"(--resample-labels) brings", "{0} {1}"),
    ("evaluate data/labelsTr exchanged", r"`medseg (evaluate exchanged data/labelsTr)`", "{1}"),
    ("evaluate data/labelsTr exchanged", r"(--output) FOLDER", "{0} {1} {out}"),
    ("evaluate masks renamed --output {out}", r"(--pair similar) pairs", "{0} {1}"),
    ("evaluate answered_studies studies --output {out}", r"(--overlaps regions) ", "{0} {1}"),
    (
        "evaluate answered_studies studies --output {out}",
        r"(--overlaps later) .* (--segments)",
        "{0} {1} {2} GTV-1 {2} lung",
    ),
    ("evaluate masks data/labelsTr --by site --output {out}", r"(--cases table.csv)", "{0} {1}"),
    ("evaluate masks data --tolerance 3", r"--tolerance (liver=3)", "evaluate masks data --tolerance ball=3"),
    ("evaluate numbered/x data --output {out}", r"be called (instances)", "evaluate numbered/{1} data --output {out}"),
    ("evaluate masks data --fail-below x", r"Write (Dice=0.8)", "evaluate masks data --fail-below {1}"),
    ("evaluate masks data/labelsTr --cluster 1 --output {out}", r"Write (local:)4", "{0} --cluster {1}1"),
    ("evaluate masks data --map x", r"Example: (--map 3=0)", "evaluate masks data {1}"),
]
DATA = [
    ("check stray --json", r"(--map 7=0) reads", "{0} {1}"),
    ("check stray --json", r"(--structures ball=1 --structures NAME=7) declares", "{0} {1}"),
    ("check soft_set --json", r"(--threshold \S+) takes", "{0} {1}"),
    ("check moved --json", r"(--resample-labels) brings", "{0} {1}"),
    ("check times --json", r"(--frame), (0) to 1", "{0} {1} {2}"),
    ("check studies --json", r"(--overlaps regions) ", "{0} {1}"),
    ("check pictures", r"(--colours '[^']+' --colours '[^']+') names them", "{0} {1}"),
    ("plan studies --name s1 --strict", r"`(medseg check studies)`", "{1} --overlaps regions"),
    ("plan data --name balls", r"(--force) to replace", "{0} {1}"),
    ("plan data --name x1 --memory lots", r"(--memory 24GB)", "plan data --name x1 {1}"),
    ("plan four --name four --splits nnunet", r"Leave (--splits) out", "plan four --name four"),
    ("plan data --name x2 --set foo", r"(--set training.learning_rate=0.003)", "plan data --name x2 {1}"),
    ("check data --map x", r"Example: (--map 3=0)", "check data {1}"),
    ("check data --structures x", r"(--structures) liver=1", "check data {1} ball=1"),
    ("plan nowhere --name x3", r"Expected the folder of a data set", "plan data --name x3"),
    (
        "labelme drawn {out} --labels exclude.txt",
        r"Add them to the list",
        "labelme drawn {out} --labels drawn/labels.txt",
    ),
    ("check grouped --json", r"(--patient-pattern '[^']+'):", "plan grouped --name grouped --preset cpu {1}"),
    ("check masks_of_one --json", r"(--exclude) IDS.txt", "{0} {1} first.txt"),
    (
        "check masks_of_one --json",
        r"Keep one of them",
        "check masks_of_one --images 'images/*.png' --labels 'masks/*_mask.png'",
    ),
    ("check nameless", r"Name it: (--labels) NAME", "{0} {1} b"),
    ("check nameless --labels x", r"Choose among these, .*: (--labels) ", "check nameless {1} b"),
    ("check two_labels", r"Choose one: (--labels) mask", "{0} {1} seg --images mask"),
    ("check two_labels --labels seg", r"Name the images: (--images) NAME", "{0} {1} mask"),
    (
        "check turned --orientation stored",
        r"Plan with (--orientation canonical)",
        "plan turned --name turned --preset cpu {1}",
    ),
    ("plan data --name x4 --validation 2", r"(--validation) is .* such as (0.2)", "plan data --name x4 {1} {2}"),
    ("plan data --name x5 --normalization CT", r"(--normalization) \w+=zscore", "plan data --name x5 {1} MRI=zscore"),
    ("labelme drawn {out} --voc --coco", r"(--voc) and --coco are two", "labelme drawn {out} {1}"),
    (f"{_VIEW} --channel 9 --output {{out}}.html", r"Leave (--channel) out", f"{_VIEW} --output {{out}}.html"),
    (f"{_VIEW} --output data/imagesTr/case_0.nii.gz", r"Name another (--output)", f"{_VIEW} {{1}} {{out}}.html"),
    ("series study --series 9", r"no series of DICOM images that 9 fits", "series study"),
]
TRAIN = [
    (_TRAIN, r"(--extend 2x) trains it further", "train --plan balls {1}"),
    ("train --plan balls --fold 1 --resume", r"Leave (--resume) out", f"{_TRAIN} --fold 1"),
    ("train --plan balls --fold 2 --extend 2x", r"Leave (--extend) out", f"{_TRAIN} --fold 2"),
    ("train --fold 3 --steps 1", r"Choose one: (--plan) \S+", "{0} {1} balls"),
    ("train --plan balls --extend 2x --steps 3", r"Give one of them", "train --plan balls --extend 1"),
    ("train --plan balls --resume --steps 3", r"(--extend) trains a finished run", "train --plan balls {1} 1"),
    (
        "train --plan balls --resume --set training.precision=fp32",
        r"With (--extend 2x) in place of --resume",
        "train --plan balls {1} --set training.precision=fp32",
    ),
    ("train --plan balls --resume", r"(--extend 2x) trains it further", "train --plan balls {1}"),
    ("train --plan balls --fold 4 --steps 1 --device tpu", r"Leave (--device) out", f"{_TRAIN} --fold 4"),
    (
        "train --plan balls --fold all --steps 1 --recipe other",
        r"only recipe is (nnunet)",
        f"{_TRAIN} --fold all --recipe {{1}}",
    ),
    ("train --plan lost --steps 1", r"(--data) FOLDER", "{0} {1} data"),
    (
        "train --plan balls --config 2d --fold 0 --steps 30 --set training.learning_rate=1e8",
        r"lower rate: `medseg (train [^`]*--resume --set training.learning_rate)=1e\+07`",
        "{1}=0.001",
    ),
    (
        "crossval --plan balls --config 2d --folds 1 --steps 1 --set configurations.2d.batch_size=1 --processes 2",
        r"medseg crossval (--processes 1)\)",
        "{0} {1}",
    ),
    ("report", r"wrong results\): (\S+)", "{0} {1}"),
    ("train --plan nothing", r"`(medseg plan) DATASET`", "{1} data --name nothing"),
]
LACKING = """format: medseg selection
schema_version: 1
plan: lacking
medseg: a test
made: now
members: [{configuration: 3d_fullres, folds: ['0', '4']}]
"""
SELECT = [
    (
        "select balls --config 2d --folds 3",
        r"`(medseg crossval --plan balls --config 2d --folds 3)` trains what",
        "{1} --steps 1",
    ),
    ("predict data/imagesTr {out} --model spoiled", r"(--no-selection) leaves it out", "{0} {1}"),
    ("predict data/imagesTr {out} --model lacking", r"(--no-selection) leaves it out", "{0} {1}"),
    ("predict data/imagesTr {out} --model lacking", r"`(medseg select lacking)` selects again", "{1} --data data"),
    ("select lacking --config 3d_fullres/", r"stand there: (--config 3d_fullres)", "select lacking {1} --data data"),
    ("select lacking --folds all", r"(--folds 0) names folds", "select lacking {1} --data data"),
]
PREDICT = [
    ("predict data/imagesTr {out}", r"wrong results\): (--model \S+)", "{0} {1}"),
    (
        "predict data/imagesTr {out} --model balls.medseg --checkpoint best",
        r"only for models of nnU-Net",
        "predict data/imagesTr {out} --model nnunet --checkpoint final",
    ),
    (
        "predict data/imagesTr {out} --model balls.medseg --spread --no-mirror",
        r"Add (--mirror)",
        "predict data/imagesTr {out} --model balls.medseg --spread {1}",
    ),
    (
        "predict data/imagesTr {out} --model balls.medseg --write seg",
        r"Leave it out",
        "predict data/imagesTr {out} --model balls.medseg",
    ),
    (
        "predict data/imagesTr {out} --model balls.medseg --format word",
        r"(--format) is 'word'; valid are (\w+)",
        "predict data/imagesTr {out} --model balls.medseg {1} {2}",
    ),
    (_SEG, r"(--codes '\S+') takes", "{0} {1}"),
    (_SEG, r"(--generic-codes) writes", "{0} {1}"),
    (_SEG, r"(--write nifti) leaves", "predict study {out} --model balls.medseg {1}"),
    ("predict flat/p0_flair.nii.gz {out} --model balls.medseg", r"(--frame), 0 to (1)", "{0} {1} {2}"),
    ("predict two_series {out} --model balls.medseg", r"number, its key or .*?: (--series \w+)", "{0} {1}"),
    (
        "predict two_series {out} --model balls.medseg --series 9",
        r"a (number) or key",
        "predict two_series {out} --model balls.medseg --series 4",
    ),
    (
        "predict unmeasured {out} --model balls.medseg",
        r"(--set inference.spacing=)\[Z,Y,X\]",
        "{0} {1}[1,1,1]",
    ),
    ("predict data/imagesTr answered --model balls.medseg --continue", r"Leave (--continue) out", _ANSWERED),
    ("predict gap {out} --model balls.medseg", r"(--allow-gaps) resamples", "{0} {1}"),
    ("package balls/3d_fullres", r"Missing argument", "package balls/3d_fullres {out}.medseg --folds 0"),
    ("package balls/3d_fullres balls.medseg --folds 0", r"replace it with (--force)", "{0} {1}"),
    ("import-nnunet nnunet", r"(--name) NAME", "{0} {1} again"),
    ("import-nnunet raw", r"(--dataset-json) FILE", "{0} {1} declared.json --name third"),
    ("import-nnunet raw --dataset-json declared.json", r"(--name) NAME", "{0} {1} again"),
    ("verify flat", r"medseg (predict), train", "verify runs/balls/3d_fullres"),
]
DICOM = [
    ("dicom map.nii.gz study {out} --manual", r"(--structures) liver=1", "{0} {1} ball=1 --generic-codes"),
    ("dicom map.nii.gz study {out} --structures ball=1 --manual", r"(--codes '\S+') takes", "{0} {1}"),
    ("dicom map.nii.gz study {out} --structures ball=1 --manual", r"(--generic-codes) writes", "{0} {1}"),
    ("dicom map.nii.gz study {out} --structures ball=1 --manual", r"`medseg (codes)` prints", "{1}"),
    ("dicom map.nii.gz study {out} --structures ball=1 --manual", r"`medseg (codes kidney)` what", "{1}"),
    ("codes kindey", r"Did you mean (\w+)", "codes {1}"),
    ("codes nothing", r"`medseg (codes)` lists", "{1}"),
    (f"{_LIVER} --manual --algorithm A", r"(--manual) and --algorithm cannot", f"{_LIVER} {{1}}"),
    (f"{_LIVER} --manual --write nifti", r"(--write) with (seg)", f"{_LIVER} --manual {{1}} {{2}}"),
    (_LIVER, r"(--algorithm 'NAME VERSION') names", "{0} {1}"),
    (_LIVER, r"(--manual) says", "{0} {1}"),
    (f"{_LIVER} --algorithm ' '", r"(--algorithm 'NAME VERSION') names", f"{_LIVER} {{1}}"),
    (f"{_CONTOURS} --structures liver=1", r"the file: (--structures GTV-1=1)", f"{_CONTOURS} {{1}} --generic-codes"),
    (f"{_LIVER} --manual".replace("map", "of_another/map"), r"(--series \w{10})", "{0} {1}"),
    (_LIVER.replace("1", "2") + " --manual", r"(--structures) NAME=VALUE", f"{_LIVER} --manual"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data sets of every kind, some with a fault, trained models, plans and selections."""
    folder = tmp_path_factory.mktemp("hints")
    write_all(folder)
    for name in ("stray", "soft_set", "moved", "times"):
        write_data(folder / name)
    write_data(folder / "four", cases=4)
    shifted = np.eye(4)
    shifted[:3, 3] = 0.25
    for number in range(5):
        name, (scan, ball) = f"case_{number}.nii.gz", scan_and_ball(number)
        blur = np.clip(255 - 22 * np.sqrt(ball_at(8, 10 + number, 12)), 0, 255).astype(np.uint8)
        corner = ball.copy()
        corner[:3, :3, :3] = 7
        save_nifti(folder / "sevens" / name, ball * np.uint8(7))
        save_nifti(folder / "float" / name, ball * np.float32(0.75))
        save_nifti(folder / "blur" / name, blur)
        save_nifti(folder / "shifted" / name, ball, shifted)
        for kind in ("x", "instances"):  # a number for each slice of the ball
            save_nifti(folder / "numbered" / kind / name, ball * np.arange(1, 25, dtype=np.uint8))
        save_nifti(folder / "stray" / "labelsTr" / name, corner)
        save_nifti(folder / "corners" / name, corner)
        save_nifti(folder / "twos" / name, np.where(corner == 7, 2, corner).astype(np.uint8))
        save_nifti(folder / "soft_set" / "labelsTr" / name, blur)
        save_nifti(folder / "moved" / "labelsTr" / name, ball, shifted)
        save_nifti(folder / "times" / "imagesTr" / name, np.stack([scan, scan], axis=-1))
        for layout, names in (("nameless", ("a", "b")), ("two_labels", ("seg", "mask"))):
            for file, array in zip(names, (scan if layout == "nameless" else ball, ball), strict=True):
                save_nifti(folder / layout / f"p{number}" / f"{file}.nii.gz", array)
    write_data(folder / "turned")
    for path in sorted((folder / "turned").rglob("case_4.nii.gz")):
        stored = nib.load(path)
        axes = nib.orientations.axcodes2ornt("PSR")
        nib.save(stored.as_reoriented(axes), path)
    write_data(folder / "grouped", cases=24)
    for path in sorted((folder / "grouped").rglob("case_*.nii.gz")):
        number = int(path.name[5:-7])
        path.rename(path.with_name(f"P{number // 3:02d}-slice-{number % 3}.nii.gz"))
    declared = json.loads((folder / "grouped" / "dataset.json").read_text())
    del declared["training"]
    (folder / "grouped" / "dataset.json").write_text(json.dumps(declared))
    write_pictures(folder / "masks_of_one")
    for path in sorted((folder / "masks_of_one" / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    shutil.copy(folder / "masks_of_one/masks/cell0_mask.png", folder / "masks_of_one/masks/cell0_mask_1.png")
    (folder / "first.txt").write_text("cell0\n")
    (folder / "unmeasured").mkdir()
    tifffile.imwrite(folder / "unmeasured" / "a.tif", scan_and_ball(0)[0])
    (folder / "answered").mkdir()
    (folder / "answered" / "predict.jsonl").write_text('{"model": "another"}\n')  # what made the answers
    (folder / "of_another").mkdir()
    shutil.copy(folder / "map.nii.gz", folder / "of_another")
    entry = {"case": "map", "scan": [], "files": {"map.nii.gz": ""}, "series": ["0123456789"]}
    (folder / "of_another" / "predict.jsonl").write_text(json.dumps(entry))
    shutil.copytree(folder / "data/labelsTr", folder / "exchanged")
    (folder / "exchanged" / "predict.jsonl").touch()  # as beside answers
    write_study(folder / "gap", "gap", move=lambda k: (0.0, 0.0, 3.0 * k + (3.0 if k > 3 else 0.0)))
    for number in (4, 5):
        write_study(folder / "two_series" / str(number), "two", SeriesInstanceUID=f"1.2.{number}", SeriesNumber=number)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(f"plan data --name balls --preset cpu {_TINY}") == 0
        assert run(_TRAIN) == 0
        assert run("import-nnunet nnunet") == 0
        assert run("import-nnunet raw --dataset-json declared.json --data data") == 0
        assert run("package balls balls.medseg") == 0
        assert run(f"plan data --name lacking --preset cpu {_TINY}") == 0
    for name, text in (("spoiled", "members: ["), ("lacking", LACKING)):
        shutil.copytree(folder / "runs/balls", folder / "runs" / name)
        (folder / "runs" / name / "selection.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree("data", "away")
        assert run("plan away --name lost --preset cpu " + _TINY) == 0
        shutil.rmtree("away")
    return folder


@pytest.mark.parametrize(("line", "pattern", "follow"), [*EVALUATE, *DATA, *TRAIN, *SELECT, *PREDICT, *DICOM])
def test_a_hint_is_followed_to_success(
    line: str,
    pattern: str,
    follow: str,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workspace)
    failing = line.format(out=tmp_path / "first")
    run(failing)
    output = " ".join("".join(capsys.readouterr()).split())
    hint = re.search(pattern, output)
    assert hint, (failing, output)
    command = follow.format(line.format(out=tmp_path / "second"), *hint.groups(), out=tmp_path / "second")
    names = iter(("first", "second"))
    command = re.sub(r"\bNAME=", lambda _: f"{next(names)}=", command.removeprefix("medseg "))
    assert run(command) == 0, (command, capsys.readouterr())


def test_the_hint_of_an_interrupted_run_continues_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace)

    def stop(event: Progress) -> None:
        if event.stage == "train" and "loss" in event.info:
            raise KeyboardInterrupt

    options = medseg.TrainOptions(fold="2", configuration="2d", steps=3, device="cpu")
    with pytest.raises((Stopped, KeyboardInterrupt)) as caught:
        medseg.train("balls", ".", options, stop)
    said = [str(caught.value)] if isinstance(caught.value, Stopped) else []
    for line in ("train --plan balls --fold 2 --config 2d", "train --plan balls --fold 2 --config 2d --extend 2x"):
        capsys.readouterr()
        assert run(line) == 2
        said.append(" ".join(capsys.readouterr().err.split()))
    commands = {re.findall(r"`(medseg train .*?)` continues it", text)[0] for text in said}
    assert commands == {"medseg train --plan balls --fold 2 --config 2d --resume"}
    assert run(commands.pop().removeprefix("medseg ")) == 0
    record = json.loads((workspace / "runs/balls/2d/fold_2/run.json").read_text())
    assert record["finished"]


def test_the_hint_of_a_full_disk_leads_to_a_trained_run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing can be written the command is given again, and also where only the checkpoint is too large."""
    monkeypatch.chdir(workspace)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for fold, most_bytes in ((1, 1_000), (3, 40_000)):
        line = f"train --plan balls --config 2d --fold {fold} --steps 2"
        shutil.rmtree(f"runs/balls/2d/fold_{fold}", ignore_errors=True)  # of other tests
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))  # files may not grow beyond it
            assert run(line) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        output = " ".join(capsys.readouterr().err.split())
        assert "Free some space" in output, output
        command = re.search(r"`medseg (train .*? --resume)`", output)
        assert run(command[1] if command else line) == 0, (output, capsys.readouterr())


def test_the_hint_of_memory_that_runs_out_leads_to_a_trained_run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)

    def fail(event: Progress) -> None:
        if event.stage == "train" and not event.info:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    options = medseg.TrainOptions(fold="4", configuration="2d", steps=2, device="cpu")
    with pytest.raises(medseg.MedsegError) as caught:
        medseg.train("balls", ".", options, fail)
    hint = caught.value.hint or ""
    command = re.match(r"`medseg (train .*? --resume)` takes --set .* as in (--set \S+),", hint)
    assert command, hint
    assert run(f"{command[1]} {command[2]}") == 0


def test_the_hints_of_watch_lead_to_an_answer(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace)
    inbox, answers = tmp_path / "inbox", tmp_path / "answers"
    inbox.mkdir()
    shutil.copy("data/imagesTr/case_0.nii.gz", inbox / "scan.nii.gz")
    line = f"watch {inbox} {answers} --model balls.medseg --once --settle 0.01s"
    (answers / "scan").mkdir(parents=True)
    assert run(line) == 1
    assert "Move it away and start the watch with --again" in " ".join("".join(capsys.readouterr()).split())
    (answers / "scan").rename(tmp_path / "moved")
    assert run(f"{line} --again") == 0
    shutil.copy("data/imagesTr/case_1.nii.gz", inbox / "scan.nii.gz")
    before = (answers / "scan" / "volumes.csv").read_text()
    run(line)
    assert "(--again replaces it)" in " ".join("".join(capsys.readouterr()).split())
    assert (answers / "scan" / "volumes.csv").read_text() == before
    assert run(f"{line} --again") == 0
    manifest = json.loads((answers / "scan" / "manifest.json").read_text())
    assert "scan.nii.gz" in json.dumps(manifest)


@pytest.mark.parametrize("option", OTHER_OPTIONS["predict"])
def test_what_an_option_of_another_tool_is_called_here_is_accepted(
    option: str,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workspace)
    line = f"predict data/imagesTr/case_0.nii.gz {tmp_path} --model nnunet"
    assert run(f"{line} {option} 1") == 2
    output = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().err).split())
    assert "here: " in output, output
    here = re.findall(r"--[a-z-]+(?: [a-z_]+(?:[.][a-z_]+=[\d.]+)?)?", output.partition("here: ")[2])
    # what there is in this test
    choice = {"-chk": "--checkpoint final", "-num_parts": "--device cpu", "-d": ""}
    choice |= dict.fromkeys(("-part_id", "--gpu", "-gpu"), "--device cpu")
    choice |= dict.fromkeys(("-ta", "--task", "-v", "-q", "--verbose", "--quiet", "--verbose_progress"), "")
    assert run(f"{line} {choice.get(option, ' '.join(here))}") == 0, (output, capsys.readouterr())
