"""Export of a run: one task of it, in a new folder of one of the formats, or its encoder alone."""

from pathlib import Path

from minbert import InputError, SentenceEncoder, SentenceModules
from minbert.export import (
    ExportReport,
    encoder_difference,
    export_encoder,
    files_of,
    merged_encoder,
    new_folder,
    sentence_difference,
    weights_folder,
    write_sentence_encoder,
)
from multitask.export.adapter import write_task_adapter
from multitask.export.graph import write_task_graph
from multitask.export.task_model import write_task_model
from multitask.inference.checkpoint import task_adapters
from multitask.inference.run import Run, open_source
from multitask.tasks.base import TrainingTask


def export_run(
    source: str | Path,
    out: str | Path,
    format: str,
    task: str | None = None,
    opset: int | None = None,
    force: bool = False,
    task_file: str | Path | None = None,
    trust: bool = False,
) -> ExportReport:
    """Writes a task of a run, or without one its encoder, into the new folder `out`, whole or not there.

    `source` is a run's folder or a checkpoint. `hf` and `onnx` hold the task's head, `peft` its adapter and
    head, `sentence-transformers` the encoder with the task's pooling, projection and normalisation. See
    `load_run` for `task_file` and `trust`. Raises InputError for a head that the format cannot hold, with
    what can, and for an `out` that is not empty, unless `force`.
    """
    folder = weights_folder(source)
    if format != "onnx" and opset is not None:
        raise InputError(f"--opset is for --format onnx, not {format}; leave it out")
    if task is None:
        return _export_encoder(folder, out, format, opset, force)
    run = open_source(source, None, task_file, trust, device="cpu", precision="fp32")
    kind = _find_task(run, task)
    difference, notes = None, []
    with new_folder(out, folder, force) as partial:
        if format == "hf":
            notes = write_task_model(partial, run, kind)
            encoder = merged_encoder(run.model.encoder, kind.name)
            difference = encoder_difference(partial, encoder, run.tokenizer, kind.config.max_length)
        elif format == "onnx":
            difference = write_task_graph(partial, run, kind, opset)
        elif format == "peft":
            notes = write_task_adapter(partial, run, kind, folder, Path(out))
        else:
            size, parts = run.model.encoder.config.hidden_size, kind.sentence_vector_parts()
            modules = SentenceModules.of(size, *parts)
            vectors = SentenceEncoder(run.model.encoder, run.tokenizer, modules, kind.config.max_length)
            notes = write_sentence_encoder(partial, vectors, kind.name)
            difference = sentence_difference(partial, vectors, kind.name)
            notes.append(f"the head of {task} is not part of a sentence's vector, and not in the folder")
        files = files_of(partial)
    return ExportReport(format, str(out), files, difference, tuple(notes))


def _export_encoder(
    folder: Path, out: str | Path, format: str, opset: int | None, force: bool
) -> ExportReport:
    if format == "peft":
        raise InputError(
            f"--format peft is an adapter with a task's head; give --task, or take {folder / 'adapter'}, "
            f"which is in peft's format already where the run was trained with LoRA"
        )
    if names := task_adapters(folder):
        raise InputError(
            f"{folder} holds an adapter for each of {', '.join(names)}; name one with --task, or export its "
            f"encoder alone: minbert export {folder} {out} --format {format} --adapter {names[0]}"
        )
    return export_encoder(folder, out, format, opset=opset, force=force)


def _find_task(run: Run, name: str) -> TrainingTask:
    """Returns a trained task, scored or not. Raises InputError for another name."""
    task = run.model.tasks.get(name)
    if task is not None and name in run.trained and not task.scored:
        return task
    return run.task(name)
