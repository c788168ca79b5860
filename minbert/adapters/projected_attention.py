"""Projected attention layers (PAL): a small attention of each task's own beside every layer of a shared BERT.

T token rows, D hidden size, d projected size.
"""

from torch import Tensor, nn

from minbert.batch import Layout
from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.model import MultiHeadAttention


class TaskProjectedAttention(nn.Module):
    """One task's V^D attention_l(V^E h) (Stickland and Murray 2019, section 3.3).

    `down` is V^E and `up` is V^D, shared by all layers l; the attention of width d is each layer's own. Its
    heads are not mixed by an output matrix, since `up` does that. `up` is zero at the start: what the task
    adds to a model, fine-tuned or not, changes nothing until it is trained.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        size, heads = config.projected_attention_size, config.projected_attention_heads
        dropout = config.attention_probs_dropout_prob
        self.down = nn.Linear(config.hidden_size, size)
        self.layers = nn.ModuleList(
            MultiHeadAttention(size, heads, dropout) for _ in range(config.num_hidden_layers)
        )
        self.up = nn.Linear(size, config.hidden_size)

    def forward(self, number: int, hidden: Tensor, layout: Layout) -> Tensor:  # (T, D) -> (T, D)
        return self.up(self.layers[number](self.down(hidden), layout))


class ProjectedAttention(nn.Module):
    """The projected attention of each task by name; `active` names the one in use, None for none of them."""

    def __init__(self, config: BertConfig):
        super().__init__()
        for name in config.projected_attention_names:
            if hasattr(nn.ModuleDict(), name):
                raise InputError(f"projected attention {name!r} is a name taken by torch; choose another")
        self.adapters = nn.ModuleDict(
            {name: TaskProjectedAttention(config) for name in config.projected_attention_names}
        )
        self.active: str | None = None

    def forward(self, number: int, hidden: Tensor, layout: Layout) -> Tensor | None:
        """What the task in use adds to layer `number` with input (T, D) -> (T, D); None where none is."""
        return None if self.active is None else self.adapters[self.active](number, hidden, layout)
