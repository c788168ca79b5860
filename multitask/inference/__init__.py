"""A trained run: checkpoints, predictions, evaluation, the model card, plots."""
