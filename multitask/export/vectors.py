"""The sentence vectors of a task, as sentence-transformers can compute them."""

from minbert import SentenceEncoder
from multitask.inference.run import Run
from multitask.tasks.base import TrainingTask


def sentence_encoder(run: Run, task: TrainingTask) -> SentenceEncoder:
    """Returns encoder, pooling, projection and normalisation as the task has them, without its head.

    Raises InputError for a task that has no vector of one sentence.
    """
    pooling, normalization, projection = task.sentence_vector_parts()
    length = task.config.max_length
    return SentenceEncoder(run.model.encoder, run.tokenizer, pooling, normalization, projection, length)
