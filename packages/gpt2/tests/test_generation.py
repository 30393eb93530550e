"""Generation: the cache is exact, rows are independent, and texts may outgrow the context."""

from itertools import pairwise

import pytest
import torch
from gpt2.config import SamplingConfig
from gpt2.data.tokenizers import ByteTokenizer, CharTokenizer
from gpt2.inference.cache import KVCache
from gpt2.inference.generate import generate, stream, window_start
from gpt2.inference.generate_text import TextStream, generate_text
from gpt2.inference.sampling import filter_logits
from helpers_models import random_ids, small_model
from hypothesis import given, settings
from hypothesis import strategies as st

PROMPTS = [[5, 9, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [60] * 7]


@torch.no_grad()
def reference(model, prompt, new, overflow):
    """Return greedy text and log-probabilities of the plain model on the selected tokens, without a cache."""
    text, logprobs = list(prompt), []
    for _ in range(new):
        length = model.config.context_length
        if overflow == "crop":
            window = text[-length:]
        else:
            window = text
            while len(window) > length:  # one too many: the last half stays
                window = window[length + 1 - length // 2 :]
        logits = model(torch.tensor([window]))[0, -1]
        text.append(int(logits.argmax()))
        logprobs.append(float(logits.log_softmax(-1).max()))
    return text, logprobs


@pytest.mark.parametrize("overflow", ["context_shift", "crop"])
def test_cached_batches_equal_the_plain_model_on_each_prompt_across_the_boundary(overflow):
    model = small_model()
    texts, logprobs = model.generate(PROMPTS, 60, temperature=0.0, overflow=overflow, return_logprobs=True)
    for prompt, text, logprob in zip(PROMPTS, texts, logprobs, strict=True):
        expected, expected_logprobs = reference(model, prompt, 60, overflow)
        assert text.tolist() == expected
        assert (logprob - torch.tensor(expected_logprobs)).abs().max() < 1e-5
    uncached = model.generate(PROMPTS, 60, temperature=0.0, overflow=overflow, use_cache=False)
    assert all(torch.equal(a, b) for a, b in zip(texts, uncached, strict=True))


def test_a_prompt_longer_than_the_context():
    model = small_model()
    prompt = random_ids(model, 1, 40)[0].tolist()
    for overflow in ("context_shift", "crop"):
        assert (
            model.generate([prompt], 9, temperature=0.0, overflow=overflow)[0].tolist()
            == reference(model, prompt, 9, overflow)[0]
        )


def test_cached_logits_equal_uncached_at_every_step():
    model = small_model()
    ids = random_ids(model, 2, 24)
    cache = KVCache(model.config, 24, 2, dtype=torch.float64)
    parts = []
    for part in ids.split([5, 1, 1, 7, 1, 9], dim=1):
        parts.append(model.lm_head(model.hidden(part, cache)))
    assert (torch.cat(parts, 1) - model(ids)).abs().max() < 1e-12
    with pytest.raises(ValueError, match="0 free columns"):
        model.hidden(ids[:, :1], cache)
    cache.reset()
    assert (model.lm_head(model.hidden(ids, cache)) - model(ids)).abs().max() < 1e-12


@given(st.integers(1, 200), st.integers(1, 20), st.sampled_from(["context_shift", "crop"]))
def test_the_window_fits_the_context_and_never_moves_back(tokens, length, overflow):
    start, following = (window_start(n, length, overflow) for n in (tokens, tokens + 1))
    assert 0 < tokens - start <= length
    assert start <= following
    if following > start and overflow == "context_shift":
        assert tokens + 1 - following == max(1, length // 2)


def test_samples_of_a_row_do_not_depend_on_other_rows():
    model = small_model()
    seeds = [torch.Generator().manual_seed(s) for s in (1, 2, 3)]
    options = {"temperature": 1.5, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.2}
    together = model.generate(PROMPTS, 40, generator=seeds, **options)
    for seed, prompt, text in zip((1, 2, 3), PROMPTS, together, strict=True):
        alone = model.generate([prompt], 40, generator=[torch.Generator().manual_seed(seed)], **options)
        assert torch.equal(alone[0], text)


def test_stop_tokens_end_a_row_while_others_continue():
    model = small_model()
    free = model.generate(PROMPTS, 30, temperature=0.0)
    stop = int(free[0][len(PROMPTS[0]) + 4])
    stopped = model.generate(PROMPTS, 30, temperature=0.0, stop_tokens=[stop])
    for prompt, before, after in zip(PROMPTS, free, stopped, strict=True):
        new = before[len(prompt) :].tolist()
        expected = new[: new.index(stop) + 1] if stop in new else new
        assert after.tolist() == [*prompt, *expected]
    ids = torch.tensor([PROMPTS[0]])
    padded = model.generate(ids, 30, temperature=0.0, stop_tokens=[stop])
    assert padded[0].tolist() == stopped[0].tolist()  # a single row ends the loop


def test_a_row_that_has_finished_repeats_its_last_token():
    model = small_model()
    free = model.generate(PROMPTS, 30, temperature=0.0)
    stop = int(free[0][len(PROMPTS[0]) + 4])
    steps = list(stream(model, PROMPTS, 30, SamplingConfig(temperature=0.0), stop_tokens=[stop]))
    finished = [(last.tokens, step.tokens, step.done) for last, step in pairwise(steps)]
    assert any(bool(done.any()) for _, _, done in finished)
    for last, tokens, done in finished:
        assert torch.equal(tokens[done], last[done])


def test_repetition_penalty_and_filters_are_applied_in_hugging_faces_order():
    model = small_model()
    prompt = torch.tensor([[3, 3, 8, 1]])
    options = {"temperature": 0.7, "top_k": 9, "top_p": 0.8}
    step = next(
        iter(
            stream(
                model,
                prompt,
                1,
                SamplingConfig(repetition_penalty=5.0, **options),
                generator=[torch.Generator().manual_seed(5)],
            )
        )
    )
    logits = model(prompt)[:, -1].float()
    for token in (1, 3, 8):
        logits[0, token] = logits[0, token] / 5 if logits[0, token] > 0 else logits[0, token] * 5
    p = filter_logits(logits, **options).softmax(-1)
    assert int(step.tokens[0]) == int(torch.multinomial(p[0], 1, generator=torch.Generator().manual_seed(5)))


def test_window_attention_equals_masked_attention_and_generates_the_same():
    model = small_model(window=5)
    ids = random_ids(model, 2, 23)
    logits, aux = model(ids, return_intermediates=True)  # explicit, with a mask
    assert (model(ids) - logits).abs().max() < 1e-12  # in blocks
    for query in range(23):
        attended = aux["attn"][..., query, :] > 0
        assert attended[..., max(0, query - 4) : query + 1].all()
        assert attended.sum() == attended[..., max(0, query - 4) : query + 1].sum()
    texts = model.generate(PROMPTS, 30, temperature=0.0)
    assert [t.tolist() for t in texts] == [reference(model, p, 30, "context_shift")[0] for p in PROMPTS]


def test_generation_restores_training_mode():
    model = small_model(dropout=0.5).train()
    first, second = (model.generate(torch.tensor([[1, 2]]), 8, temperature=0.0) for _ in range(2))
    assert torch.equal(first, second)
    assert model.training


@pytest.mark.parametrize(
    ("prompts", "options", "complaint"),
    [
        ([[]], {}, "at least one token"),
        ([[1, 61]], {}, "vocabulary"),
        ([[1]], {"overflow": "slide"}, "overflow"),
        ([[1]], {"generator": [torch.Generator()] * 2}, "one generator, or 1, one for each prompt"),
    ],
)
def test_bad_input_is_named(prompts, options, complaint):
    with pytest.raises((ValueError, TypeError), match=complaint):  # TypeError where types are checked as it runs
        generate(small_model(), prompts, 3, **options)


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=2))
@settings(deadline=None)
def test_streamed_text_is_the_text_up_to_the_first_stop(text, stop):
    tokenizer = ByteTokenizer()
    out = TextStream(tokenizer, stop)
    pieces = []
    for token in tokenizer.encode(text):
        pieces.append(out.push(token))
        if out.stopped:
            break
    pieces.append(out.finish())
    whole = tokenizer.decode(tokenizer.encode(text))
    positions = [whole.find(s) for s in stop if s in whole]
    assert "".join(pieces) == out.text
    if not positions:
        assert out.text == whole
    else:  # the stop that is complete first ends it
        assert whole.startswith(out.text)
        assert any(whole[len(out.text) :].startswith(s) for s in stop)


@given(st.binary(max_size=12))
def test_streamed_bytes_equal_the_decoded_whole(raw):
    out = TextStream(ByteTokenizer())
    pieces = [out.push(b) for b in raw] + [out.finish()]
    assert "".join(pieces) == raw.decode("utf-8", errors="replace")


def test_incomplete_characters_and_possible_stops_are_held_back():
    out = TextStream(ByteTokenizer(), ["END"])
    assert [out.push(b) for b in "é€".encode()] == ["", "é", "", "", "€"]
    assert [out.push(b) for b in b"xENxEND!"] == ["x", "", "", "ENx", "", "", "", ""]
    assert out.stopped


def test_text_is_streamed_as_it_is_returned():
    tokenizer = CharTokenizer("".join(chr(48 + i) for i in range(61)))
    model = small_model()
    written = ["", ""]

    def write(row, text):
        written[row] += text

    texts = generate_text(model, tokenizer, ["012", "9"], 20, SamplingConfig(temperature=0.9), seed=4, write=write)
    assert texts == written
    assert generate_text(model, tokenizer, ["9"], 20, SamplingConfig(temperature=0.9), seed=5) == [texts[1]]
    stop = texts[0][5:7]
    assert generate_text(model, tokenizer, ["012"], 20, SamplingConfig(temperature=0.9), seed=4, stop=[stop]) == [
        texts[0][: texts[0].index(stop)]
    ]
