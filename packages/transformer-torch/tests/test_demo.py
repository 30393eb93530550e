"""The complete demo: a minute of training, so it is marked slow."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from transformer_torch import Translator
from transformer_torch.data.dates import date_pairs

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "transformer_torch", "demo", "--out", "dates"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return Translator.load(folder / "dates"), done.stdout


def test_dates_of_held_out_days_are_read_exactly(demo):
    translator, shown = demo
    right = int(shown.splitlines()[-1].split(" of 500")[0])
    assert right >= 495
    pairs = date_pairs(500, seed=2, held_out=True)
    found = translator.translate([p.text for p in pairs], beam_size=1)
    assert sum(f == p.iso for f, p in zip(found, pairs, strict=True)) >= 495


def test_cross_attention_is_on_the_digit_that_is_generated(demo):
    """For at least 90 % of the digits in both source and output, the maximum of the attention is on that digit."""
    translator, _ = demo
    hits = total = 0
    for pair in date_pairs(200, seed=3, held_out=True):
        weights = translator.attention(pair.text, pair.iso)[2]["decoder.1.cross_attn"].mean(0)
        hits += sum(int(weights[i].argmax()) == j for i, j in pair.alignment.items())
        total += len(pair.alignment)
    assert total > 1000
    assert hits / total >= 0.9


def test_the_copy_task_is_learned_without_the_trainer():
    example = runpy.run_path(str(FOLDER / "examples" / "train_copy_task.py"))
    assert example["main"]() >= 0.99


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_neither_norm_learns_dates_without_warm_up(tmp_path, norm):
    """Exercise 3 of the README: in Eq. (3) the peak learning rate is then 17 times as high."""
    command = [sys.executable, "-m", "transformer_torch", "train", "dates", "--warmup-steps", "1", "--norm", norm]
    done = subprocess.run([*command, "--out", "run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pairs = date_pairs(100, seed=2, held_out=True)
    found = Translator.load(tmp_path / "run").translate([p.text for p in pairs], beam_size=1)
    assert sum(f == p.iso for f, p in zip(found, pairs, strict=True)) < 10
