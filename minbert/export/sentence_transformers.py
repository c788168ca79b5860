"""A folder that SentenceTransformer loads, in the dialect that its versions 2 to 6 understand."""

from pathlib import Path

from minbert.export.hf import check_plain, merged_encoder, write_encoder
from minbert.files import write_json
from minbert.sentence import SentenceEncoder
from minbert.weights.sentence_transformers import SETTINGS_FILE, has_lower_case, write_modules

# The oldest version of the dialect: a newer one than the reader's makes it warn.
_VERSIONS = {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}


def write_sentence_encoder(folder: Path, encoder: SentenceEncoder, adapter: str | None = None) -> list[str]:
    """Writes encoder, modules, prompts and what else the encoder is set to; -> notes for the user.

    The LoRA adapter called `adapter` is merged. Raises InputError for the modules that sentence-transformers
    does not have, and for a variant.
    """
    check_plain(encoder.model)
    lower_case = has_lower_case(encoder.tokenizer.backend.normalizer)
    write_modules(folder, encoder.modules, encoder.max_length, lower_case)
    model = merged_encoder(encoder.model, adapter)
    notes = write_encoder(folder, model, encoder.tokenizer, encoder.max_length)
    settings = {
        "__version__": _VERSIONS,
        "prompts": encoder.prompts,
        "default_prompt_name": encoder.default_prompt_name,
        "similarity_fn_name": encoder.similarity_fn_name,
    }
    if encoder.truncate_dim is not None:
        settings["truncate_dim"] = encoder.truncate_dim
    write_json(folder / SETTINGS_FILE, settings)
    return notes
