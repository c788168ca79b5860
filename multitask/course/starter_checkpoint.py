"""The checkpoints of the starter's code: pickles, of which only tensors and plain values are read.

The starter saves {"model": state_dict, "optim": ..., "args": argparse.Namespace, "model_config":
SimpleNamespace, "system_rng", "numpy_rng", "torch_rng"}. torch's own loader reads them with a list of the
classes that may stand in them; a pickle that names any other function or class is refused uncalled.
"""

import argparse
import pickle
import re
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minbert import InputError

BUFFERS = ("position_ids", "token_type_ids", "running_mean", "running_var", "num_batches_tracked")


def is_buffer(name: str) -> bool:
    """Returns True for names of tensors that no optimizer knows."""
    return name.rpartition(".")[2] in BUFFERS


@dataclass(frozen=True)
class StarterCheckpoint:
    """Tensors by their names in the student's model, and the plain values of `args` and `model_config`.

    `untrained` names the tensors that training gave no gradient, as far as the optimizer's state tells.
    """

    tensors: dict[str, Tensor]
    args: dict[str, Any]
    model_config: dict[str, Any]
    untrained: frozenset[str] = frozenset()

    def trained(self, prefix: str) -> bool:
        """Returns False if training gave no tensor with this prefix a gradient, as far as is known."""
        names = {name for name in self.tensors if name.startswith(prefix)}
        return not names - {name for name in names if is_buffer(name)} <= self.untrained


def _allowed() -> list:
    """Returns the classes of a starter's checkpoint besides tensors: namespaces, the array in NumPy's state.

    NumPy 2 renamed the module of the function that rebuilds an array; files have either name.
    """
    rebuild = np.ndarray.__reduce__(np.zeros(1))[0]
    return [
        argparse.Namespace,
        types.SimpleNamespace,
        np.ndarray,
        np.dtype,
        type(np.dtype(np.uint32)),
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
    ]


def read_starter_checkpoint(path: str | Path) -> StarterCheckpoint:
    """Reads a starter's .pt file, or one with its state_dict alone; nothing in it is run.

    Raises InputError for a file that is damaged, that names other classes, or that has no model.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; give the .pt file that the starter's code saved")
    try:
        with torch.serialization.safe_globals(_allowed()):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]}" if named else "it is not a pickle that torch reads"
        raise InputError(
            f"{path} is not a checkpoint of the starter's code, {reason}; nothing in it was run; save the "
            f"tensors alone: torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:  # a damaged pickle makes its reader raise anything
        reason = str(error).partition(". ")[0] or type(error).__name__
        raise InputError(f"{path} is damaged ({reason}); copy it again") from None
    if not isinstance(saved, dict):
        raise InputError(f"{path} holds a {type(saved).__name__}; a checkpoint of the starter's is a dict")
    tensors = saved.get("model", saved)
    if not isinstance(tensors, dict) or not any(isinstance(value, Tensor) for value in tensors.values()):
        raise InputError(f"{path} has no model; the starter saves its tensors under the key 'model'")
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    return StarterCheckpoint(
        tensors,
        _values(saved.get("args")),
        _values(saved.get("model_config")),
        _untrained(tensors, saved.get("optim")),
    )


def _untrained(tensors: dict[str, Tensor], optimizer: Any) -> frozenset[str]:
    """Returns the parameters of which the optimizer has no state: it begins with the first gradient.

    It knows them by their number in `model.parameters()`, the order of the tensors without buffers. Empty for
    several groups, whose order may be another, and where numbers or the shapes of the moments do not fit.
    """
    names = [name for name in tensors if not is_buffer(name)]
    try:
        [group] = optimizer["param_groups"]
        known = {
            names[number]: {tuple(value.shape) for value in state.values() if getattr(value, "ndim", 0)}
            for number, state in optimizer["state"].items()
        }
        fits = group["params"] == [*range(len(names))]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return frozenset()
    fits = fits and all(shapes <= {tuple(tensors[name].shape)} for name, shapes in known.items())
    return frozenset(names) - known.keys() if fits else frozenset()


def _values(space: Any) -> dict[str, Any]:
    """Returns the values of a namespace, or of a dict in its place."""
    values = getattr(space, "__dict__", space)
    return dict(values) if isinstance(values, dict) else {}
