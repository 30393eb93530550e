"""The checks that every package passes; see tools/package_checks.py."""

from package_checks import *  # noqa: F403
