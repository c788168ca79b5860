"""Augmentation: new texts for the small classes of a training file, by a language model, edits or copies."""
