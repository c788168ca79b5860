"""Experiments of many runs: ablation, search, report, augmentation, ensemble, and their executors."""
