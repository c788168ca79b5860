"""`python -m minbert` is the command `minbert`."""

from minbert.cli.main import main

main()
