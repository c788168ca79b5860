"""The reference-output kit: any BERT, optimizer, LoRA or pooling compared with references, stage by stage.

The names that make further parts are public, see multitask/check/.
"""

from minbert.first_use import names_on_first_use

_HOME = {
    "InvalidOutput": "stage",
    "Mistake": "stage",
    "MissingImplementation": "stage",
    "Outputs": "stage",
    "Part": "stage",
    "Stage": "stage",
    "TOLERANCE": "stage",
    "add_limit_options": "command",
    "distance": "judge",
    "read_fixture": "fixtures",
    "run_checks": "command",
}
__all__ = list(_HOME)
__getattr__ = names_on_first_use(__name__, _HOME)
