"""Methods: how a micro-batch becomes gradients, and how the gradients of several tasks are combined."""
