"""BERT (Devlin et al. 2018)."""

from minbert.weights.families.family import Family

BERT = Family(
    name="BERT",
    model_type="bert",
    classes="Bert",
    prefix="bert",
    modules={
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.token_type": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "encoder.layers.{}.attention.query": "encoder.layer.{}.attention.self.query",
        "encoder.layers.{}.attention.key": "encoder.layer.{}.attention.self.key",
        "encoder.layers.{}.attention.value": "encoder.layer.{}.attention.self.value",
        "encoder.layers.{}.attention.output": "encoder.layer.{}.attention.output.dense",
        "encoder.layers.{}.attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
        "encoder.layers.{}.feed_forward.intermediate": "encoder.layer.{}.intermediate.dense",
        "encoder.layers.{}.feed_forward.output": "encoder.layer.{}.output.dense",
        "encoder.layers.{}.feed_forward_norm": "encoder.layer.{}.output.LayerNorm",
        "pooler.dense": "pooler.dense",
    },
    sequence_head=("bert.pooler.dense", "classifier"),
)
