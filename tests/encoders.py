"""Encoders for tests: BertModel with adapters within attention, by fields of both configurations."""

from dataclasses import fields

import torch
from torch import nn

from minbert import AttentionAdapterConfig, BertConfig, BertModel, add_attention_adapters

ADAPTER_KEYS = {f.name for f in fields(AttentionAdapterConfig)}
PROJECTED = dict(
    projected_attention_size=10, projected_attention_heads=2, projected_attention_names=("sst", "sts")
)
VARIANTS = {
    "extra layers": dict(num_hidden_layers=4),
    "other heads": dict(num_attention_heads=6),
    "head layers": dict(attention_head_layers=2),
    "projected attention": PROJECTED,
}
VARIANTS["all"] = {key: value for changes in VARIANTS.values() for key, value in changes.items()}
LORA_KINDS = {
    "lora": {},
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "both": {"rslora": True, "dora": True},
}


def fresh_encoder(**values) -> BertModel:
    """A random BertModel of BertConfig's fields, with adapters of AttentionAdapterConfig's."""
    adapters = {key: values.pop(key) for key in ADAPTER_KEYS & values.keys()}
    model = BertModel(BertConfig(**values))
    add_attention_adapters(model, AttentionAdapterConfig(**adapters))
    return model


def fill_adapters(model: nn.Module, seed: int = 1) -> None:
    """Fills every adapter, ours or peft's, with random values; magnitudes around what they are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name or ".lora_" in name:
                noise = 0.2 * torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.copy_(parameter * (1 + noise) if "magnitude" in name else noise)
