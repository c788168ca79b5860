"""Weights: tables of tensor names, strict loading, saving, sentence-transformers folders, the hub."""
