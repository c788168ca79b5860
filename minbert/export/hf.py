"""A folder that transformers' BertModel and AutoTokenizer load."""

import copy
from pathlib import Path

from minbert.adapters.attention_adapters import attention_adapters
from minbert.adapters.lora import adapter_names, merge_lora, remove_lora
from minbert.errors import InputError
from minbert.model import BertModel
from minbert.tokenizer import Tokenizer


def merged_encoder(model: BertModel, adapter: str | None = None) -> BertModel:
    """The encoder without LoRA: a copy with the adapter of that name written into its weights.

    A model without LoRA is returned as it is; of one that has no adapter of that name the copy is the base.
    """
    present = adapter_names(model)
    if not present:
        return model
    copied = copy.deepcopy(model).eval()
    if adapter in present:
        merge_lora(copied, adapter)
    else:
        remove_lora(copied)
    return copied


def check_plain(model: BertModel) -> None:
    """Raises InputError for adapters within attention, which transformers would leave out."""
    if kinds := attention_adapters(model).kinds:
        raise InputError(
            f"the encoder has {' and '.join(kinds)}, which transformers' BertModel does not have; take "
            f"--format onnx, which has them, or train without"
        )


def write_encoder(folder: Path, model: BertModel, tokenizer: Tokenizer, max_length: int) -> list[str]:
    """Writes weights, config.json and the tokenizer's files; -> notes for the user.

    `max_length` is what `AutoTokenizer` cuts to when it is asked to cut. Raises InputError for adapters
    within attention, and for LoRA that is not merged.
    """
    check_plain(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, max_length)
    family = model.config.family
    if model.pooler is not None or not family.pooler:
        return []
    return [
        f"the weights hold no pooler; load them with {family.classes}Model.from_pretrained(..., "
        f"add_pooling_layer=False)"
    ]
