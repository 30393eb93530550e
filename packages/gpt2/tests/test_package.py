import re
from pathlib import Path

import pytest
import torch
from gpt2 import GPT2, GPT2Config
from gpt2.config import SIZES
from package_checks import *  # noqa: F403

FOLDER = Path(__file__).parent.parent


def test_the_readmes_table_of_memory_is_that_of_the_sizes():
    rows = re.findall(r"^\| (\w+M) \|(.*)\|$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [size for size, _ in rows] == list(SIZES)
    for size, row in rows:
        with torch.device("meta"):
            count = GPT2(GPT2Config.named(size)).num_parameters()
        stated = [float(cell.replace(",", "")) for cell in row.split("|")]
        assert stated == pytest.approx([count, 16 * count / 2**30, 4 * count / 2**30, count / 2**30], rel=0.05)
        assert stated[0] == count


def test_the_model_is_one_file_of_at_most_350_lines():
    assert len((FOLDER / "src/gpt2/model.py").read_text(encoding="utf-8").splitlines()) <= 350


def test_the_configuration_needs_neither_torch_nor_numpy():
    text = (FOLDER / "src/gpt2/config.py").read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) (torch|numpy)", text, re.MULTILINE)
