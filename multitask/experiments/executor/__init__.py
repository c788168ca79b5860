"""Executors: run jobs in worker processes of this machine, or as tasks of a Ray cluster."""
