"""A model's copy in bf16 for inference: no weight is cast while it runs."""

import copy

import torch

from minbert.adapters import adapted_modules
from minbert.model import BertModel


class HalfPrecisionCopy:
    """The copy of a model whose embeddings and layers compute in bf16; the pooler stays fp32.

    It is made when it is first asked for, and anew when the model's weights or adapters in use have changed
    since. Changes through `parameter.data`, which torch does not count, are not seen.
    """

    def __init__(self, model: BertModel):
        self.model = model
        self._copy: BertModel | None = None
        self._made_from: list | None = None

    def current(self) -> BertModel:
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.model.parameters()]
        state += [module.active for module in adapted_modules(self.model)]
        if state != self._made_from:
            self._copy = copy.deepcopy(self.model).requires_grad_(False).eval()
            self._copy.embeddings.to(torch.bfloat16)
            self._copy.encoder.to(torch.bfloat16)
            self._made_from = state
        return self._copy


def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies bf16 numbers itself (AVX-512 BF16 or AMX); without that bf16 is slower."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: an older torch may lack them
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
