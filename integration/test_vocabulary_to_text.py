"""From a text to a model that writes: subwords by `bpe`, a model by `gpt2`, which `transformers` reads."""

import json
import os
import subprocess
import sys
from pydoc_data.topics import topics

import pytest


def run(*arguments, **options):
    """A command of a package, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A vocabulary, token files, a trained model and its export, each made by one command."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "a.txt").write_text("\n".join(topics[name] for name in sorted(topics))[:200_000], encoding="utf-8")
    vocabulary = ("bpe", "train", folder / "a.txt", "--vocab-size", 512, "--special-tokens", "<|endoftext|>")
    run(*vocabulary, "--out", folder / "t.json")
    run("gpt2", "prepare", folder / "a.txt", "--tokenizer", folder / "t.json", "--out", folder / "data")
    sizes = ("--d-model", 48, "--n-heads", 2, "--n-layers", 2, "--context-length", 64, "--batch-size", 8)
    training = ("--steps", 160, "--lr", 3e-3, "--dtype", "float32", "--device", "cpu")
    run("gpt2", "train", folder / "data", "--out", folder / "run", *sizes, *training)
    run("gpt2", "export", folder / "run", "--format", "hf", "--out", folder / "hf")
    return folder


def test_the_model_learns_from_subwords(folder):
    losses = [json.loads(line)["loss"] for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(6.24, abs=0.15)  # ln 513: nothing known
    assert losses[-1] < 5


def test_it_writes_text_of_whole_subwords(folder):
    written = run("gpt2", "generate", folder / "run", "--prompt", "The value", "--max-new-tokens", 40, "--seed", 1)
    assert written.startswith("The value")
    assert len(written) > len("The value") + 40  # a subword is more than a character


def test_transformers_gets_the_same_logits_from_the_export(folder):
    import bpe
    import torch
    from gpt2 import GPT2
    from transformers import GPT2LMHeadModel

    ids = torch.tensor(
        [bpe.Tokenizer.load(str(folder / "t.json")).encode("An expression is evaluated from left to right.")]
    )
    ours = GPT2.from_pretrained(str(folder / "hf")).eval()
    theirs = GPT2LMHeadModel.from_pretrained(folder / "hf").eval()
    with torch.no_grad():
        difference = (ours(ids) - theirs(ids).logits).abs().max()
    assert difference < 1e-4
    assert ids.max() < theirs.config.vocab_size
