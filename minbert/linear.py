"""A linear layer by the model's kernels."""

from torch import Tensor, nn

from minbert.kernels import Kernels


class Linear(nn.Linear):
    """x W^T + b over token rows, and GELU of it where that is asked for."""

    def __init__(self, size_in: int, size_out: int, kernels: Kernels):
        super().__init__(size_in, size_out)
        self.kernels = kernels

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:  # (T, in) -> (T, out)
        return self.kernels.linear(x, self.weight, self.bias, gelu)
