"""Multi-head self-attention: every token gathers from the tokens of its own sequence."""

from torch import Tensor, nn

from minbert.attention_head_layers import AttentionHeadLayer
from minbert.batch import Layout
from minbert.config import BertConfig
from minbert.kernels import Kernels, attention_probabilities
from minbert.linear import Linear


class MultiHeadAttention(nn.Module):
    """The heads' contexts side by side (Vaswani et al. 2017, section 3.2.2), without an output matrix.

    T token rows, D size of a row, H heads, K = D / H head size.
    """

    def __init__(self, size: int, heads: int, dropout: float, kernels: Kernels):
        super().__init__()
        self.query = Linear(size, size, kernels)
        self.key = Linear(size, size, kernels)
        self.value = Linear(size, size, kernels)
        self.heads = heads
        self.dropout = dropout
        self.kernels = kernels

    def forward(self, hidden: Tensor, layout: Layout, first_only: bool = False) -> Tensor:
        """(T, D) -> (T, D), or (R, D) where only the first token of each sequence asks."""
        query = self.query(layout.take_first(hidden) if first_only else hidden)
        key, value = self.key(hidden), self.value(hidden)
        dropout = self.dropout if self.training else 0.0
        return layout.attend(query, key, value, self.heads, self.kernels.attention, dropout, first_only)

    def maps(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Where each token looks in a rectangular layout: probabilities without dropout, (B, H, S, S)."""
        [query], [key] = (layout.split(linear(hidden), self.heads) for linear in (self.query, self.key))
        return attention_probabilities(query, key, layout.attention_mask)


class SelfAttention(MultiHeadAttention):
    """BERT's attention of each sequence over itself: the heads' contexts, then the output matrix.

    Between the two stand `config.attention_head_layers` hidden layers on each head; BERT itself has none.
    """

    def __init__(self, config: BertConfig, kernels: Kernels):
        size, heads = config.hidden_size, config.num_attention_heads
        super().__init__(size, heads, config.attention_probs_dropout_prob, kernels)
        self.head_layers = nn.ModuleList(
            AttentionHeadLayer(heads, config.head_size, kernels) for _ in range(config.attention_head_layers)
        )
        self.output = Linear(size, size, kernels)

    def forward(self, hidden: Tensor, layout: Layout, first_only: bool = False) -> Tensor:
        """As above."""
        context = super().forward(hidden, layout, first_only)
        for layer in self.head_layers:
            context = layer(context)
        return self.output(context)
