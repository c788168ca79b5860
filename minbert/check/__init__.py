"""The reference-output kit: any BERT, optimizer, LoRA or pooling compared with references, stage by stage.

The names that make further parts are public, see multitask/check/.
"""

from typing import TYPE_CHECKING

from minbert import attach_names

if TYPE_CHECKING:
    from minbert.check.fixtures import read_fixture as read_fixture
    from minbert.check.judge import distance as distance
    from minbert.check.stage import TOLERANCE as TOLERANCE
    from minbert.check.stage import AbsentFunction as AbsentFunction
    from minbert.check.stage import InvalidOutput as InvalidOutput
    from minbert.check.stage import MissingImplementation as MissingImplementation
    from minbert.check.stage import Mistake as Mistake
    from minbert.check.stage import Outputs as Outputs
    from minbert.check.stage import Part as Part
    from minbert.check.stage import Stage as Stage

__getattr__, __dir__, __all__ = attach_names(
    __name__,
    {
        "fixtures": ("read_fixture",),
        "judge": ("distance",),
        "stage": (
            "AbsentFunction",
            "InvalidOutput",
            "Mistake",
            "MissingImplementation",
            "Outputs",
            "Part",
            "Stage",
            "TOLERANCE",
        ),
    },
)
