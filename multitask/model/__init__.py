"""The multi-task model: shared encoder, heads, cached activations, word embeddings in part."""
