"""Experiments of many runs: ablation, search, report, augmentation, ensemble, and the claims they share."""
