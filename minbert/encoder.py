"""The encoder: a stack of transformer layers with the norm after each residual sum, as in the BERT paper."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from minbert.attention import SelfAttention
from minbert.batch import Layout
from minbert.checkpointing import checkpointed
from minbert.config import BertConfig
from minbert.dropout import Dropout
from minbert.embeddings import LayerNorm
from minbert.kernels import Kernels
from minbert.linear import Linear
from minbert.projected_attention import ProjectedAttention


class FeedForward(nn.Module):
    """Each token on its own: widen, GELU, narrow (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        self.intermediate = Linear(config.hidden_size, config.intermediate_size, kernels)
        self.output = Linear(config.intermediate_size, config.hidden_size, kernels)

    def forward(self, hidden: Tensor) -> Tensor:  # (T, D) -> (T, D)
        return self.output(self.intermediate(hidden, gelu=True))


class EncoderLayer(nn.Module):
    """x -> norm(x + attention(x)) -> norm(x + feed_forward(x)), dropout on each addend.

    With `compiled`, torch.compile makes of `after_attention` as few kernels as it can.
    """

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        self.attention = SelfAttention(config, kernels)
        self.attention_norm = LayerNorm(config, kernels)
        self.feed_forward = FeedForward(config, kernels)
        self.feed_forward_norm = LayerNorm(config, kernels)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.compiled = False

    def forward(
        self, hidden: Tensor, layout: Layout, addend: Tensor | None = None, first_only: bool = False
    ) -> Tensor:
        """(T, D) -> (T, D); `addend` (T, D) is one more term of the last residual sum.

        With `first_only` -> (R, D): the outputs of the first tokens, which look at all of their sequence.
        """
        attended = self.attention(hidden, layout, first_only)
        if first_only:
            hidden = layout.take_first(hidden)
            addend = None if addend is None else layout.take_first(addend)
        if self.compiled:
            return compiled_rows()(self, hidden, attended, addend)
        return self.after_attention(hidden, attended, addend)

    def after_attention(self, hidden: Tensor, attended: Tensor, addend: Tensor | None) -> Tensor:
        """The rest of the layer, which needs no other row of any row: (T, D) each -> (T, D)."""
        hidden = self.attention_norm(hidden + self.dropout(attended))
        hidden = hidden + self.dropout(self.feed_forward(hidden))
        return self.feed_forward_norm(hidden if addend is None else hidden + addend)


@cache
def compiled_rows() -> Callable[..., Tensor]:
    """`EncoderLayer.after_attention`, compiled once for all layers alike and any number of rows."""
    return torch.compile(EncoderLayer.after_attention, dynamic=True)


class Encoder(nn.Module):
    """The transformer layers, and the one way through them.

    With `checkpointing`, where gradients are recorded, a layer keeps its input only and runs again for them.
    """

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config, kernels) for _ in range(config.num_hidden_layers))
        self.projected_attention = (
            ProjectedAttention(config, kernels) if config.has_projected_attention else None
        )
        self.checkpointing = False

    def run(
        self,
        hidden: Tensor,
        layout: Layout,
        layers: slice = slice(None),
        states: list[Tensor] | None = None,
        maps: list[Tensor] | None = None,
        first_only: bool = False,
    ) -> Tensor:
        """Takes rows (T, D) through the chosen layers -> (T, D).

        With `first_only` -> (R, D), laid out as `layout.first`: the last of these layers computes nothing but
        the first token of each sequence, which is all that a head on [CLS] reads.
        `states` collects the rows that enter the first layer and leave each one; `maps` (rectangular layouts
        only) the attention probabilities of each layer, (B, H, S, S).
        """
        run_layer = self._run_layer
        if self.checkpointing and torch.is_grad_enabled():
            run_layer = checkpointed(self, run_layer)
        if states is not None:
            states.append(hidden)
        numbers = range(len(self.layers))[layers]
        for number in numbers:
            if maps is not None:
                maps.append(self.layers[number].attention.maps(hidden, layout))
            hidden = run_layer(number, hidden, layout, first_only and number == numbers[-1])
            if states is not None:
                states.append(hidden)
        return hidden if numbers or not first_only else layout.take_first(hidden)

    def _run_layer(self, number: int, hidden: Tensor, layout: Layout, first_only: bool) -> Tensor:
        projected = self.projected_attention
        addend = None if projected is None else projected(number, hidden, layout)
        return self.layers[number](hidden, layout, addend, first_only)
