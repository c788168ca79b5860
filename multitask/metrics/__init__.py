"""Metrics: scores and statistics of predictions."""
