"""MultitaskBERT: a trained run behind the interface of the course's model class.

Inputs are padded, B sentences of S tokens: `input_ids` (B, S) and `attention_mask` (B, S), 1 at real tokens,
each sentence with its [CLS] and [SEP], as the course's data loaders give them.
"""

from pathlib import Path

from torch import Tensor, nn

from minbert import Batch, InputError
from multitask.inference.run import Run, load_run

SENTIMENTS = 5


class MultitaskBERT(nn.Module):
    """Computes the three predictions of the course as the run does; gradients flow to its weights."""

    def __init__(self, run: Run):
        super().__init__()
        self.model = run.model
        self.tokenizer = run.tokenizer
        self.names = {
            kind: [name for name in run.trained if run.model.tasks[name].config.type == kind]
            for kind in ("sst", "paraphrase", "sts")
        }

    @classmethod
    def from_run(cls, folder: str | Path, device: str = "auto", precision: str = "auto") -> "MultitaskBERT":
        """Loads the best checkpoint of a run's folder. Raises InputError for another folder."""
        return cls(load_run(folder, device, precision))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Computes the pooler's output (B, D). Raises InputError where the weights have no pooler."""
        batch = _batch(_sentences(input_ids, attention_mask), self.model.device)
        return self.model.encoder(batch).pooler_output

    def predict_sentiment(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Computes logits (B, 5) of the classes 0, negative, to 4, positive."""
        name = self._task("sst")
        task = self.model.tasks[name]
        if task.outputs != SENTIMENTS:
            raise InputError(f"{name}.loss is {task.config.loss!r}, which has no logit for each class")
        sentences = _cut(_sentences(input_ids, attention_mask), task.config.max_length)
        return self.model(name, _batch(sentences, self.model.device))

    def predict_paraphrase(
        self, input_ids_1: Tensor, attention_mask_1: Tensor, input_ids_2: Tensor, attention_mask_2: Tensor
    ) -> Tensor:
        """Computes logits (B,), above 0 where the two sentences mean the same."""
        first, second = _sentences(input_ids_1, attention_mask_1), _sentences(input_ids_2, attention_mask_2)
        return self._pairs(self._task("paraphrase"), first, second)

    def predict_similarity(
        self, input_ids_1: Tensor, attention_mask_1: Tensor, input_ids_2: Tensor, attention_mask_2: Tensor
    ) -> Tensor:
        """Computes scores (B,) on the scale of the labels, 0 to 5; a model's may lie outside."""
        name = self._task("sts")
        first, second = _sentences(input_ids_1, attention_mask_1), _sentences(input_ids_2, attention_mask_2)
        return self.model.tasks[name].example_scores(self._pairs(name, first, second))

    def _task(self, kind: str) -> str:
        found = self.names[kind]
        if len(found) != 1:
            raise InputError(
                f"the run has {len(found)} trained tasks of type {kind!r}; this model needs one: train with "
                f"--tasks sst,paraphrase,sts"
            )
        return found[0]

    def _pairs(self, name: str, first: list[list[int]], second: list[list[int]]) -> Tensor:
        """Computes the task's outputs for pairs, joined or side by side as it was trained."""
        task = self.model.tasks[name]
        length = task.config.max_length
        if len(first) != len(second):
            raise InputError(f"{len(first)} first sentences and {len(second)} second ones; give pairs")
        if task.towers:
            return self.model(name, _batch(_cut([*first, *second], length), self.model.device))
        joined = [self.tokenizer.join(a[1:-1], b[1:-1], length) for a, b in zip(first, second, strict=True)]
        ids, types = [pair.ids for pair in joined], [pair.types for pair in joined]
        return self.model(name, Batch.from_sequences(ids, types).to(self.model.device))


def _sentences(input_ids: Tensor, attention_mask: Tensor) -> list[list[int]]:
    """Returns the ids of each sentence, without padding."""
    if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape:
        raise InputError(
            f"input_ids is {tuple(input_ids.shape)}, attention_mask {tuple(attention_mask.shape)}; both have "
            f"to be (sentences, tokens)"
        )
    mask = Batch.from_padded(input_ids, attention_mask, packed=False).layout.mask  # checks values too
    rows = zip(input_ids.cpu(), mask.cpu(), strict=True)
    sentences = [ids[mask].tolist() for ids, mask in rows]
    for number, ids in enumerate(sentences):
        if len(ids) < 2:
            raise InputError(f"sentence {number} has {len(ids)} tokens; each has at least [CLS] and [SEP]")
    return sentences


def _cut(sentences: list[list[int]], length: int) -> list[list[int]]:
    """Cuts each sentence to `length` tokens; its last one, [SEP], is kept."""
    return [ids if len(ids) <= length else [*ids[: length - 1], ids[-1]] for ids in sentences]


def _batch(sentences: list[list[int]], device) -> Batch:
    """Packs sentences into a batch, token types all 0."""
    return Batch.from_sequences(sentences, [[0] * len(ids) for ids in sentences]).to(device)
