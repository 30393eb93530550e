"""The two engines behind one interface: `python`, the textbook, and `numba`, compiled code with the same ids."""
