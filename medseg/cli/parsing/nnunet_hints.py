"""What the options of nnU-Net's commands are called here, for those who type them out of habit."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import typer

from medseg.cli.parsing.signature import VerbCommand

_NNUNET_OPTIONS = {
    "-i": "SCANS and OUT come first, without -i and -o: medseg predict IN OUT",
    "-o": "SCANS and OUT come first, without -i and -o: medseg predict IN OUT",
    "-d": "name the model's folder: --model nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION",
    "-chk": "--checkpoint best",
    "-device": "--device cpu",
    "-step_size": "--set inference.step_fraction=0.5",
    "--disable_tta": "--no-mirror",
    "--continue_prediction": "--continue",
    "--save_probabilities": "--probabilities",
    "-npp": "leave it out: there are no worker processes",
    "-nps": "leave it out: there are no worker processes",
    "-num_parts": "--device cuda:0,cuda:1 shares the scans in one command",
}


class NNUNetHints(VerbCommand):
    """A verb that answers an option of nnU-Net with the way to say it here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the verb.

        Args:
            ctx: The context of click.
            args: What was typed after the verb.

        Returns:
            What click leaves unread.

        Raises:
            BadParameter: An option is nnU-Net's, or folds are separated by spaces, as nnU-Net has them.
        """
        for argument, following in zip(args, [*args[1:], ""], strict=True):
            if argument in _NNUNET_OPTIONS:
                raise typer.BadParameter(f"{argument} is nnU-Net's option; here: {_NNUNET_OPTIONS[argument]}", ctx)
            if argument in ("-f", "--folds") and "," not in following:
                folds = list(takewhile(str.isdigit, args[args.index(argument) + 1 :]))
                if len(folds) > 1:
                    raise typer.BadParameter(f"folds are joined by commas: {argument} {','.join(folds)}", ctx)
        return super().parse_args(ctx, args)
