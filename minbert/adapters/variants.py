"""Attaches the parts that BERT does not have, as the configuration names them."""

from torch import nn

from minbert.adapters.attention_head_layers import AttentionHeadLayer
from minbert.adapters.projected_attention import ProjectedAttention, TaskProjectedAttention
from minbert.model import BertModel


def attach(model: BertModel) -> None:
    config = model.config
    for layer in model.encoder.layers:
        layer.attention.head_layers = nn.ModuleList(
            AttentionHeadLayer(config.num_attention_heads, config.head_size)
            for _ in range(config.attention_head_layers)
        )
    if config.has_projected_attention:
        model.encoder.projected_attention = ProjectedAttention(config)


def zero_modules(model: BertModel) -> set[nn.Module]:
    """The modules that are zero at the start, so that they change nothing."""
    ups = {module.up for module in model.modules() if isinstance(module, TaskProjectedAttention)}
    return ups | {module for module in model.modules() if isinstance(module, AttentionHeadLayer)}
