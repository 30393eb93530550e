"""References in NumPy whose switches reproduce common mistakes. They accept complex numbers; see `engine.gradients`."""
