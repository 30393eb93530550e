"""Properties that hold for any input."""

import itertools

import pytest
import torch
from gpt2 import OptimConfig
from gpt2.data.prepare import CUT
from gpt2.data.tokenizers import ByteTokenizer, CharTokenizer
from gpt2.inference.cache import KVCache
from gpt2.training.optim import learning_rate
from helpers_models import random_ids, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

PATTERNS = {  # GPT-2's and GPT-4's (cl100k_base), which say where tokens cannot cross
    "gpt2": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    "cl100k": (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"""
        r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ),
}
TEXTS = st.text(
    st.sampled_from([*" \n\t'", *"ab Zé", *"09٣", *".,!?;-_", *"中。，", "\u3000", "\u00a0", "\u0301"]), max_size=40
)


@pytest.mark.parametrize("name", PATTERNS)
@given(text=TEXTS)
@settings(max_examples=400, deadline=None)
def test_no_pre_token_crosses_a_cut(name, text):
    pattern = pytest.importorskip("regex").compile(PATTERNS[name])
    whole = pattern.findall(text)
    for cut in [found.start() for found in CUT.finditer(text)]:
        assert pattern.findall(text[:cut]) + pattern.findall(text[cut:]) == whole


@given(st.text())
def test_bytes_are_decoded_to_the_text_that_was_encoded(text):
    tokenizer = ByteTokenizer()
    assert tokenizer.decode([*tokenizer.encode(text), 256]) == text


@given(st.text(min_size=1))
def test_characters_are_decoded_to_the_text_that_was_encoded(text):
    tokenizer = CharTokenizer("".join(sorted(set(text))))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5))
@settings(deadline=None, max_examples=20)
@torch.no_grad()
def test_cached_logits_do_not_depend_on_how_a_text_is_split(parts):
    model = small_model()
    time = min(24, sum(parts))
    ids = random_ids(model, 1, time)
    cache = KVCache(model.config, time, dtype=torch.float64)
    rest, found = ids, []
    for part in parts:
        piece, rest = rest[:, :part], rest[:, part:]
        if piece.shape[1]:
            found.append(model.lm_head(model.hidden(piece, cache)))
    assert (torch.cat(found, 1) - model(ids)).abs().max() < 1e-12


@given(
    st.sampled_from(["cosine", "linear", "constant"]), st.integers(0, 30), st.integers(1, 50), st.floats(0, 1, width=16)
)
def test_learning_rates_lie_between_zero_and_the_peak(schedule, warmup_steps, steps, final_lr):
    config = OptimConfig(lr=2.0, warmup_steps=warmup_steps, schedule=schedule, final_lr=final_lr)
    rates = [learning_rate(config, step, steps) for step in range(steps)]
    assert all(0 <= rate <= 2.0 for rate in rates)
    after = rates[warmup_steps:]
    assert all(a >= b for a, b in itertools.pairwise(after))
    if len(after) > 1 and schedule != "constant":
        assert after[-1] == pytest.approx(2.0 * final_lr)
