"""The sentence vectors of a task, as sentence-transformers can compute them."""

from minbert import InputError, SentenceEncoder
from multitask.inference.run import Run
from multitask.model.heads import ProjectedHead
from multitask.tasks.base import TextTask, TrainingTask
from multitask.tasks.contrastive import ContrastiveTask


def sentence_encoder(run: Run, task: TrainingTask) -> SentenceEncoder:
    """Encoder, pooling, projection and normalisation as the task has them, without its head.

    Raises InputError for a task that has no vector of one sentence.
    """
    config, projection = task.config, None
    if isinstance(task, ContrastiveTask):
        pooling, normalization = task.sentence_pooling
    elif not isinstance(task, TextTask):
        raise InputError(
            f"{task.name} has outputs for tokens and no sentence vectors; export the encoder alone, without "
            f"--task, or the task with --format onnx"
        )
    elif config.pairs == "cross":
        raise InputError(
            f"{task.name} reads both texts of a pair as one input and has no vector of a sentence; take "
            f"--format onnx or hf, or train it with {task.name}.pairs bi"
        )
    elif type(task).sentence_vectors is not TextTask.sentence_vectors:
        raise InputError(
            f"the class of {task.name} makes sentence vectors in its own way, for which "
            f"sentence-transformers has no module; take --format onnx"
        )
    else:
        pooling, normalization = config.pooling, config.normalize
        head = run.model.heads[task.name]
        projection = head.projection if isinstance(head, ProjectedHead) else None
    encoder = run.model.encoder
    return SentenceEncoder(encoder, run.tokenizer, pooling, normalization, projection, config.max_length)
