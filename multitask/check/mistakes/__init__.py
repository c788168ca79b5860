"""The catalogue of mistakes in losses and metrics: formulas step by step, and each mistake as one step."""
