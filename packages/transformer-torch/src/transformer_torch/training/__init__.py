"""Training: the loop, optimizers and learning rate, checkpoints, several processes."""
