"""Augmentation: a training file with new texts for its small classes, by a language model, edits or copies."""
