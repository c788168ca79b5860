"""Which parts of the encoder stay as they are."""

from torch import nn

from minbert import InputError


def freeze(encoder: nn.Module, policy: str) -> None:
    """Freezes by name: `none`, or `backbone` for the whole encoder, which then runs without dropout.

    Raises InputError for another name.
    """
    if policy not in ("none", "backbone"):
        raise InputError(f"freeze is {policy!r}; choose none or backbone")
    frozen = policy == "backbone"
    for parameter in encoder.parameters():
        parameter.requires_grad_(not frozen)
