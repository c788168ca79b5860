"""A task with its encoder and head as one ONNX graph."""

import json
from contextlib import nullcontext
from pathlib import Path

from torch import Tensor, nn

from minbert import Batch, BertModel
from minbert.export import GraphExport, merged_encoder, rectangle, traceable, write_graph
from multitask.inference.run import Run
from multitask.model.multitask_model import EncoderView
from multitask.tasks.base import TrainingTask


class TaskGraph(nn.Module):
    """Padded inputs, 3 or 6, -> a task's outputs, as `results` makes them of batches of any layout."""

    def __init__(self, encoder: BertModel, task: TrainingTask):
        super().__init__()
        self.encoder = encoder
        self.task = task

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        sides = [rectangle(*inputs[start : start + 3]) for start in range(0, len(inputs), 3)]
        return self.results(sides[0] if len(sides) == 1 else tuple(sides))

    def results(self, inputs: Batch | tuple[Batch, Batch]) -> tuple[Tensor, ...]:
        """Computes the task's `graph_outputs`, fp32, of one batch or of the two sides of pairs."""
        return self.task.graph(EncoderView(self.encoder, self.task.name, nullcontext), inputs)


def write_task_graph(folder: Path, run: Run, task: TrainingTask, opset: int | None = None) -> float:
    """Writes the graph, checked against the run's own outputs; returns the largest difference.

    Raises InputError for a task without outputs of its own, and as `write_graph` does.
    """
    outputs = task.graph_outputs()
    encoder = traceable(merged_encoder(run.model.encoder, task.name))
    facts = {"task": task.name, "type": task.config.type}
    if labels := getattr(task, "labels", ()):
        facts["labels"] = json.dumps(list(labels))
    export = GraphExport(
        TaskGraph(encoder, task).eval(),
        TaskGraph(run.model.encoder, task).results,
        outputs,
        encoder.config,
        run.tokenizer,
        task.config.max_length,
        task.input_form,
        facts,
    )
    return write_graph(folder, export, opset)
