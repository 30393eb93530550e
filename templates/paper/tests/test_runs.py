"""What every training command of this repository passes: run folder, resume, extend, signals, divergence."""

from run_checks import *  # noqa: F403
