"""What several test files use."""

import numpy as np
import pytest


def relative(ours, theirs, floor=1e-300):
    """The largest difference, in units of the largest true value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max(initial=0) / max(np.abs(theirs).max(initial=0), floor))


@pytest.fixture(scope="session")
def relative_error():
    return relative
