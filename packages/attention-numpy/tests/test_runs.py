"""What every training command promises."""

from run_checks import *  # noqa: F403
