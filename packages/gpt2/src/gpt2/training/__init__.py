"""Training: the loop, optimizers, checkpoints, several processes, fine-tuning, and LoRA."""
