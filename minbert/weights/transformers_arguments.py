"""The arguments of transformers' BertModel.forward that ours does not have."""

from collections.abc import Mapping
from typing import Any

from minbert.errors import did_you_mean

# Their names, and what ours has in their place.
INSTEAD = {
    "inputs_embeds": "a forward hook on model.embeddings.word puts vectors of your own in their place; "
    "embedding_noise is added after the norm",
    "position_ids": "a token's position is its column (RoBERTa counts tokens): pad on the left to shift it",
    "head_mask": "no head is left out; set its columns of attention.output.weight to 0",
    "use_cache": "an encoder reads all tokens at once",
    "cache": "an encoder reads all tokens at once",
    "past_key_values": "an encoder reads all tokens at once",
    "cache_position": "an encoder reads all tokens at once",
    "encoder_hidden_states": "there is no cross-attention",
    "encoder_attention_mask": "there is no cross-attention",
}
OURS = (
    *("input_ids", "attention_mask", "token_type_ids", "output_hidden_states", "output_attentions"),
    *("embedding_noise", "cls_only", "layers", "pooler", "return_dict"),
)


def check_arguments(given: Mapping[str, Any]) -> None:
    """Passes None, `use_cache=False`, and any `return_dict`: outputs are read by name and by place.

    Raises TypeError for other values and names, with what ours has.
    """
    for name, value in given.items():
        if name == "return_dict" or (name in INSTEAD and (value is None or value is False)):
            continue
        if name in INSTEAD:
            raise TypeError(f"BertModel takes no {name}: {INSTEAD[name]}")
        raise TypeError(
            f"BertModel takes no argument {name!r}; it has {', '.join(OURS)}{did_you_mean(name, OURS)}"
        )
