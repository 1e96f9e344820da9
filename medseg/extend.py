"""Everything for extensions in one place: the five `register_*` calls, and the classes that an extension is made of.

A registered name is known to this Python process and goes into plans and records as a name: whoever trains, predicts or
evaluates with it registers it first. docs/development/extend.md has an example of each.
"""

from __future__ import annotations

from medseg.core.labels import Labels
from medseg.evaluation.extra_measures import MaskContext, MeasureFunction, register_measure
from medseg.evaluation.score import Measure
from medseg.io.formats.stack import Stack
from medseg.io.formats.table import Format
from medseg.io.formats.table import register as register_reader
from medseg.networks.table import NetworkFactory, register_network
from medseg.plans.schema import Configuration
from medseg.plans.sections.data import Intensity
from medseg.preprocessing.normalize import ChannelFunction, Scaling, Scheme, register_normalization
from medseg.training.losses.dice_ce import OverlapLoss
from medseg.training.losses.neighbours import NeighbourLoss
from medseg.training.losses.protocol import EVERYTHING, IGNORE_LABEL, PARTIAL, REGIONS, Loss, OneHotLoss, SummedLoss
from medseg.training.losses.table import register_loss

__all__ = [
    "EVERYTHING",
    "IGNORE_LABEL",
    "PARTIAL",
    "REGIONS",
    "ChannelFunction",
    "Configuration",
    "Format",
    "Intensity",
    "Labels",
    "Loss",
    "MaskContext",
    "Measure",
    "MeasureFunction",
    "NeighbourLoss",
    "NetworkFactory",
    "OneHotLoss",
    "OverlapLoss",
    "Scaling",
    "Scheme",
    "Stack",
    "SummedLoss",
    "register_loss",
    "register_measure",
    "register_network",
    "register_normalization",
    "register_reader",
]
