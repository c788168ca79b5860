"""A task with its encoder and head as one ONNX graph."""

import json
from contextlib import nullcontext
from pathlib import Path

from torch import Tensor, nn

from minbert import Batch, BertModel, InputError
from minbert.export import GraphExport, merged_encoder, rectangle, traceable, write_graph
from multitask.inference.run import Run
from multitask.model.multitask_model import Encode
from multitask.tasks.base import ScoredTask, TextTask, TrainingTask
from multitask.tasks.contrastive import ContrastiveTask
from multitask.tasks.generic import ClassificationTask, PairTask, SimilarityTask
from multitask.tasks.tokens import TokensTask


class TaskGraph(nn.Module):
    """Padded inputs, 3 or 6, -> a task's outputs, as `results` makes them of batches of any layout."""

    def __init__(self, encoder: BertModel, task: TrainingTask, head: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.task = task
        self.head = head

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        sides = [rectangle(*inputs[start : start + 3]) for start in range(0, len(inputs), 3)]
        return self.results(sides[0] if len(sides) == 1 else tuple(sides))

    def results(self, inputs: Batch | tuple[Batch, Batch]) -> tuple[Tensor, ...]:
        """The tensors that `describe_outputs` names, fp32, of one batch or of the two sides of pairs."""
        task, head = self.task, self.head
        encode = Encode(self.encoder, task.name, nullcontext)
        if isinstance(task, ContrastiveTask):
            return (task.embed(encode, head, inputs),)
        if isinstance(task, TokensTask):
            logits = inputs.pad(head(encode(inputs).packed))  # (B, S, C)
            return logits, logits.softmax(dim=-1)
        if isinstance(inputs, tuple):
            u, v = (task.sentence_vectors(encode, head, side) for side in inputs)  # each (B, D or P)
            logits = task.compare(head, u, v)  # apart, since chunk(2) would fix the number of examples
        else:
            logits = task.forward(encode, head, inputs)
        return (logits, task.soft(logits).float()) if _has_soft(task) else (logits,)


def write_task_graph(folder: Path, run: Run, task: TrainingTask, opset: int | None = None) -> float:
    """Writes the graph, checked against the run's own outputs; -> the largest difference.

    Raises InputError for a task without outputs of its own, and as `write_graph` does.
    """
    if not isinstance(task, ScoredTask | ContrastiveTask):
        raise InputError(
            f"{task.name} has a head for its training only; export the encoder alone, without --task"
        )
    if _texts(task) == "pair of towers" and type(task).forward is not TextTask.forward:
        raise InputError(f"the class of {task.name} compares two vectors in its own way; take pairs cross")
    head = run.model.heads[task.name]
    encoder = traceable(merged_encoder(run.model.encoder, task.name))
    facts = {"task": task.name, "type": task.config.type}
    if labels := getattr(task, "labels", ()):
        facts["labels"] = json.dumps(list(labels))
    export = GraphExport(
        TaskGraph(encoder, task, head).eval(),
        TaskGraph(run.model.encoder, task, head).results,
        describe_outputs(task),
        encoder.config,
        run.tokenizer,
        task.config.max_length,
        _texts(task),
        facts,
    )
    return write_graph(folder, export, opset)


def describe_outputs(task: TrainingTask) -> dict[str, str]:
    """The graph's outputs by name, and what each is."""
    config = task.config
    if isinstance(task, ContrastiveTask):
        length = f"{config.normalize.upper()} length 1" if config.normalize else "not normalised"
        return {"sentence_embedding": f"(B, D): {config.pooling} pooling, {length}"}
    if isinstance(task, TokensTask):
        return {
            "logits": "(B, S, C): for each token, zeros at padding; a word's tag is that of its first token",
            "probabilities": "(B, S, C): their softmax",
        }
    if isinstance(task, ClassificationTask) and config.loss == "ordinal":
        above = {"logits": "(B, C - 1): of being above each label but the last"}
        return above | {"probabilities": "(B, C): of each label"}
    if isinstance(task, ClassificationTask):
        return {"logits": "(B, C): for each label", "probabilities": "(B, C): their softmax"}
    if isinstance(task, PairTask):
        return {
            "logits": "(B): above 0 where the texts are the same",
            "probabilities": "(B): of being the same",
        }
    if isinstance(task, SimilarityTask):
        logits = (
            "(B, 2): the cosine, and what trains it" if config.loss == "angle" else "(B): the head's output"
        )
        return {"logits": logits, "scores": f"(B): similarity from {config.low:g} to {config.high:g}"}
    soft = {"probabilities": "as the task's class makes them of the logits"}
    return {"logits": "the outputs of the task's class"} | (soft if _has_soft(task) else {})


def _has_soft(task: ScoredTask) -> bool:
    """Whether the task's class makes probabilities or scores of its outputs."""
    return type(task).soft is not ScoredTask.soft


def _texts(task: TrainingTask) -> str:
    """What an example of the task consists of; see GraphExport."""
    if isinstance(task, TokensTask):
        return "words"
    if isinstance(task, ContrastiveTask) or task.config.pairs is None:
        return "text"
    return "pair" if task.config.pairs == "cross" else "pair of towers"
