"""Properties that hold for every input, checked on random ones."""

import itertools
import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lets_build_gpt import BigramModel, Block, CharTokenizer, Model, SelfAttention
from lets_build_gpt.bigram import count_bigrams, counted_loss
from lets_build_gpt.cache import KVCache
from lets_build_gpt.data import Batches, check_length, load_text, split, windows
from lets_build_gpt.dropout import dropout
from lets_build_gpt.evaluate import evaluate
from lets_build_gpt.generate import sample_next
from lets_build_gpt.optim import linear

quick = settings(max_examples=30)
seeds = st.integers(0, 2**31)


def small_model(seed=0, context_length=8, **more):
    torch.manual_seed(seed)
    return Model(context_length, 16, 2, 2, n_vocab=13, **{"dropout": 0.0, **more}).double().eval()


# ------------------------------------------------------------------------------------------------ the model


@quick
@given(seeds, st.integers(1, 8), st.data())
def test_a_later_token_changes_no_earlier_logit(seed, length, data):
    model = small_model(seed)
    ids = torch.randint(13, (2, length), generator=torch.Generator().manual_seed(seed))
    changed = ids.clone()
    at = data.draw(st.integers(0, length - 1))
    changed[:, at] = (changed[:, at] + data.draw(st.integers(1, 12))) % 13
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :at], after[:, :at])
    assert not torch.equal(before[:, at], after[:, at])


@quick
@given(seeds, st.integers(2, 8))
def test_without_positions_the_order_of_earlier_tokens_does_not_matter(seed, length):
    model = small_model(seed)
    model.blocks = model.blocks[:1]  # in a second block, keys and values depend on the order
    with torch.no_grad():
        model.position_embedding.weight.zero_()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(13, (1, length), generator=generator)
    order = torch.cat([torch.randperm(length - 1, generator=generator), torch.tensor([length - 1])])
    assert torch.allclose(model(ids)[:, -1], model(ids[:, order])[:, -1], atol=1e-12)


def test_with_positions_the_order_matters():
    model = small_model()
    ids = torch.arange(8)[None]
    assert not torch.allclose(model(ids)[:, -1], model(ids[:, [1, 0, 2, 3, 4, 5, 6, 7]])[:, -1])


def test_defaults_are_those_of_the_lecture_and_every_length_works():
    model = Model()
    assert [model.config.context_length, model.config.d_model, model.config.n_heads] == [8, 384, 6]
    assert [model.config.n_layers, model.config.vocab_size, model.config.dropout] == [6, 65, 0.2]
    for length in range(1, 9):
        assert model(torch.randint(65, (4, length))).shape == (4, length, 65)


def test_dropout_acts_in_training_only():
    model = small_model(dropout=0.5)
    ids = torch.arange(8)[None]
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("part", ["attention weights", "attention branch", "feed-forward branch"])
def test_dropout_acts_on_attention_weights_and_on_both_branches(part):
    torch.manual_seed(0)
    block = Block(16, 2, dropout=0.5)
    with torch.no_grad():  # disable the other branch
        if part != "feed-forward branch":
            block.ffn.proj_down.weight.zero_()
            block.ffn.proj_down.bias.zero_()
        else:
            block.self_attn.projection.weight.zero_()
            block.self_attn.projection.bias.zero_()
    if part == "attention weights":
        block.dropout.p = 0.0
    else:
        block.self_attn.p_dropout = 0.0
    x = torch.randn(1, 6, 16)
    assert not torch.equal(block(x), block(x))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_a_fraction_p_and_keeps_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(1001, 100, dtype=torch.float64, requires_grad=True)
    y = dropout(x, p)
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=0.005)
    assert y.max().item() == pytest.approx(1 / (1 - p), rel=1e-3)
    assert y.mean().item() == pytest.approx(1, abs=0.03)
    columns = (y == 0).double() - p
    assert (columns[:, :-1] * columns[:, 1:]).mean().abs() < 0.005  # the bits of one random integer are independent
    y.sum().backward()
    assert torch.equal(x.grad, y)


def test_dropout_just_below_1_is_finite():
    assert torch.isfinite(dropout(torch.ones(1000), 0.9999999)).all()


def test_intermediates_match_the_forward_pass():
    model = small_model()
    ids = torch.arange(6)[None]
    logits, intermediates = model(ids, return_intermediates=True)
    assert torch.allclose(logits, model(ids), atol=1e-12)
    assert intermediates.attn.shape == (2, 1, 2, 6, 6)
    assert torch.allclose(intermediates.attn.sum(-1), torch.ones(2, 1, 2, 6, dtype=torch.float64))
    assert (intermediates.attn.triu(1) == 0).all()
    assert intermediates.resid.shape == (3, 1, 6, 16)
    assert torch.allclose(model.head(model.norm(intermediates.resid[-1])), logits)


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        (torch.zeros(1, 9, dtype=torch.long), "`context_length` = 8"),
        (torch.zeros(1, 0, dtype=torch.long), "`context_length` = 8"),
        (torch.tensor([[0, 13]]), "0 to 12"),
        (torch.tensor([[-1, 0]]), "0 to 12"),
    ],
)
def test_bad_ids_are_refused(ids, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        small_model()(ids)


def test_targets_of_another_shape_are_refused():
    # TypeError: from the shape annotations, where they are checked
    with pytest.raises((ValueError, TypeError), match="targets"):
        small_model().loss(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long))


# ----------------------------------------------------------------------------------------------- generation


@quick
@given(
    seeds,
    st.integers(1, 20),
    st.integers(1, 9),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from(["context_shift", "crop"]),
)
def test_text_is_the_same_with_and_without_the_cache(seed, prompt, context_length, temperature, overflow):
    model = small_model(seed, context_length)
    ids = torch.randint(13, (2, prompt), generator=torch.Generator().manual_seed(seed))
    with_cache, without = (
        model.generate(
            ids,
            30,
            temperature=temperature,
            generator=torch.Generator().manual_seed(1),
            use_cache=use_cache,
            overflow=overflow,
        )
        for use_cache in (True, False)
    )
    assert torch.equal(with_cache, without)
    assert torch.equal(with_cache[:, :prompt], ids)
    assert with_cache.shape == (2, 30)


def test_cached_logits_equal_uncached_ones_at_every_step():
    model = small_model()
    ids = torch.randint(13, (2, 8))
    cache = KVCache(8)
    pieces = [model(ids[:, :3], cache=cache), model(ids[:, 3:5], cache=cache), model(ids[:, 5:], cache=cache)]
    assert torch.allclose(torch.cat(pieces, dim=1), model(ids), atol=1e-12)


@pytest.mark.parametrize(("overflow", "kept"), [("context_shift", 3), ("crop", 6)])
def test_a_full_context_keeps_its_last_half_or_all_of_it(overflow, kept):
    model = small_model(context_length=6)
    ids = torch.arange(7)[None]
    expected = model(ids[:, -kept:])[:, -1].argmax()
    assert model.generate(ids, 8, temperature=0.0, overflow=overflow)[0, -1] == expected


def test_cropping_is_the_lectures_loop():
    model = small_model(context_length=4)
    expected = torch.zeros(1, 1, dtype=torch.long)
    for _ in range(12):
        expected = torch.cat([expected, model(expected[:, -4:])[:, -1].argmax(-1, keepdim=True)], dim=1)
    start = torch.zeros(1, 1, dtype=torch.long)
    assert torch.equal(model.generate(start, max_new_tokens=12, temperature=0.0, overflow="crop"), expected)


def test_max_length_counts_the_prompt_and_max_new_tokens_does_not():
    model, start = small_model(), torch.zeros(2, 3, dtype=torch.long)
    assert model.generate(start, 5).shape == model.generate(start, max_new_tokens=2).shape == (2, 5)
    assert torch.equal(model.generate(start, max_new_tokens=0), start)


def test_a_reordered_cache_continues_the_chosen_rows():
    model, rows = small_model(), torch.tensor([1, 1, 0])
    ids, new = torch.randint(13, (2, 4)), torch.randint(13, (3, 2))
    cache = KVCache(8)
    model(ids, cache=cache)
    cache.reorder(rows)
    assert torch.allclose(model(new, cache=cache), model(torch.cat([ids[rows], new], dim=1))[:, 4:], atol=1e-12)


def test_an_almost_zero_temperature_is_argmax():
    logits = torch.tensor([[0.0, 3.0, 2.0]])
    assert all(sample_next(logits, temperature=t).item() == 1 for t in (1e-3, 1e-40, 5e-324))


def test_generation_leaves_the_mode_of_the_model_as_it_was():
    model = small_model().train()
    model.generate(torch.zeros(1, 1, dtype=torch.long), 3)
    assert model.training
    with torch.no_grad():
        model.norm.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        model.generate(torch.zeros(1, 1, dtype=torch.long), 3)
    assert model.training


def test_samples_follow_top_k_and_temperature():
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]]).expand(4000, 4)
    assert (sample_next(logits, temperature=0.0) == 1).all()
    generator = torch.Generator().manual_seed(0)
    assert set(sample_next(logits, top_k=2, generator=generator).flatten().tolist()) == {1, 2}
    drawn = Counter(sample_next(logits, temperature=2.0, generator=generator).flatten().tolist())
    expected = torch.softmax(logits[0] / 2, dim=-1)
    chi_square = sum((drawn[i] - 4000 * expected[i]) ** 2 / (4000 * expected[i]) for i in range(4))
    assert chi_square < 16.3  # 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": 2},
        {"max_length": None},
        {"max_new_tokens": 4},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"top_k": 1.5},
        {"overflow": "slide"},
    ],
)
def test_bad_options_of_generate_are_refused(options):
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        small_model().generate(torch.zeros(1, 3, dtype=torch.long), **{"max_length": 5, **options})


# ---------------------------------------------------------------------------------------------------- data


@given(st.text(min_size=1))
def test_decoding_inverts_encoding(text):
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.vocab_size == len(set(text))
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


def test_unknown_characters_and_ids_are_named():
    tokenizer = CharTokenizer.from_text("abc")
    with pytest.raises(ValueError, match="'xy'"):
        tokenizer.encode("axby")
    with pytest.raises(ValueError, match="3"):
        tokenizer.decode([3])
    with pytest.raises(ValueError, match="at least one character"):
        CharTokenizer.from_text("")


@quick
@given(seeds, st.integers(1, 5), st.integers(1, 7), st.integers(25, 60))
def test_no_token_occurs_twice_in_an_epoch_and_targets_are_shifted_inputs(seed, batch_size, context_length, n):
    batches = Batches(torch.arange(n), batch_size, context_length, seed)
    full = batches.per_epoch // batch_size
    inputs = [batches.batch(step)[0] for step in range(full)]
    assert all((batches.batch(step)[1] == batches.batch(step)[0] + 1).all() for step in range(full))
    seen = torch.cat([x.flatten() for x in inputs]) if inputs else torch.empty(0)
    assert len(seen.unique()) == len(seen)
    again = Batches(torch.arange(n), batch_size, context_length, seed)
    assert torch.equal(again.batch(7)[0], batches.batch(7)[0])


@quick
@given(seeds)
def test_every_epoch_has_its_own_order(seed):
    batches = Batches(torch.arange(300), 1, 4, seed)
    first, second = (batches.starts(epoch).clone() for epoch in (0, 1))
    assert len(first) == len(second)
    assert not torch.equal(first - first.min(), second - second.min())


@quick
@given(st.integers(1, 9), st.integers(2, 60))
def test_validation_windows_cover_the_text_once(context_length, n):
    if n - 1 < context_length:
        with pytest.raises(ValueError, match="context_length"):
            windows(torch.arange(n), context_length)
        return
    x, y = windows(torch.arange(n), context_length)
    assert x.flatten().tolist() == list(range(len(x) * context_length))
    assert torch.equal(y, x + 1)
    assert n - 1 - context_length < x.numel() <= n - 1


def test_validation_loss_is_the_mean_over_all_tokens_for_every_batch_size():
    model = small_model(dropout=0.3).train()
    ids = torch.randint(13, (100,))
    losses = [evaluate(model, ids, batch_size) for batch_size in (1, 5, 64)]
    assert model.training
    model.eval()
    x, y = ids[:96].view(12, 8), ids[1:97].view(12, 8)
    assert losses == pytest.approx([model.loss(x, y).item()] * 3, rel=1e-12)


def test_the_built_in_text_is_english_and_the_split_is_by_characters():
    text = load_text()
    assert len(text) > 300_000
    assert "Python" in text
    assert split("abcdefghij", 0.9) == ("abcdefghi", "j")


@quick
@given(st.integers(1, 300), st.integers(-3, 3))
def test_a_text_is_long_enough_exactly_if_both_splits_hold_a_window(context_length, difference):
    text = "x" * (10 * context_length + 1 + difference)
    ids, val_ids = (torch.zeros(len(part), dtype=torch.long) for part in split(text))
    if difference >= 0:
        check_length(text, context_length)
        Batches(ids, 1, context_length, seed=0).batch(0)
        windows(val_ids, context_length)
    else:
        with pytest.raises(ValueError, match=f"at least {10 * context_length + 1:,}"):
            check_length(text, context_length)
        with pytest.raises(ValueError, match="context_length"):
            windows(val_ids, context_length)


def test_tiny_shakespeare_has_the_usual_split(data_file):
    text = load_text(str(data_file("text/tinyshakespeare.txt")))
    train, validation = split(text)
    assert (len(train), len(validation), len(set(text))) == (1_003_854, 111_540, 65)


# ------------------------------------------------------------------------------------------------- bigrams


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40))
def test_bigram_model_has_the_counted_probabilities(ids):
    counts = count_bigrams(torch.tensor(ids), 4)
    pairs = Counter(itertools.pairwise(ids))
    assert all(counts[a, b] == pairs[a, b] for a in range(4) for b in range(4))
    model = BigramModel.from_counts(counts)
    probabilities = torch.softmax(model(torch.tensor([ids[:-1]])), dim=-1)[0].detach()
    for row, (a, b) in enumerate(itertools.pairwise(ids)):
        assert probabilities[row, b] == pytest.approx(pairs[a, b] / counts[a].sum().item(), rel=1e-4)
    over_text = model.loss(torch.tensor([ids[:-1]]), torch.tensor([ids[1:]]))
    assert counted_loss(counts, model.logits.weight).item() == pytest.approx(over_text.item(), rel=1e-4, abs=1e-6)


def test_counting_and_training_reach_the_same_loss():
    text = load_text()[:50_000]
    tokenizer = CharTokenizer.from_text(text)
    counts = count_bigrams(torch.tensor(tokenizer.encode(text)), tokenizer.vocab_size)
    counted = counted_loss(counts, BigramModel.from_counts(counts).logits.weight).item()
    trained = BigramModel(tokenizer.vocab_size).fit(counts)[-1]
    assert counted <= trained < counted + 0.002


# ------------------------------------------------------------------------------------------------- schedule


@given(st.integers(1, 500), st.integers(0, 500), st.floats(1e-5, 10))
def test_the_learning_rate_rises_to_its_peak_and_then_decays_towards_zero(steps, warmup_steps, lr):
    warmup_steps = min(warmup_steps, steps)
    rates = [linear(step, steps, lr, warmup_steps) for step in range(steps)]
    peak = rates.index(max(rates))
    assert max(rates) == lr or warmup_steps <= 1
    assert all(a < b for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert 0 < min(rates) <= max(rates) <= lr
    assert peak == max(0, warmup_steps - 1)


def test_a_single_head_gives_the_first_token_its_own_value():
    head = SelfAttention(8, 4)
    x = torch.randn(2, 5, 8)
    assert torch.allclose(head(x)[:, 0], head.value(x)[:, 0], atol=1e-6)
