"""From token rows to one vector a sentence: pooling, then projections, norms and normalisation.

The modules are those of sentence-transformers, by its names and defaults. B sentences, D features.
"""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.batch import Layout
from minbert.errors import InputError, did_you_mean

POOLINGS = ("cls", "pooler", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
FIRST_TOKEN_POOLINGS = ("cls", "pooler")  # which read nothing but column 0
NORMALIZATIONS = ("l1", "l2", None)
FROM_FOLDER = "from the folder"


def first_rows(rows: Tensor, layout: Layout, skip: int = 0) -> Tensor:
    """The row in column `skip` of each sequence (of shorter ones: 0), zeros for an empty sequence.

    (T, D) -> (B, D) in layout order.
    """
    return _reduce(rows, layout, lambda block, mask: block[:, skip if skip < block.shape[1] else 0])


def mean_rows(rows: Tensor, layout: Layout, skip: int = 0, root: bool = False) -> Tensor:
    """The mean over real tokens, zeros for an empty sequence; (T, D) -> (B, D) in layout order.

    With `root` the sum is divided by the square root of the number of tokens.
    """

    def mean(block: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            average = block.mean(dim=1)
            return average * block.shape[1] ** 0.5 if root else average
        count = mask.sum(dim=1).clamp(min=1)
        return (block * mask).sum(dim=1) / (count.sqrt() if root else count)

    return _reduce(rows, layout, mean, skip)


def weighted_mean_rows(rows: Tensor, layout: Layout, skip: int = 0) -> Tensor:
    """The mean over real tokens weighted by their places 1, 2, ..., those that are skipped counted."""

    def mean(block: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            places = torch.arange(skip + 1, skip + 1 + block.shape[1], device=block.device)[:, None]
            return (block * places).sum(dim=1) / places.sum()
        places = mask.cumsum(dim=1) * mask
        return (block * places).sum(dim=1) / places.sum(dim=1).clamp(min=1)

    return _reduce(rows, layout, mean, skip)


def max_rows(rows: Tensor, layout: Layout, skip: int = 0) -> Tensor:
    """The maximum over real tokens, zeros for an empty sequence; (T, D) -> (B, D) in layout order."""

    def maximum(block: Tensor, mask: Tensor | None) -> Tensor:
        return block.amax(dim=1) if mask is None else block.masked_fill(~mask, -torch.inf).amax(dim=1)

    return _reduce(rows, layout, maximum, skip)


def last_rows(rows: Tensor, layout: Layout, skip: int = 0) -> Tensor:
    """The row of the last real token, zeros for an empty sequence; (T, D) -> (B, D) in layout order."""

    def last(block: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return block[:, -1]
        places = torch.arange(mask.shape[1], device=mask.device)[:, None]
        column = (mask * places).amax(dim=1, keepdim=True)  # (B, 1, 1)
        return block.gather(1, column.expand(-1, -1, block.shape[-1])).squeeze(1)

    return _reduce(rows, layout, last, skip)


def _reduce(rows: Tensor, layout: Layout, reduce, skip: int = 0) -> Tensor:
    """Applies reduce((n, S, D), mask (n, S, 1) or None) -> (n, D) to each rectangle of the layout.

    The first `skip` tokens of each sequence are left out, in a packed layout only.
    """
    if not layout.packed:
        assert not skip
        mask = layout.token_mask
        [block] = layout.blocks(rows)
        return reduce(block, mask.unsqueeze(-1)).masked_fill(~mask.any(dim=1, keepdim=True), 0.0)
    vectors = [
        reduce(block[:, skip:], None) if skip < block.shape[1] else block.new_zeros(block[:, 0].shape)
        for block in layout.blocks(rows)
    ]
    empty = rows.new_zeros(layout.lengths.count(0), rows.shape[-1])  # empty sequences stand last
    return torch.cat([*vectors, empty])


_REDUCTIONS = {
    "cls": first_rows,
    "mean": mean_rows,
    "max": max_rows,
    "mean_sqrt_len_tokens": lambda rows, layout, skip: mean_rows(rows, layout, skip, root=True),
    "weightedmean": weighted_mean_rows,
    "lasttoken": last_rows,
}


def pool(output, pooling: str, skip: int = 0) -> Tensor:
    """One vector a sequence from a BertOutput -> (B, D), fp32 at least, in the caller's order.

    The first `skip` tokens of each sequence are left out. Raises InputError for a name that is not in
    POOLINGS, and for "pooler" where the weights hold none.
    """
    if pooling == "pooler":
        return output.pooler_output
    _check_pooling(pooling)
    rows = output.packed.to(torch.promote_types(output.packed.dtype, torch.float32))
    return output.batch.restore(_REDUCTIONS[pooling](rows, output.batch.layout, skip))


def _check_pooling(name: str) -> None:
    if name not in POOLINGS:
        raise InputError(
            f"pooling {name!r} does not exist; choose from {', '.join(POOLINGS)}"
            f"{did_you_mean(str(name), POOLINGS)}"
        )


def normalize(vectors: Tensor, kind: str | None) -> Tensor:
    """Divides each vector (..., D) by its L1 or L2 length; zeros stay zeros.

    Raises InputError for a kind that is not in NORMALIZATIONS.
    """
    if kind not in NORMALIZATIONS:
        raise InputError(
            f"normalization {kind!r} does not exist; choose l1, l2 or none"
            f"{did_you_mean(str(kind), ['l1', 'l2'])}"
        )
    return vectors if kind is None else F.normalize(vectors, p=1.0 if kind == "l1" else 2.0, dim=-1)


class Pooling(nn.Module):
    """The vectors of one or more POOLINGS, one after the other: a BertOutput -> (B, size * modes).

    `size` is the model's hidden size. Without `include_prompt` the tokens of a prompt are left out.
    """

    def __init__(self, size: int, *modes: str, include_prompt: bool = True):
        super().__init__()
        for mode in modes:
            _check_pooling(mode)
        self.size = size
        self.modes = modes or ("mean",)
        self.include_prompt = include_prompt

    @property
    def first_token_only(self) -> bool:
        """True if nothing but column 0 of each sequence is read."""
        return self.include_prompt and set(self.modes) <= set(FIRST_TOKEN_POOLINGS)

    def forward(self, output, prompt_length: int = 0) -> Tensor:
        skip = 0 if self.include_prompt else prompt_length
        return torch.cat([pool(output, mode, skip) for mode in self.modes], dim=-1)

    def extra_repr(self) -> str:
        return ", ".join([str(self.size), *self.modes, *(["without prompt"] * (not self.include_prompt))])


class Projection(nn.Module):
    """A linear layer to another size, then an activation of torch.nn; sentence-transformers' Dense."""

    def __init__(
        self,
        size_in: int,
        size_out: int,
        activation: Callable[[], nn.Module] = nn.Tanh,
        bias: bool = True,
    ):
        super().__init__()
        self.linear = nn.Linear(size_in, size_out, bias=bias)
        self.activation_function = activation()

    def forward(self, vectors: Tensor) -> Tensor:  # (B, D) -> (B, D')
        return self.activation_function(self.linear(vectors))

    def __repr__(self) -> str:
        linear, activation = self.linear, type(self.activation_function).__name__
        bias = "" if linear.bias is not None else ", no bias"
        return f"Projection({linear.in_features}, {linear.out_features}, {activation}{bias})"


class Normalize(nn.Module):
    """Divides vectors (B, D) by their L1 or L2 length."""

    def __init__(self, kind: str = "l2"):
        super().__init__()
        if kind not in ("l1", "l2"):
            raise InputError(f"normalize is {kind!r}; choose l1, l2 or None")
        self.kind = kind

    def forward(self, vectors: Tensor) -> Tensor:
        return normalize(vectors, self.kind)

    def extra_repr(self) -> str:
        return self.kind


class SentenceModules(nn.Module):
    """Makes a sentence's vector of token rows: a Pooling, then modules on vectors (B, D) -> (B, D').

    Raises InputError for modules that do not fit together.
    """

    def __init__(self, pooling: Pooling, *after: nn.Module):
        super().__init__()
        self.pooling = pooling
        self.after = nn.Sequential(*after)
        self.size = pooling.size * len(pooling.modes)
        for module in after:
            taken = given = self.size
            if isinstance(module, Projection):
                taken, given = module.linear.in_features, module.linear.out_features
            elif isinstance(module, nn.LayerNorm):
                taken = given = module.normalized_shape[0]
            if taken != self.size:
                raise InputError(
                    f"{module} takes vectors of {taken} features and gets {self.size}; check the sizes of "
                    f"the modules before it"
                )
            self.size = given

    @classmethod
    def of(
        cls,
        size: int,
        pooling: str = "mean",
        normalization: str | None = None,
        projection: Projection | None = None,
    ) -> Self:
        """One pooling for a model of hidden size `size`, and the usual modules after it."""
        after = [projection] if projection is not None else []
        return cls(Pooling(size, pooling), *after, *([Normalize(normalization)] if normalization else []))

    def changed(self, pooling: str | None = None, normalization: str | None = FROM_FOLDER) -> Self:
        """The same modules with another pooling, and another normalisation at the end, where given."""
        after = list(self.after)
        if normalization != FROM_FOLDER:
            after = after[:-1] if self.normalization else after
            after += [Normalize(normalization)] if normalization is not None else []
        kept = self.pooling
        if pooling is not None:
            kept = Pooling(kept.size, pooling, include_prompt=kept.include_prompt)
        return type(self)(kept, *after)

    @property
    def normalization(self) -> str | None:
        """l1, l2, or None where normalisation is not the last step."""
        last = self.after[-1] if len(self.after) else None
        return last.kind if isinstance(last, Normalize) else None

    def forward(self, output, prompt_length: int = 0) -> Tensor:
        """(B, size) from a BertOutput; the first `prompt_length` tokens of each sentence are a prompt's."""
        return self.after(self.pooling(output, prompt_length))

    def describe(self) -> list[str]:
        """A line for each module."""
        return [str(module) for module in (self.pooling, *self.after)]
