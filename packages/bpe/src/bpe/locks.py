"""The lock under which things are built that all threads share: kernels, engines, tables."""

from __future__ import annotations

import os
import threading

# One lock for all of them, so that no two threads can wait for each other. Reentrant, because building an engine loads
# kernels.
building = threading.RLock()

if hasattr(os, "register_at_fork"):
    # A fork waits until no thread builds anything. Otherwise the child would inherit the lock, and those of the import
    # system, and wait for them forever.
    os.register_at_fork(before=building.acquire, after_in_parent=building.release, after_in_child=building.release)
