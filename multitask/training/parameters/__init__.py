"""Parameters: which tensors train, when, and at which learning rates."""
