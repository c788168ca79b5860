"""The computations that decide a BERT's speed, written out as in the papers and fused."""

from minbert.kernels.registry import use as use
