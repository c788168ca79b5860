"""Parameter groups: a pure function from the model to who learns at which rate, with which decay."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn import Parameter

from minbert import InputError
from multitask.config import OptimConfig

FROZEN, UNUSED, TRAINED = "frozen", "unused", "trained"


@dataclass(frozen=True)
class Assignment:
    """What happens to one tensor; `state` is trained, frozen, or unused where no task of the run reads it."""

    name: str
    parameter: Parameter
    lr: float
    weight_decay: float
    state: str


def assign(
    model: nn.Module,
    optim: OptimConfig,
    head_rates: Mapping[str, float | None],
    unused: set[str] = frozenset(),
) -> list[Assignment]:
    """The assignment of every tensor of a MultitaskModel, in the model's order.

    Encoder tensors get `optim.lr` times `layer_decay` to the power of their distance from the top (Sun et al.
    2019): 0 for the pooler, 1 for the last layer, L + 1 for the embeddings. A head gets its task's rate, else
    `optim.head_lr`. Biases, norms and embeddings are not decayed. `unused` names tensors that no task reads.
    """
    depth = len(model.encoder.encoder.layers)
    assignments = []
    for name, parameter in model.named_parameters():
        if name.startswith("heads."):
            rate = head_rates.get(name.split(".")[1])
            rate = optim.head_lr if rate is None else rate
        else:
            rate = optim.lr * optim.layer_decay ** distance_from_top(name, depth)
        decays = parameter.ndim > 1 and ".embeddings." not in f".{name}"
        state = UNUSED if name in unused else TRAINED if parameter.requires_grad else FROZEN
        assignments.append(Assignment(name, parameter, rate, optim.weight_decay if decays else 0.0, state))
    return assignments


def distance_from_top(name: str, depth: int) -> int:
    """How many layers lie above an encoder tensor: 0 for the pooler, 1 for the last of `depth` layers."""
    if name.startswith("encoder.embeddings."):
        return depth + 1
    if name.startswith("encoder.encoder.layers."):
        return depth - int(name.split(".")[3])
    return 0


def parameter_groups(assignments: list[Assignment]) -> list[dict]:
    """AdamW's groups: the trained tensors, one group for each pair of rate and decay.

    Raises InputError where nothing is trained.
    """
    groups: dict[tuple[float, float], dict] = {}
    for entry in assignments:
        if entry.state != TRAINED:
            continue
        key = (entry.lr, entry.weight_decay)
        group = groups.setdefault(
            key, {"params": [], "lr": entry.lr, "initial_lr": entry.lr, "weight_decay": entry.weight_decay}
        )
        group["params"].append(entry.parameter)
    if not groups:
        raise InputError(
            "nothing to train: every tensor is frozen or unused; freeze less, or add a task with a head"
        )
    return list(groups.values())
