"""Small models and their Hugging Face twins, batches, and the command line."""

import contextlib
import io
import sys
from types import SimpleNamespace
from unittest import mock

import torch
from gpt2 import GPT2, GPT2Config

SMALL = {"vocab_size": 61, "context_length": 24, "d_model": 32, "n_heads": 4, "n_layers": 3, "dropout": 0.0}


def small_model(dtype=torch.float64, seed=0, **changes):
    """Weights far from their initial scale, so that every part of the model shows in its output."""
    torch.manual_seed(seed)
    model = GPT2(GPT2Config(**{**SMALL, **changes})).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2)
        for name, parameter in model.named_parameters():
            if "ln_" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return model.eval()


def hugging_face_twin(model, folder):
    """Return the model of transformers with the same weights, loaded from files."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model.save_pretrained(folder)
    dtype = model.wte.weight.dtype
    twin = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager", dtype=dtype)
    return twin.eval()


def random_ids(model, batch, tokens, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (batch, tokens), generator=generator)


def run(*arguments):
    """Run `gpt2 ARGUMENTS` in this process, which is faster than starting torch; return its exit status and output."""
    from gpt2.cli import main

    out, err = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with mock.patch.object(sys, "argv", ["gpt2", *map(str, arguments)]):
                main()
        except SystemExit as stop:
            status = stop.code
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


class Data:
    """Batches for a Trainer: rows of one small text, the same at the same step; two rows are held out.

    `uneven`: the first rows of a batch have fewer targets than the others.
    """

    def __init__(self, vocab=61, tokens=16, uneven=False):
        self.uneven = uneven
        self.rows = torch.randint(0, vocab, (18, tokens + 1), generator=torch.Generator().manual_seed(7))

    def batch(self, step, size):
        rows = self.rows[torch.randperm(16, generator=torch.Generator().manual_seed(step))[:size]]
        ids, targets = rows[:, :-1], rows[:, 1:].clone()
        if self.uneven:
            targets[0, 2:] = -100
        return ids, targets

    def validation(self, size):
        yield self.rows[16:, :-1], self.rows[16:, 1:]

    def settings(self):
        return {"fingerprint": f"{self.rows.sum()}-{self.uneven}"}
