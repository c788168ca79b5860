"""The encoder: a stack of transformer layers with the norm after each residual sum, as in the BERT paper."""

from torch import Tensor, nn

from minbert.attention import SelfAttention
from minbert.batch import Layout
from minbert.config import BertConfig
from minbert.embeddings import LayerNorm
from minbert.kernels import Kernels


class FeedForward(nn.Module):
    """Each token on its own: widen, GELU, narrow (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        self.intermediate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.kernels = kernels

    def forward(self, hidden: Tensor) -> Tensor:  # (T, D) -> (T, D)
        return self.output(self.kernels.gelu(self.intermediate(hidden)))


class EncoderLayer(nn.Module):
    """x -> norm(x + attention(x)) -> norm(x + feed_forward(x)), dropout on each addend."""

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        self.attention = SelfAttention(config, kernels)
        self.attention_norm = LayerNorm(config, kernels)
        self.feed_forward = FeedForward(config, kernels)
        self.feed_forward_norm = LayerNorm(config, kernels)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:  # (T, D) -> (T, D)
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, layout)))
        return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))


class Encoder(nn.Module):
    """The transformer layers, and the one way through them."""

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config, kernels) for _ in range(config.num_hidden_layers))

    def run(
        self,
        hidden: Tensor,
        layout: Layout,
        layers: slice = slice(None),
        states: list[Tensor] | None = None,
        maps: list[Tensor] | None = None,
    ) -> Tensor:
        """Takes rows (T, D) through the chosen layers -> (T, D).

        `states` collects the rows that enter the first layer and leave each one; `maps` (rectangular layouts
        only) the attention probabilities of each layer, (B, H, S, S).
        """
        if states is not None:
            states.append(hidden)
        for layer in self.layers[layers]:
            if maps is not None:
                maps.append(layer.attention.maps(hidden, layout))
            hidden = layer(hidden, layout)
            if states is not None:
                states.append(hidden)
        return hidden
