"""`python -m multitask` is the command `multitask`."""

from multitask.cli.main import main

main()
