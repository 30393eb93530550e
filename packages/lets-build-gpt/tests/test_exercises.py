"""Every exercise can be solved, rejects wrong answers, and is not done as a reader gets it."""

from exercise_checks import *  # noqa: F403
