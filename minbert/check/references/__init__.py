"""The papers' formulas in plain numpy and fp64, a method for each step, and the inputs that fixtures hold."""
