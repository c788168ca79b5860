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
    """The learning rate, weight decay and state of one tensor; `part` is encoder or head.

    `state` is trained, frozen, unfrozen later, or unused where no task of the run reads the tensor.
    """

    name: str
    parameter: Parameter
    lr: float
    weight_decay: float
    state: str
    part: str

    @property
    def learns(self) -> bool:
        """True if the optimizer updates the tensor."""
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
    distance 0: the last layer is one factor below `optim.lr`. Weight decay is for matrices: none on tables of
    embeddings, norms, biases and other vectors. `unused` names tensors that no task reads, `later` those that
    are frozen for now.
    """
    depth = len(model.encoder.encoder.layers)
    assignments = []
    for name, parameter in model.named_parameters():
        table = name.startswith("encoder.embeddings.") and ".projection." not in name
        decays = parameter.ndim > 1 and not table
        trained = TRAINED if parameter.requires_grad else LATER if name in later else FROZEN
        own, default = _rates(name, optim, depth, head_rates)
        entry = Assignment(
            name,
            parameter,
            default if own is None else own,  # 0 is a rate
            optim.weight_decay if decays else 0.0,
            UNUSED if name in unused else trained,
            HEAD if name.startswith("heads.") else ENCODER,
        )
        assignments.append(entry)
    return assignments


def _rates(
    name: str, optim: OptimConfig, depth: int, head_rates: Mapping[str, float | None]
) -> tuple[float | None, float]:
    """Returns the rate that is given for a tensor in a model of `depth` layers, and that without one."""
    if name.startswith("heads."):
        return head_rates.get(name.split(".")[1]), optim.head_lr
    if is_added(name):
        return optim.adapter_lr, optim.head_lr
    if name.startswith("encoder.embeddings."):
        return optim.embeddings_lr, optim.lr * optim.layer_decay ** (depth + 1)
    if name.startswith("encoder.pooler."):
        return optim.pooler_lr, optim.lr
    return None, optim.lr * optim.layer_decay ** (depth - int(name.split(".")[3]))


def parameter_groups(assignments: list[Assignment]) -> list[dict]:
    """Returns AdamW's groups of tensors that learn, one for each `part` of the model, rate and decay.

    Schedules multiply a group's `initial_lr`. Raises InputError where nothing is trained, and for a tensor
    that is assigned twice.
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
        rates = {"lr": entry.lr, "initial_lr": entry.lr, "weight_decay": entry.weight_decay}
        key = entry.part, entry.lr, entry.weight_decay
        group = groups.setdefault(key, {"params": [], **rates, "part": entry.part})
        group["params"].append(entry.parameter)
    if not groups:
        raise InputError(
            "nothing to train: every tensor is frozen or unused; freeze less, or add a task with a head"
        )
    return list(groups.values())
