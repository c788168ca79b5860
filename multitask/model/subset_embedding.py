"""Word embeddings that train only the rows of tokens in the training data.

Half of a small BERT's parameters are word embeddings, and most data touch a part of them. The gradient of the
others is 0 in every step and nothing decays embeddings: leaving them out changes no weight, and spares the
time of filling, reading and adding zeros. V tokens, R of them touched, D hidden size.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert import InputError
from multitask.data.collate import TokenizedExample, token_ids_of

WORTHWHILE = 0.9  # where more of the rows are touched, the whole table is trained


class SubsetEmbedding(nn.Module):
    """An nn.Embedding in two parts: `weight` (R, D), the rows that are trained, and `others` (V - R, D).

    `ids` are the tokens that training touches, not all V; the padding token is always one of them. In
    training mode another token is an InputError, on CUDA an error of the device; in evaluation mode any token
    will do. State dicts hold the whole table (V, D) as `weight`, like those of the nn.Embedding.
    """

    def __init__(self, embedding: nn.Embedding, ids: Iterable[int]):
        super().__init__()
        table, padding = embedding.weight, embedding.padding_idx
        touched = torch.zeros(len(table), dtype=torch.bool, device=table.device)
        touched[list(ids)] = True
        if padding is not None:
            touched[padding] = True
        order = (~touched).long().argsort(stable=True)  # (V,): the ids that are touched, then the others
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("place", order.argsort(), persistent=False)  # (V,): where an id is in `order`
        rows, others = table.detach()[order].tensor_split([int(touched.sum())])
        self.weight = nn.Parameter(rows.clone(), table.requires_grad)
        self.register_buffer("others", others.clone(), persistent=False)
        self.padding_idx = None if padding is None else int(self.place[padding])
        self.train(embedding.training)

    def forward(self, token_ids: Tensor) -> Tensor:  # (T,) -> (T, D)
        places, count = self.place[token_ids], len(self.weight)
        if self.training:
            try:
                return F.embedding(places, self.weight, self.padding_idx)
            except IndexError:
                raise InputError(
                    f"a training step reads token {int(token_ids[places >= count][0])}, which no training "
                    f"text has; set `whole_vocabulary = True` in the class of a task that makes up tokens"
                ) from None
        rows = F.embedding(places.clamp(max=count - 1), self.weight, self.padding_idx)
        others = F.embedding((places - count).clamp(min=0), self.others)
        return torch.where((places < count).unsqueeze(-1), rows, others)

    def whole(self, rows: Tensor, others: Tensor) -> Tensor:
        """(R, D), (V - R, D) -> (V, D), in the order of the ids."""
        return torch.cat([rows, others])[self.place]

    def parts(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """(V, D) -> (R, D), (V - R, D): what `whole` puts together."""
        rows, others = table.to(self.order.device)[self.order].tensor_split([len(self.weight)])
        return rows, others

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.whole(self.weight.detach(), self.others)

    def _load_from_state_dict(
        self, state_dict, prefix, metadata, strict, missing, unexpected, errors
    ) -> None:
        table, shape = state_dict.get(prefix + "weight"), (len(self.order), self.weight.shape[1])
        if table is not None and table.shape != shape:
            errors.append(f"size mismatch for {prefix}weight: {tuple(table.shape)} instead of {shape}")
            return
        if table is not None:
            rows, others = self.parts(table)
            self.others.copy_(others)
            state_dict = state_dict | {prefix + "weight": rows}
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)


def train_touched_rows(
    model: nn.Module, data: Mapping[str, Sequence[TokenizedExample]]
) -> SubsetEmbedding | None:
    """Puts SubsetEmbedding into the place of a MultitaskModel's word embeddings, where that saves something.

    `data` are the training examples of all tasks and processes. Nothing happens, and the result is None,
    where the word embeddings are frozen, a task reads the whole vocabulary, or the data touch nearly all.
    """
    word = model.encoder.embeddings.word
    if not word.weight.requires_grad or any(task.whole_vocabulary for task in model.tasks.values()):
        return None
    found = np.unique(np.concatenate([np.zeros(0, np.int64), *map(token_ids_of, data.values())]))
    ids = found[found < word.num_embeddings].tolist()  # the model itself refuses others
    if len(ids) > WORTHWHILE * word.num_embeddings:
        return None
    touched = SubsetEmbedding(word, ids)
    model.encoder.embeddings.word = touched
    return touched


class WholeTableState:
    """A part of the training state, with the whole table where the part itself has only the rows in use.

    So checkpoints are the same with and without SubsetEmbedding, and each can go on with the other's. `path`
    are the two keys that lead to a tensor (R, D) in the part's state, or to a mapping with some; `others`
    (V - R, D) are the rows that the part does not have.
    """

    def __init__(self, part: Any, path: tuple[Any, Any], touched: SubsetEmbedding, others: Tensor):
        self.part = part
        self.path = path
        self.touched = touched
        self.others = others

    def state_dict(self) -> dict[str, Any]:
        return self._changed(self.part.state_dict(), lambda rows: self.touched.whole(rows, self.others))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.part.load_state_dict(self._changed(state, lambda table: self.touched.parts(table)[0]))

    def _changed(self, state: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> Mapping[str, Any]:
        outer, inner = self.path
        if inner not in state[outer]:  # before the first step
            return state
        found = state[outer][inner]
        if isinstance(found, Tensor):
            found = change(found)
        else:
            tensors = {key: change(value) for key, value in found.items() if isinstance(value, Tensor)}
            found = {**found, **tensors}
        return {**state, outer: {**state[outer], inner: found}}


def with_whole_table(parts: Mapping[str, Any], touched: SubsetEmbedding) -> dict[str, Any]:
    """Returns the parts of the training state, with optimizer and momentum teacher as WholeTableStates.

    Moments of rows that are not trained are 0, and the teacher's rows are the model's.
    """
    optimizer = parts["optimizer"]
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    number = next(i for i, parameter in enumerate(trained) if parameter is touched.weight)
    zeros = touched.others.new_zeros(()).expand_as(touched.others)
    changed = {"optimizer": WholeTableState(optimizer, ("state", number), touched, zeros)}
    if "teacher" in parts:
        path = ("weights", "encoder.embeddings.word.weight")
        changed["teacher"] = WholeTableState(parts["teacher"], path, touched, touched.others)
    return {**parts, **changed}
