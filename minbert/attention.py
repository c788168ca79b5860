"""Multi-head self-attention: every token gathers from the tokens of its own sequence."""

from torch import Tensor, nn

from minbert.batch import Layout
from minbert.config import BertConfig
from minbert.kernels import Kernels, attention_probabilities


class SelfAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2) of each sequence over itself.

    T token rows, D hidden size, H heads, K = D / H head size.
    """

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        size = config.hidden_size
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.output = nn.Linear(size, size)
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.kernels = kernels

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:  # (T, D) -> (T, D)
        query, key, value = self.query(hidden), self.key(hidden), self.value(hidden)
        dropout = self.dropout if self.training else 0.0
        return self.output(layout.attend(query, key, value, self.heads, self.kernels.attention, dropout))

    def maps(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Where each token looks in a rectangular layout: probabilities without dropout, (B, H, S, S)."""
        [query], [key] = (layout.split(linear(hidden), self.heads) for linear in (self.query, self.key))
        return attention_probabilities(query, key, layout.attention_mask)
