from package_checks import *  # noqa: F403
