"""Hyperparameter search by Optuna, in one process or many, interrupted and continued at any time."""
