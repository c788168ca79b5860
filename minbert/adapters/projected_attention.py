"""Projected attention layers (PAL): a small attention of each task's own beside every layer of a shared BERT.

T token rows, D hidden size, d projected size.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from minbert.adapters.registry import check_name
from minbert.batch import Layout
from minbert.config import BertConfig
from minbert.model import MultiHeadAttention


class TaskProjectedAttention(nn.Module):
    """One task's V^D attention_l(V^E h) (Stickland and Murray 2019, section 3.3).

    `down` is V^E and `up` is V^D, shared by all layers l; the attention of width d is each layer's own. Its
    heads are not mixed by an output matrix, since `up` does that. `up` is zero at the start, so that a fresh
    one changes nothing; other weights are normal with the configuration's `initializer_range`, biases zero.
    """

    def __init__(self, config: BertConfig, size: int, heads: int):
        super().__init__()
        dropout = config.attention_probs_dropout_prob
        with torch.device("meta"):  # no random numbers but those below
            self.down = nn.Linear(config.hidden_size, size)
            self.layers = nn.ModuleList(
                MultiHeadAttention(size, heads, dropout) for _ in range(config.num_hidden_layers)
            )
            self.up = nn.Linear(size, config.hidden_size)
        self.to_empty(device=torch.get_default_device())
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=config.initializer_range)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.up.weight)

    def forward(self, number: int, hidden: Tensor, layout: Layout) -> Tensor:  # (T, D) -> (T, D)
        return self.up(self.layers[number](self.down(hidden), layout))


class ProjectedAttention(nn.Module):
    """The projected attention of each task by name; `active` names the one in use, None for none of them."""

    def __init__(self, config: BertConfig, size: int, heads: int, names: Iterable[str]):
        super().__init__()
        self.size, self.heads = size, heads
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        for name in names:
            check_name(name)
            self.adapters[name] = TaskProjectedAttention(config, size, heads)

    def forward(self, number: int, hidden: Tensor, layout: Layout) -> Tensor | None:
        """Computes the addend of the task in use for layer `number` with input (T, D) -> (T, D), or None."""
        return None if self.active is None else self.adapters[self.active](number, hidden, layout)
