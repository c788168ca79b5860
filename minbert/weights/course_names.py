"""Names of BERT's modules in the CS224N starter code. No torch here."""

from minbert.weights.families.bert import BERT

_LAYER = {
    "attention.query": "self_attention.query",
    "attention.key": "self_attention.key",
    "attention.value": "self_attention.value",
    "attention.output": "attention_dense",
    "attention_norm": "attention_layer_norm",
    "feed_forward.intermediate": "interm_dense",
    "feed_forward.output": "out_dense",
    "feed_forward_norm": "out_layer_norm",
}
COURSE = {
    "embeddings.word": "word_embedding",
    "embeddings.position": "pos_embedding",
    "embeddings.token_type": "tk_type_embedding",
    "embeddings.norm": "embed_layer_norm",
    **{f"encoder.layers.{{}}.{ours}": f"bert_layers.{{}}.{theirs}" for ours, theirs in _LAYER.items()},
    "pooler.dense": "pooler_dense",
}
# A module's name in minbert, in transformers' BertModel, in the starter code; {} is the layer's number.
MODULE_NAMES = tuple((ours, theirs, COURSE[ours]) for ours, theirs in BERT.modules.items())
