"""What every package of this repository passes: metadata, README, doctests, mutants, help texts, error lines."""

from package_checks import *  # noqa: F403
