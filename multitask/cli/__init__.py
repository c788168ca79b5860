"""The command line of multitask: one file for each command."""
