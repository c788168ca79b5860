"""`python -m multitask` is the command `multitask`."""

from multitask.cli import main

main()
