"""The checks that every package passes, and those of this package's imports."""

import subprocess
import sys

from package_checks import *  # noqa: F403


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names_import_numba_only_where_it_is_used():
    code = "import bpe; bpe.Tokenizer, bpe.train, bpe.get_encoding; import sys; print('numba' in sys.modules)"
    assert in_a_new_process(code) == "False\n"


def test_imports_run_one_way():
    """The tokenizer imports neither training nor the command line; formats import no tokenizer."""
    code = "import bpe.tokenizer, bpe.formats, sys; print(*sorted(m for m in sys.modules if m.startswith('bpe')))"
    modules = set(in_a_new_process(code).split())
    assert not [m for m in modules if m.startswith(("bpe.training", "bpe.cli", "bpe.hub", "bpe.token_file"))]
    code = "import bpe.formats, sys; print('bpe.tokenizer' in sys.modules)"
    assert in_a_new_process(code) == "False\n"
