"""Fail early and clearly on a Python that is too old: pip's own message names a conflict of versions instead."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 – this file runs on any Python
    sys.exit("error: dlpapers needs Python 3.11 or newer, got " + sys.version.split()[0])
