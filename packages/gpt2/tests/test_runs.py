from run_checks import *  # noqa: F403
