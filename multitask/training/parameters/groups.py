"""Parameter groups: the learning rate and weight decay of each tensor of a model."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from torch import nn
from torch.nn import Parameter

from minbert import InputError
from multitask.config.run_config import OptimConfig
from multitask.training.parameters.freezing import is_added

FROZEN, UNUSED, TRAINED, LATER = "frozen", "unused", "trained", "unfrozen later"
ENCODER, HEAD = "encoder", "head"


@dataclass(frozen=True)
class Assignment:
    """The learning rate, weight decay and state of one tensor.

    `state` is trained, frozen, unfrozen later, or unused where no task of the run reads it; `part` is encoder
    or head.
    """

    name: str
    parameter: Parameter
    lr: float
    weight_decay: float
    state: str
    part: str

    @property
    def learns(self) -> bool:
        """Whether the optimizer updates the tensor."""
        return self.state in (TRAINED, LATER)


def assign(
    model: nn.Module,
    optim: OptimConfig,
    head_rates: Mapping[str, float | None],
    unused: Set[str] = frozenset(),
    later: Set[str] = frozenset(),
) -> list[Assignment]:
    """Returns the assignment of every tensor of a MultitaskModel, in the model's order, shared ones once.

    | tensors                              | rate                                                          |
    |--------------------------------------|---------------------------------------------------------------|
    | the head of a task                   | the task's in `head_rates`, else `optim.head_lr`              |
    | the pooler                           | `optim.pooler_lr`, else `optim.lr`                            |
    | layer l of L, from 0                 | `optim.lr layer_decay^(L - l)`                                |
    | embeddings                           | `optim.embeddings_lr`, else `optim.lr layer_decay^(L + 1)`    |
    | adapters, layers of attention heads  | `optim.adapter_lr`, else `optim.head_lr`                      |

    The decay by layer is that of Howard and Ruder 2018 (section 3.2) and Sun et al. 2019, with the head at
    distance 0: the last layer is one factor below `optim.lr`. Weight decay is for matrices: none on
    embeddings, norms, biases and other vectors. `unused` names tensors that no task reads, `later` those that
    are frozen for now.
    """
    depth = len(model.encoder.encoder.layers)
    assignments = []
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and not name.startswith("encoder.embeddings.")
        trained = TRAINED if parameter.requires_grad else LATER if name in later else FROZEN
        assignments.append(
            Assignment(
                name,
                parameter,
                _rate(name, optim, depth, head_rates),
                optim.weight_decay if decays else 0.0,
                UNUSED if name in unused else trained,
                HEAD if name.startswith("heads.") else ENCODER,
            )
        )
    return assignments


def _rate(name: str, optim: OptimConfig, depth: int, head_rates: Mapping[str, float | None]) -> float:
    """Returns the rate of a tensor in a model of `depth` layers."""
    if name.startswith("heads."):
        return _first_given(head_rates.get(name.split(".")[1]), optim.head_lr)
    if is_added(name):
        return _first_given(optim.adapter_lr, optim.head_lr)
    decayed = optim.lr * optim.layer_decay ** distance_from_top(name, depth)
    if name.startswith("encoder.embeddings."):
        return _first_given(optim.embeddings_lr, decayed)
    if name.startswith("encoder.pooler."):
        return _first_given(optim.pooler_lr, decayed)
    return decayed


def _first_given(rate: float | None, default: float) -> float:
    return default if rate is None else rate  # 0 is a rate


def distance_from_top(name: str, depth: int) -> int:
    """Returns the number of layers above an encoder tensor: 0 for the pooler, 1 for the last of `depth`."""
    if name.startswith("encoder.embeddings."):
        return depth + 1
    if name.startswith("encoder.encoder.layers."):
        return depth - int(name.split(".")[3])
    return 0


def parameter_groups(assignments: list[Assignment]) -> list[dict]:
    """Returns AdamW's groups of tensors that learn, one for each part of the model, rate and decay.

    A group also says its `part`, and its `initial_lr`, which schedules multiply.
    Raises InputError where nothing is trained, and for a tensor that is assigned twice.
    """
    groups: dict[tuple[str, float, float], dict] = {}
    names: dict[int, str] = {}
    for entry in assignments:
        if id(entry.parameter) in names:
            raise InputError(
                f"{names[id(entry.parameter)]} and {entry.name} are one tensor, which learns at one rate; "
                f"assign it once"
            )
        names[id(entry.parameter)] = entry.name
        if not entry.learns:
            continue
        group = {
            "params": [],
            "lr": entry.lr,
            "initial_lr": entry.lr,
            "weight_decay": entry.weight_decay,
            "part": entry.part,
        }
        key = entry.part, entry.lr, entry.weight_decay
        groups.setdefault(key, group)["params"].append(entry.parameter)
    if not groups:
        raise InputError(
            "nothing to train: every tensor is frozen or unused; freeze less, or add a task with a head"
        )
    return list(groups.values())
