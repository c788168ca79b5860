"""torch's dropout with draws of our choice, or with none, so that what it does can be foretold."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from minbert.check.stage import Array

Draws = Callable[[tuple[int, ...]], Array]


class WithDropout(TorchFunctionMode):
    """Drops where `draws` of a tensor's shape are below the rate; nothing at all where `draws` is None.

    Dropout that is written by hand is left as it is.
    """

    def __init__(self, draws: Draws | None):
        super().__init__()
        self.draws = draws

    def __torch_function__(self, function, types, arguments=(), settings=None):
        settings = settings or {}
        if function in (functional.dropout, torch.dropout):
            return self._dropout(*arguments, **settings)
        if function is functional.scaled_dot_product_attention:
            return self._attention(*arguments, **settings)
        return function(*arguments, **settings)

    def _dropout(
        self,
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        train: bool | None = None,  # torch.dropout's name of `training`
    ) -> Tensor:
        if self.draws is None or not (training if train is None else train):
            return input
        kept = torch.from_numpy(self.draws(tuple(input.shape)) >= p)
        dropped = torch.where(kept, input / (1 - p), 0.0)
        return input.copy_(dropped) if inplace else dropped

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        """torch's, whose own dropout is that of the probabilities: softmax(Q K^T / sqrt(K) + mask) V."""
        identity = torch.eye(key.shape[-2], dtype=value.dtype).expand(*value.shape[:-1], -1)
        probabilities = functional.scaled_dot_product_attention(
            query, key, identity, attn_mask, 0.0, is_causal, scale=scale
        )
        return self._dropout(probabilities, dropout_p) @ value
