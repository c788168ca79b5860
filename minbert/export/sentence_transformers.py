"""A folder that SentenceTransformer loads, in the dialect that its versions 2 to 6 understand."""

import json
from pathlib import Path

from minbert.errors import InputError
from minbert.export.hf import check_plain, merged_encoder, write_encoder
from minbert.files import atomic_write
from minbert.sentence import SentenceEncoder
from minbert.weights.sentence_transformers import write_modules

# The oldest version of the dialect: a newer one than the reader's makes it warn.
_VERSIONS = {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}


def write_sentence_encoder(
    folder: Path, encoder: SentenceEncoder, adapter: str | None = None, similarity: str = "cosine"
) -> list[str]:
    """Writes encoder, pooling, projection and normalisation; -> notes for the user.

    The LoRA adapter called `adapter` is merged. `similarity` is how vectors are meant to be compared. Raises
    InputError for the poolings and normalisations that sentence-transformers has no module for, and for a
    variant.
    """
    check_modules(encoder.pooling, encoder.normalize)
    check_plain(encoder.model)
    model = merged_encoder(encoder.model, adapter)
    notes = write_encoder(folder, model, encoder.tokenizer, encoder.max_length)
    write_modules(
        folder,
        model.config.hidden_size,
        encoder.pooling,
        encoder.normalize,
        encoder.max_length,
        encoder.projection,
    )
    settings = {
        "__version__": _VERSIONS,
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": similarity,
    }
    with atomic_write(folder / "config_sentence_transformers.json") as file:
        file.write(json.dumps(settings, indent=2) + "\n")
    return notes


def check_modules(pooling: str, normalize: str | None) -> None:
    """Raises InputError for what sentence-transformers has no module for, with what to do instead."""
    if pooling == "pooler":
        raise InputError(
            "pooling is 'pooler', and sentence-transformers has no module for BERT's pooler; take --format "
            "onnx, or pool by cls, mean or max"
        )
    if normalize == "l1":
        raise InputError(
            "normalize is 'l1', and sentence-transformers' Normalize divides by the L2 length; take --format "
            "onnx, or normalize by l2 or none"
        )
