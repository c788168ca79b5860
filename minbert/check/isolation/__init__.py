"""Others' code in a process of its own, within limits."""
