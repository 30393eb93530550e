"""The learning track: every stage is red before it is written, and green with the package's own code."""

from stage_checks import *  # noqa: F403
