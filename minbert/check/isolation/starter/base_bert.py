"""Stands in for the CS224N starter's file of this name: the base class of a student's BertModel."""

import torch
from torch import nn


class BertPreTrainedModel(nn.Module):
    """A module with a configuration, BERT's initial values, and the type of its parameters."""

    def __init__(self, config, *inputs, **settings):
        super().__init__()
        self.config = config
        self.name_or_path = getattr(config, "name_or_path", "")

    def init_weights(self) -> None:
        """Linear layers and embeddings normal with deviation `initializer_range`, norms 1, biases 0."""
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device
