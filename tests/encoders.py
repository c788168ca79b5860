"""Encoders for tests: BertModel with adapters within attention, by fields of both configurations."""

from dataclasses import fields

from minbert import AttentionAdapterConfig, BertConfig, BertModel, add_attention_adapters

ADAPTER_KEYS = {f.name for f in fields(AttentionAdapterConfig)}


def fresh_encoder(**values) -> BertModel:
    """A random BertModel of BertConfig's fields, with adapters of AttentionAdapterConfig's."""
    adapters = {key: values.pop(key) for key in ADAPTER_KEYS & values.keys()}
    model = BertModel(BertConfig(**values))
    add_attention_adapters(model, AttentionAdapterConfig(**adapters))
    return model
