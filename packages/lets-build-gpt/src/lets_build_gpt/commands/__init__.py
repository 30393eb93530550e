"""The commands of the command line that use a trained run."""
