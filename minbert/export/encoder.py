"""Export of an encoder: from any folder of weights into a new folder of one of the formats."""

from pathlib import Path

from minbert.errors import InputError
from minbert.export.comparison import encoder_difference, sentence_difference
from minbert.export.hf import merged_encoder, write_encoder
from minbert.export.onnx import write_sentence_graph
from minbert.export.sentence_transformers import write_sentence_encoder
from minbert.export.target import FORMATS, ExportReport, files_of, new_folder, weights_folder
from minbert.model import BertModel
from minbert.sentence import FROM_FOLDER, SentenceEncoder
from minbert.tokenizer import Tokenizer
from minbert.weights.sentence_transformers import transformer_folder


def export_encoder(
    source: str | Path,
    out: str | Path,
    format: str,
    pooling: str | None = None,
    normalize: str | None = FROM_FOLDER,
    adapter: str | None = None,
    opset: int | None = None,
    force: bool = False,
    weights_prefix: str | None = None,
) -> ExportReport:
    """Writes the encoder of `source` into the new folder `out`, which is whole or not there.

    `source` is a run, a checkpoint, or a folder of transformers or sentence-transformers; `adapter` the task
    whose adapter is used, where it holds one for each; `weights_prefix` one of several encoders. Pooling and
    normalisation are the folder's where they are not given; `hf` has neither. Raises InputError for what the
    format cannot hold, and for an `out` that is not empty, unless `force`.
    """
    if format not in FORMATS:
        raise InputError(f"format is {format!r}; choose from {', '.join(FORMATS)}")
    _check_options(format, pooling, normalize, opset)
    folder = weights_folder(source)
    with new_folder(out, folder, force) as partial:
        if format == "hf":
            notes, difference = _write_hf(partial, folder, adapter, weights_prefix)
        else:
            encoder = SentenceEncoder.from_pretrained(
                folder, pooling, normalize, adapter, weights_prefix=weights_prefix
            )
            if format == "onnx":
                difference = write_sentence_graph(partial, encoder, adapter, opset)
                notes = []
            else:
                notes = write_sentence_encoder(partial, encoder, adapter)
                difference = sentence_difference(partial, encoder, adapter)
            if pooling is None and not (folder / "modules.json").is_file():
                notes.append(
                    f"{folder} does not say how sentences are pooled; mean is assumed, see --pooling"
                )
        files = files_of(partial)
    return ExportReport(format, str(out), files, difference, tuple(notes))


def _check_options(format: str, pooling: str | None, normalize: str | None, opset: int | None) -> None:
    """Raises InputError for an option that the format does not read."""
    if format == "hf" and (pooling is not None or normalize != FROM_FOLDER):
        raise InputError(
            "transformers' BertModel gives token rows and pools nothing; leave out --pooling and "
            "--normalize, or take --format sentence-transformers"
        )
    if format != "onnx" and opset is not None:
        raise InputError(f"--opset is for --format onnx, not {format}; leave it out")


def _write_hf(
    partial: Path, folder: Path, adapter: str | None, weights_prefix: str | None
) -> tuple[list[str], float]:
    transformer = transformer_folder(folder)
    loaded = BertModel.from_pretrained(transformer, adapter=adapter, weights_prefix=weights_prefix)
    model = merged_encoder(loaded, adapter)
    tokenizer = Tokenizer.from_pretrained(transformer)
    tokenizer.check_embeddings(model.config.vocab_size)
    longest = model.config.max_length
    notes = write_encoder(partial, model, tokenizer, longest)
    difference = encoder_difference(partial, model, tokenizer, longest)
    if (folder / "modules.json").is_file():
        notes.append(
            "pooling and normalisation are not in a transformers folder; sentence-transformers has them"
        )
    return notes, difference
