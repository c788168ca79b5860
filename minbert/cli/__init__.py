"""The command line of minbert: one file for each command."""
