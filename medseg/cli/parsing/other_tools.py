"""Translate commands and options of nnU-Net and TotalSegmentator to medseg's, for those who type them out of habit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import typer

from medseg.cli.parsing.signature import VerbCommand

_NNUNET, _TOTALSEGMENTATOR, _BOTH, _OTHERS = (
    "nnU-Net",
    "TotalSegmentator",
    "nnU-Net and TotalSegmentator",
    "other tools",
)
_IN_OUT = "SCANS and OUT come first, without -i and -o: medseg predict IN OUT"
_PROCESSES = "leave it out: processes and threads are chosen by the machine"
_DEVICES = {
    "--gpu": (_OTHERS, "--device cuda"),
    "-gpu": (_OTHERS, "--device cuda"),
    "--cpu": (_OTHERS, "--device cpu"),
    "-device": (_NNUNET, "--device cpu"),
}
_VERBOSE = dict.fromkeys(
    ("-v", "--verbose", "-q", "--quiet", "--verbose_progress"),
    (_BOTH, "leave it out: --json writes records for programs"),
)
_PREDICT = {
    **_DEVICES,
    **_VERBOSE,
    "-i": (_BOTH, _IN_OUT),
    "-o": (_BOTH, _IN_OUT),
    "-d": (_NNUNET, "name the model's folder: --model nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION"),
    "-chk": (_NNUNET, "--checkpoint best"),
    "-step_size": (_NNUNET, "--set inference.step_fraction=0.5"),
    "--disable_tta": (_NNUNET, "--no-mirror"),
    "--tta": (_OTHERS, "--mirror"),
    "--continue_prediction": (_NNUNET, "--continue"),
    "--save_probabilities": (_NNUNET, "--probabilities"),
    "-npp": (_NNUNET, "leave it out: there are no worker processes"),
    "-nps": (_NNUNET, "leave it out: there are no worker processes"),
    "-num_parts": (_NNUNET, "--device cuda:0,cuda:1 shares the scans in one command"),
    "-part_id": (_NNUNET, "--device cuda:0,cuda:1 shares the scans in one command"),
    **dict.fromkeys(("-ot", "--output_type"), (_TOTALSEGMENTATOR, "--format nifti")),
    **dict.fromkeys(("-ml", "--ml"), (_TOTALSEGMENTATOR, "leave it out: one label map holds all structures")),
    **dict.fromkeys(("-ta", "--task"), (_TOTALSEGMENTATOR, "a model is named by its folder or package: --model PATH")),
    **dict.fromkeys(("-rs", "--roi_subset"), (_TOTALSEGMENTATOR, "leave it out: all structures are in one label map")),
    **dict.fromkeys(("-s", "--statistics"), (_TOTALSEGMENTATOR, "leave it out: volumes.csv has the volumes")),
    **dict.fromkeys(("-p", "--preview"), (_TOTALSEGMENTATOR, "--overlay")),
    **dict.fromkeys(("-ff", "--fastest"), (_TOTALSEGMENTATOR, "--fast")),
    **dict.fromkeys(
        ("-fs", "--force_split", "-bs", "--body_seg"), (_TOTALSEGMENTATOR, "leave it out: memory is watched anyway")
    ),
    **dict.fromkeys(("-nr", "--nr_thr_resamp", "-ns", "--nr_thr_saving"), (_TOTALSEGMENTATOR, _PROCESSES)),
}
_TRAIN = {
    **_DEVICES,
    **_VERBOSE,
    "-d": (_NNUNET, "medseg plan DATASET makes a plan first; then --plan NAME"),
    "-i": (_OTHERS, "medseg plan DATASET makes a plan of a folder first; then --plan NAME"),
    "-p": (_NNUNET, "--plan NAME"),
    "-tr": (_NNUNET, "--recipe nnunet, or --set training.KEY=VALUE"),
    "--c": (_NNUNET, "--resume"),
    "--npz": (_NNUNET, "leave it out: medseg select predicts what it needs"),
    "--val": (_NNUNET, "leave it out: --resume does what a run still lacks"),
    "-num_gpus": (_NNUNET, "torchrun --nproc-per-node 2 -m medseg train"),
    **dict.fromkeys(("-pretrained_weights", "--pretrained_weights"), (_NNUNET, "--init MODEL")),
    "--disable_checkpointing": (_NNUNET, "leave it out"),
}

OTHER_OPTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "predict": _PREDICT,
    "watch": {option: here for option, here in _PREDICT.items() if option not in ("--continue_prediction",)},
    "train": _TRAIN,
    "crossval": {option: here for option, here in _TRAIN.items() if option not in ("--c", "--val", "-num_gpus")},
    "plan": {
        **_VERBOSE,
        "-d": (_NNUNET, "name the folder, not its number: medseg plan nnUNet_raw/Dataset003_Liver"),
        "-i": (_OTHERS, "name the folder: medseg plan DATASET"),
        "--verify_dataset_integrity": (_NNUNET, "--strict"),
        "-pl": (_NNUNET, "--planner resenc-l"),
        "-gpu_memory_target": (_NNUNET, "--memory 24GB"),
        "-overwrite_plans_name": (_NNUNET, "--name NAME"),
        "--clean": (_NNUNET, "--force"),
        **dict.fromkeys(("-np", "-npfp"), (_NNUNET, _PROCESSES)),
    },
    "evaluate": {
        "-o": (_NNUNET, "--output FOLDER"),
        "-djfile": (_NNUNET, "leave it out: labels.json beside the answers, or the data set's, names the structures"),
        "-pfile": (_NNUNET, "leave it out: nothing of a plan is needed"),
        "-np": (_NNUNET, _PROCESSES),
        "--chill": (_NNUNET, "--allow-missing"),
    },
}
"""Verb -> {option of another tool: (whose it is, how to say it here)}."""
OTHER_VERBS: Mapping[str, str] = {
    **dict.fromkeys(
        ("plan_and_preprocess", "plan_experiment", "extract_fingerprint"),
        "medseg plan FOLDER; medseg train preprocesses by itself",
    ),
    "preprocess": "leave it out: medseg train preprocesses by itself",
    **dict.fromkeys(("find_best_configuration", "determine_postprocessing"), "medseg select, after medseg crossval"),
    "ensemble": "medseg select tries configurations together; medseg predict answers as it chose",
    "apply_postprocessing": "leave it out: medseg predict applies what medseg select chose",
    **dict.fromkeys(("evaluate_folder", "evaluate_simple"), "medseg evaluate ANSWERS REFERENCES, in this order"),
    "accumulate_crossval_results": "leave it out: medseg crossval scores all folds together",
    "predict_from_modelfolder": "medseg predict SCANS OUT --model FOLDER",
    "export_model_to_zip": "medseg package MODEL FILE.medseg",
    "install_pretrained_model_from_zip": "medseg predict SCANS OUT --model FILE.zip, or medseg import-nnunet FILE.zip",
    "convert_MSD_dataset": "leave it out: medseg plan FOLDER reads such data as they are",
    **dict.fromkeys(("segment", "infer", "inference", "test"), "medseg predict SCANS OUT"),
    "cross_validate": "medseg crossval",
}
"""Command of another tool, of nnU-Net without `nnUNetv2_` -> what to type here."""


def explain_verb(typed: str) -> str | None:
    """Return what to type in place of another tool's command; None for a word that is none."""
    name = typed.removeprefix("nnUNetv2_")
    here = OTHER_VERBS.get(name)
    return None if here is None else f"No such command {typed!r}; here: {here}"


_DEVICE_KINDS = ("gpu", "cpu", "mps")


def _is_nnunet_train(args: list[str]) -> bool:
    """Return whether arguments begin with a data set, a configuration and a fold, as those of nnUNetv2_train."""
    begins = [*takewhile(lambda word: not word.startswith("-"), args)]
    return len(begins) == 3 and (begins[2].isdigit() or begins[2] == "all")


class OtherToolsHints(VerbCommand):
    """A command that, when an option of another tool is typed, names medseg's option for the same thing."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the verb.

        Args:
            ctx: The context of click.
            args: What was typed after the verb.

        Returns:
            What click leaves unread.

        Raises:
            BadParameter: An option is another tool's, or folds are separated by spaces, as nnU-Net has them.
        """
        options = OTHER_OPTIONS[self.name or ""]
        if self.name == "train" and _is_nnunet_train(args):
            here = f"--plan NAME --config {args[1]} --fold {args[2]}"
            ctx.fail(f"nnU-Net takes data set, configuration and fold by their place; here: {here}")
        for argument, following in zip(args, [*args[1:], ""], strict=False):
            if argument == "-d" and following.partition(":")[0] in _DEVICE_KINDS:
                device = following.replace("gpu", "cuda")
                raise typer.BadParameter(f"-d is an option of {_TOTALSEGMENTATOR}; here: --device {device}", ctx)
            if argument in options:
                tool, here = options[argument]
                raise typer.BadParameter(f"{argument} is an option of {tool}; here: {here}", ctx)
            if argument in ("-f", "--folds") and "," not in following:
                folds = list(takewhile(str.isdigit, args[args.index(argument) + 1 :]))
                if len(folds) > 1:
                    raise typer.BadParameter(f"folds are joined by commas: {argument} {','.join(folds)}", ctx)
        return super().parse_args(ctx, args)
