"""The checks that every training command passes; see tools/run_checks.py."""

from run_checks import *  # noqa: F403
