"""Checks that every package passes, and the records and names that other packages rely on."""

import subprocess
import sys

from package_checks import *  # noqa: F403


def test_modules_are_imported_when_first_used():
    code = "import sys, dlpapers_shared as s; before = {'matplotlib', 'numpy'} & set(sys.modules); s.viz.LOOK; "
    code += "print(before, 'matplotlib' in sys.modules, s.__version__ == s.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() True True\n"
