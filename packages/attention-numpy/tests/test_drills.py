"""The drills: every planted mistake has a symptom, and a repaired one is recognized."""

from drill_checks import *  # noqa: F403
