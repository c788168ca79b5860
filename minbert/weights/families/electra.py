"""ELECTRA (Clark et al. 2020), its discriminator: narrower embeddings, projected to the layers' width."""

from dataclasses import replace

from minbert.weights.families.bert import BERT

ELECTRA = replace(
    BERT,
    name="ELECTRA",
    model_type="electra",
    classes="Electra",
    prefix="electra",
    modules={ours: theirs for ours, theirs in BERT.modules.items() if ours != "pooler.dense"}
    | {"embeddings.projection": "embeddings_project"},
    absent=(),
    defaults={
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    pooler=False,
    masked_lm_activation=None,
    sequence_head=None,
)
