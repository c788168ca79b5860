"""DistilBERT (Sanh et al. 2019): no token types, no pooler."""

from minbert.weights.families.family import Family

DISTILBERT = Family(
    name="DistilBERT",
    model_type="distilbert",
    classes="DistilBert",
    prefix="distilbert",
    modules={
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "encoder.layers.{}.attention.query": "transformer.layer.{}.attention.q_lin",
        "encoder.layers.{}.attention.key": "transformer.layer.{}.attention.k_lin",
        "encoder.layers.{}.attention.value": "transformer.layer.{}.attention.v_lin",
        "encoder.layers.{}.attention.output": "transformer.layer.{}.attention.out_lin",
        "encoder.layers.{}.attention_norm": "transformer.layer.{}.sa_layer_norm",
        "encoder.layers.{}.feed_forward.intermediate": "transformer.layer.{}.ffn.lin1",
        "encoder.layers.{}.feed_forward.output": "transformer.layer.{}.ffn.lin2",
        "encoder.layers.{}.feed_forward_norm": "transformer.layer.{}.output_layer_norm",
    },
    keys={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    },
    absent=("embedding_size", "type_vocab_size", "layer_norm_eps"),
    defaults={"num_hidden_layers": 6, "type_vocab_size": 0},
    pooler=False,
)
