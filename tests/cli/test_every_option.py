"""Every option of every verb is run once, to an answer or to the refusal that its value deserves.

The verbs and their options come from the tables of the command line: an option without a line here fails.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from judged_workspace import STEPS, write_judged_workspace
from small_sets import run, write_all

from medseg.cli.app import VERBS, verb_function
from medseg.cli.parsing.signature import fields_of_function, flat

_DATA = "--patient-pattern 'case_(.)' --exclude exclude.txt --structures ball=1 --map 7=0 --ignore 9"
_FLAT = "--images '*_flair.nii.gz' --labels '*_seg.nii.gz' --frame 0 --threshold 0.5 --resample-labels"
_PICTURES = "--colours 'cell=#ff0000' --colours 'nucleus=#00ff00'"
_STUDIES = "--series Modality=CT --segments 'tumour=GTV*' --segments lung --overlaps later --resample-tilt --allow-gaps"
_TINY = "--set configurations.3d_fullres.patch_voxels=[16,16,16] --set configurations.3d_fullres.batch_size=2"
_TINY += " --set configurations.3d_fullres.network.features=[4,8,8] --set training.validation_cases=1"
_MODEL = "--model balls --config 3d_fullres --folds 0 --channels '*.nii.gz' --mirror --set inference.tile_batch=1"
_MODEL += " --device cpu --workspace ."
_MAPS = "--probabilities --entropy --spread --overlay --palette --identify"
_OBJECTS = "--write seg,rtstruct,report --labelmap --generic-codes --series Modality=CT --resample-tilt --allow-gaps"
_DICOM = _OBJECTS.replace("seg", "nifti,seg,sheet")
_ABOUT = "--author A --license MIT --intended-use tests --limitations all --training-data balls --contact us"

LINES: dict[str, list[tuple[str, int]]] = {
    "check": [
        (f"check data {_DATA} --orientation stored --output c1 --annotated-from-values --strict --json", 0),
        (f"check flat {_FLAT} --workspace elsewhere", 0),
        (f"check pictures {_PICTURES}", 0),
        (f"check studies {_STUDIES}", 0),
        ("check data --cases table.csv", 0),
        ("check data --cluster local:none", 2),
        ("check data --boundaries", 0),
        ("check data --structures tissue=0 --structures ball=1 --no-background", 0),
    ],
    "series": [("series study --series Modality=CT --left-out --json", 0)],
    "info": [("info map.nii.gz data/imagesTr/case_0.nii.gz --json", 0), ("info map.nii.gz nothing.png --json", 1)],
    "labelme": [
        ("labelme drawn painted --labels drawn/labels.txt --order area --instances --json", 0),
        ("labelme drawn voc --voc", 0),
        ("labelme drawn as_coco --coco", 0),
    ],
    "plan": [
        (
            "plan data --name small --planner default --preset cpu --memory 2GB --config 3d_fullres --cascade "
            "--normalization MRI=zscore --splits grouped --orientation stored --set training.steps=1 "
            f"--codes ball=tumor --activation sigmoid --annotated-from-values --strict --json {_DATA}",
            0,
        ),
        ("plan data --name small --force --cases table.csv --validation 0.2", 0),
        ("plan data --name far --cluster slurm:none.yaml", 2),
        ("plan data --name parted --boundaries", 0),
        ("plan data --name scene --structures tissue=0 --structures ball=1 --no-background", 0),
        (f"plan flat {_FLAT} --workspace elsewhere", 0),
        (f"plan pictures {_PICTURES}", 0),
        ("plan pictures --name other --network attention_unet", 0),
        ("plan pictures --name third --network smp_unet --encoder resnet18 --weights none.pth", 2),
        (f"plan studies {_STUDIES}", 0),
    ],
    "networks": [
        ("networks plain_unet --plan balls --config 3d_fullres --workspace . --json", 0),
        ("networks --draw --plan balls --set configurations.3d_fullres.batch_size=1", 0),
        ("networks --draw nothing", 2),
    ],
    "train": [
        (
            "train --plan balls --fold 1 --config 3d_fullres --steps 1 --recipe nnunet --init balls/3d_fullres "
            "--download --set training.validation_cases=1 --log tensorboard --train-scores --device cpu --data data "
            "--workspace . --json",
            0,
        ),
        ("train --plan balls --fold 1 --resume", 0),
        ("train --plan balls --fold 1 --extend 2x", 0),
        ("train --plan balls --fold 2 --budget 0.001s", 2),
        ("train --plan balls --fold 2 --epochs 0", 2),
    ],
    "crossval": [
        (
            "crossval --plan balls --config 3d_fullres --folds 2 --steps 1 --init balls/3d_fullres --download "
            "--set training.validation_cases=1 --log tensorboard --train-scores --device cpu --data data --workspace . "
            "--json",
            0,
        ),
        ("crossval --plan balls --folds 2 --budget 1s", 0),
        ("crossval --plan balls --folds 3 --epochs 0", 2),
        ("crossval --plan balls --folds 3 --processes 0", 2),
        ("crossval --plan balls --folds 3 --recipe other", 2),
        ("crossval --plan balls --folds 3 --steps 1 --cluster tls://node", 2),
    ],
    "select": [
        (
            "select balls --config 3d_fullres --folds 0 --ensembles --postprocessing --position --data data "
            "--device cpu --workspace . --json",
            0,
        ),
        ("select balls --folds 0 --no-ensembles --no-postprocessing", 0),
        ("select balls --folds 7", 2),
    ],
    "quantize": [
        ("quantize balls --config 3d_fullres --folds 7 --any-processor --data data --workspace . --json", 2),
        ("quantize nothing", 2),
    ],
    "predict": [
        (f"predict data/imagesTr answers {_MODEL} {_MAPS} --instances --cases table.csv --json --no-page", 0),
        (f"predict data/imagesTr answers {_MODEL} {_MAPS} --instances --continue --page", 0),
        ("predict flat/p0_flair.nii.gz flat_answers -m balls -c 3d_fullres -f 0 --no-mirror --frame 1 --fast", 0),
        (f"predict study study_answers --model balls {_DICOM}", 0),
        ("predict study study_slicer --model balls --format seg.nrrd --xlsx", 0),
        ("predict study study_flat --model balls --format png", 2),
        ("predict study study_codes --model balls --codes ball=tumor --write seg", 0),
        ("predict data/imagesTr far --model balls --cluster local:", 2),
        ("predict data/imagesTr nnunet_answers --model nnunet --checkpoint final --selection", 0),
        ("predict flat/p0_flair.nii.gz unselected -m balls --frame 1 --no-selection", 0),
    ],
    "view": [
        (
            "view data/imagesTr/case_0.nii.gz data/labelsTr/case_0.nii.gz --reference data/labelsTr/case_0.nii.gz "
            "--output look.html --structures ball=1 "
            "--channel 0 --frame 0 --no-open --json",
            0,
        ),
    ],
    "rank": [
        (
            "rank judged/new ranked --model toy --channels '*.nii.gz' --frame 0 --mirror --fast --set "
            "inference.tile_batch=1 --series Modality=CT --resample-tilt --allow-gaps --device cpu "
            "--workspace judged --format nrrd --xlsx --json",
            0,
        ),
        ("rank judged/new again --model toy --workspace judged", 0),
        ("rank judged/new again --model toy --workspace judged --continue", 0),
        ("rank data/imagesTr ranked --model balls --no-mirror", 2),
    ],
    "watch": [
        (
            f"watch data/imagesTr watched {_MODEL} {_MAPS} --instances --json --once --settle 0.01s --patience 1s "
            "--again --format nrrd --xlsx",
            0,
        ),
        ("watch flat flat_watched -m balls -c 3d_fullres -f 0 --no-mirror --frame 1 --fast --once --settle 0.01s", 0),
        (f"watch inbox study_watched --model balls {_DICOM} --once --settle 0.01s", 0),
        ("watch inbox codes_watched --model balls --codes ball=tumor --once --settle 0.01s --page", 0),
        ("watch data/imagesTr nnunet_watched --model nnunet --checkpoint final --selection --once --settle 0.01s", 0),
        ("watch data/imagesTr unselected_watched --model balls --no-selection --no-page --once --settle 0.01s", 0),
    ],
    "evaluate": [
        (
            "evaluate masks data/labelsTr --tolerance ball=1 --lesions --instances --empty brats "
            "--compare second_masks --cases table.csv --by site --output scores --fail-below Dice=0.5 "
            "--map 7=0 --prediction-map 7=0 --json",
            0,
        ),
        (
            "evaluate data/labelsTr renamed --pair similar --allow-missing --no-surface --output pairs "
            "--fail-below foreground:Dice=1.1",
            3,
        ),
        (
            "evaluate soft soft_labels --threshold 0.5 --prediction-threshold 0.5 --resample-labels "
            "--patient-pattern 'p(.)' --surface --output soft_scores",
            0,
        ),
        ("evaluate masks data/labelsTr --cluster local:0", 2),
        ("evaluate masks data/labelsTr --compare second_masks --compare masks", 2),
        ("evaluate answered_studies studies --segments 'tumour=GTV*' --segments lung --overlaps later", 0),
    ],
    "dicom": [
        (f"dicom map.nii.gz study objects {_OBJECTS} --structures ball=1 --algorithm 'A 1' --json", 0),
        ("dicom map.nii.gz study by_hand --structures ball=1 --codes ball=tumor --manual", 0),
    ],
    "codes": [("codes kidney --output codes.csv --json", 0), ("codes nothing", 2)],
    "report": [("report balls --data data --workspace . --json", 0)],
    "package": [
        (
            "package balls balls.medseg --config 3d_fullres --folds 0 --card card.yaml --citation none "
            f"--workspace . {_ABOUT} --json",
            0,
        ),
        (f"package balls balls.medseg --force {_ABOUT}", 0),
        ("package nnunet nnunet.medseg --checkpoint final --selection", 0),
        ("package balls unselected.medseg --no-selection", 0),
    ],
    "export": [
        ("export balls balls.onnx --config 3d_fullres --folds 0 --workspace . --json", 0),
        ("export balls balls.onnx --folds 0 --force", 0),
        ("export nnunet nnunet.onnx --checkpoint final", 0),
        ("export balls balls_bundle --monai-bundle", 0),
    ],
    "import-nnunet": [
        ("import-nnunet nnunet --name theirs --checkpoint final --workspace . --json", 0),
        ("import-nnunet raw --name raw --dataset-json declared.json --data data", 0),
    ],
    "verify": [
        ("predict data/imagesTr/case_0.nii.gz checked --model balls", 0),
        ("verify checked --source data/imagesTr --model runs/balls/3d_fullres --json", 0),
        ("verify checked -m nnunet", 1),
    ],
    "doctor": [("doctor --quick --json", 0)],
    "demo": [("demo data --budget 1s --json", 2)],
}
"""Commands of each verb, in their order, with the exit code of each."""


def options_of(verb: str) -> set[str]:
    """Return every option of a verb; of one with several spellings, the first."""
    named = [field for field in flat(fields_of_function(verb_function(verb))) if not field.is_argument]
    return {"--json", *(flag for field in named for flag in field.flags[0].split("/"))}


def options_in(line: str) -> set[str]:
    return {word.split("=")[0] for word in shlex.split(line) if word.startswith("--")}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_line(verb: str) -> None:
    lines = [line for line, _ in LINES[verb] if line.startswith(f"{verb} ")]
    assert options_of(verb) - set().union(*map(options_in, lines)) == set()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data sets of every kind, and a model trained for one step on the first of them."""
    folder = tmp_path_factory.mktemp("workspace")
    write_all(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(f"plan data --name balls --preset cpu {_TINY}") == 0
        assert run("train --plan balls --steps 1") == 0
    return folder


@pytest.fixture(scope="module")
def judged(workspace: Path) -> None:
    """A workspace beside, with a selection that judges answers."""
    write_judged_workspace(workspace / "judged")
    assert run(f"crossval --workspace {workspace / 'judged'} --steps {STEPS}") == 0
    assert run(f"select --workspace {workspace / 'judged'}") == 0


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of(
    verb: str,
    workspace: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if verb == "rank":
        request.getfixturevalue("judged")
    monkeypatch.chdir(workspace)
    for line, expected in LINES[verb]:
        capsys.readouterr()
        exit_code, printed = run(line), capsys.readouterr()
        assert exit_code == expected, (line, printed.out, printed.err)
        assert "Traceback" not in printed.err
        if "--json" in line:
            records = [json.loads(record, parse_constant=_refuse) for record in printed.out.splitlines()]
            assert (records[-1]["kind"], records[-1]["exit_code"]) == ("result", expected)
    for path in workspace.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
