"""The course's own reference files as stages: sanity_check.data and optimizer_test.npy of CS224N.

Neither file comes with minBERT. The first needs bert-base-uncased's weights, too.
"""

import pickle
from functools import cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from minbert.check.stage import InvalidOutput, MissingImplementation, Outputs, Part, Stage
from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.weights.hub import find_folder

PART = "course files"
IDS = ((101, 7592, 2088, 102, 0, 0, 0, 0), (101, 7592, 15756, 2897, 2005, 17953, 2361, 102))
HIDDEN, POOLED = "last_hidden_state", "pooler_output"
MODEL_TOLERANCE = 1e-4  # twelve layers in fp32, on another machine
STEPS, SEED = 1000, 0


def course_model(data: str, weights: str) -> Part:
    """The part of sanity_check.data: a BERT with the weights of a folder, on the two sentences of the file.

    Raises InputError for a file of another layout, and for weights of another size.
    """
    folder, expected = find_folder(weights), read_sanity_data(Path(data))
    config = BertConfig.from_folder(folder)
    size = config.hidden_size
    if config.model_type != "bert":
        raise InputError(f"{folder} holds a {config.family.name}; give the weights of bert-base-uncased")
    if expected[HIDDEN].shape[2] != size:
        raise InputError(
            f"{data} holds states of size {expected[HIDDEN].shape[2]}, the model in {folder} has {size}; "
            f"give the weights of bert-base-uncased"
        )
    stages = (
        _model_stage("sanity check: last hidden state", HIDDEN, expected),
        _model_stage("sanity check: pooler output", POOLED, expected, ("sanity check: last hidden state",)),
    )
    return Part(
        name=PART,
        file="bert.py",
        stages=stages,
        load=lambda module: _Computed(_students_model(module, folder)),
        own=lambda: _Computed(_own_model(folder)),
    )


def _model_stage(name: str, output: str, expected: Outputs, builds_on: tuple[str, ...] = ()) -> Stage:
    return Stage(
        name=name,
        run=lambda computed: {output: computed.outputs[output]},
        expected=lambda: {output: _without_padding(output, expected[output])},
        builds_on=builds_on,
        tolerance=MODEL_TOLERANCE,
    )


def _without_padding(output: str, value: np.ndarray) -> np.ndarray:
    """Sets outputs at padding to zero, which are not compared."""
    mask = np.array(IDS) != 0
    return value * mask[:, :, None] if output == HIDDEN else value


class _Computed:
    """A model's outputs on the two sentences, computed when first asked for."""

    def __init__(self, model: Any):
        self.model = model

    @cached_property
    def outputs(self) -> Outputs:
        import torch

        ids = torch.tensor(IDS)
        with torch.no_grad():
            found = self.model(ids, (ids != 0).long())
            arrays = {name: found[name].double().numpy() for name in (HIDDEN, POOLED)}
        return {name: _without_padding(name, value) for name, value in arrays.items()}


def _own_model(folder: Path):
    from minbert.model import BertModel

    return BertModel.from_pretrained(folder)


def _students_model(module: ModuleType, folder: Path):
    """The file's BertModel in evaluation mode, with the folder's tensors under the course's names."""
    if not hasattr(module, "BertModel"):
        raise MissingImplementation("the file has no class BertModel")
    from minbert.weights.course_names import MODULE_NAMES

    own = _own_model(folder)
    names = {
        ours.format(layer): course.format(layer)
        for ours, _, course in MODULE_NAMES
        for layer in range(own.config.num_hidden_layers)
    }
    model = module.BertModel(SimpleNamespace(**own.config.to_dict(), name_or_path=str(folder)))
    tensors = {}
    for name, tensor in own.state_dict().items():
        layer, _, kind = name.rpartition(".")
        tensors[f"{names[layer]}.{kind}"] = tensor
    differing = sorted(dict(model.named_parameters()).keys() ^ tensors.keys())
    if differing:
        raise InvalidOutput(f"BertModel and the weights differ in these parameters: {', '.join(differing)}")
    model.load_state_dict(tensors, strict=False)  # buffers such as position_ids stay
    return model.eval()


def read_sanity_data(path: Path) -> dict[str, np.ndarray]:
    """The course's outputs: last_hidden_state (2, 8, D) and pooler_output (2, D), fp64.

    Nothing in the file is run. Raises InputError for another layout.
    """
    import torch

    _check_is_file(path)
    try:
        values = torch.load(path, weights_only=True, map_location="cpu")
        arrays = {name: values[name].double().numpy() for name in (HIDDEN, POOLED)}
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} is not a sanity_check.data ({reason}); fetch the course's file again"
        ) from None
    size = arrays[POOLED].shape[-1:]
    rows, columns = np.shape(IDS)
    if arrays[HIDDEN].shape != (rows, columns, *size) or arrays[POOLED].shape != (rows, *size):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise InputError(f"{path} holds {shapes}; sanity_check.data has {rows} sentences of {columns} tokens")
    return arrays


def course_optimizer(data: str) -> Part:
    """The part of optimizer_test.npy: the weight of a linear layer 3 -> 2 after 1000 steps of AdamW.

    Right implementations in fp32 differ by up to 2e-5 here (1.8e-5 where decay is a rounded factor), so that
    the mildest mistakes, decay left out or coupled (3e-5), show safely in the part "optimizer" alone.
    Raises InputError for another layout.
    """
    expected = read_optimizer_data(Path(data))
    stage = Stage(
        name=f"optimizer test: {STEPS} steps",
        run=lambda optimizer: {"weight": fitted_weight(optimizer)},
        expected=lambda: {"weight": expected},
    )
    return Part(PART, "optimizer.py", (stage,), load=_students_optimizer, own=_own_optimizer)


def _students_optimizer(module: ModuleType):
    if not hasattr(module, "AdamW"):
        raise MissingImplementation("the file has no class AdamW")
    return module.AdamW


def _own_optimizer():
    from minbert.optim import AdamW

    return AdamW


def fitted_weight(optimizer: Any) -> np.ndarray:
    """The weight (2, 3) of a linear layer fitted to (x0 + x1, -x2), one x of three uniform numbers a step."""
    import torch

    inputs = np.random.default_rng(SEED).uniform(size=(STEPS, 3))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        layer = torch.nn.Linear(3, 2, bias=False)
    update = optimizer(layer.parameters(), lr=1e-3, weight_decay=1e-4, correct_bias=True)
    for x in torch.from_numpy(inputs).float():
        layer.zero_grad()
        target = torch.stack([x[0] + x[1], -x[2]])
        (target - layer(x)).square().sum().backward()
        update.step()
    return layer.weight.detach().numpy()


def read_optimizer_data(path: Path) -> np.ndarray:
    """The course's weight (2, 3), fp64. Raises InputError for another layout."""
    _check_is_file(path)
    try:
        values = np.load(path, allow_pickle=False)
        shape = values.shape
    except (ValueError, EOFError, AttributeError) as error:
        raise InputError(f"{path} is not a .npy file of numbers ({error}); fetch it again") from None
    if shape != (2, 3):
        raise InputError(f"{path} holds {shape}; optimizer_test.npy holds a weight (2, 3)")
    return values.astype(np.float64)


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no file {path}; it comes with the course's starter code")
