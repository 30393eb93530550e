"""What holds for every input."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lets_build_gpt import BigramModel, Block, CharTokenizer, Model, SelfAttention
from lets_build_gpt.bigram import count_bigrams, counted_loss
from lets_build_gpt.cache import KeyValueCache
from lets_build_gpt.data import Batches, load_text, split, windows
from lets_build_gpt.dropout import dropout
from lets_build_gpt.evaluate import evaluate
from lets_build_gpt.generate import choose
from lets_build_gpt.train import learning_rate

quick = settings(deadline=None, max_examples=30)
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
def test_without_positions_a_query_does_not_see_the_order_of_what_came_before(seed, length):
    model = small_model(seed)
    model.blocks = model.blocks[:1]  # in a second block the earlier tokens have seen different things
    with torch.no_grad():
        model.position_embedding.weight.zero_()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(13, (1, length), generator=generator)
    order = torch.cat([torch.randperm(length - 1, generator=generator), torch.tensor([length - 1])])
    assert torch.allclose(model(ids)[:, -1], model(ids[:, order])[:, -1], atol=1e-12)


def test_positions_do_matter():
    model = small_model()
    ids = torch.arange(8)[None]
    assert not torch.allclose(model(ids)[:, -1], model(ids[:, [1, 0, 2, 3, 4, 5, 6, 7]])[:, -1])


def test_defaults_and_every_length():
    model = Model()
    assert [model.config.context_length, model.config.d_model, model.config.h] == [8, 384, 6]
    assert [model.config.n_layers, model.config.n_vocab, model.config.dropout] == [6, 65, 0.2]
    for length in range(1, 9):
        assert model(torch.randint(65, (4, length))).shape == (4, length, 65)


def test_dropout_acts_in_training_alone():
    model = small_model(dropout=0.5)
    ids = torch.arange(8)[None]
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("part", ["attention weights", "attention branch", "feed-forward branch"])
def test_dropout_is_in_each_of_its_places(part):
    torch.manual_seed(0)
    block = Block(16, 2, dropout=0.5)
    with torch.no_grad():  # silence what is not looked at
        if part != "feed-forward branch":
            block.ffn.narrow.weight.zero_()
            block.ffn.narrow.bias.zero_()
        else:
            block.attention.projection.weight.zero_()
            block.attention.projection.bias.zero_()
    if part == "attention weights":
        block.dropout.p = 0.0
    else:
        block.attention.p_dropout = 0.0
    x = torch.randn(1, 6, 16)
    assert not torch.equal(block(x), block(x))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_as_many_as_it_says_and_keeps_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(1001, 100, dtype=torch.float64, requires_grad=True)
    y = dropout(x, p)
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=0.005)
    assert y.max().item() == pytest.approx(1 / (1 - p), rel=1e-3)
    assert y.mean().item() == pytest.approx(1, abs=0.03)
    columns = (y == 0).double() - p
    assert (columns[:, :-1] * columns[:, 1:]).mean().abs() < 0.005  # the bits of one draw know nothing of each other
    y.sum().backward()
    assert torch.equal(x.grad, y)


def test_intermediates_are_what_the_model_computed():
    model = small_model()
    ids = torch.arange(6)[None]
    aux = {}
    logits = model(ids, intermediates=aux)
    assert torch.allclose(logits, model(ids), atol=1e-12)
    assert aux["attn"].shape == (2, 1, 2, 6, 6)
    assert torch.allclose(aux["attn"].sum(-1), torch.ones(2, 1, 2, 6, dtype=torch.float64))
    assert (aux["attn"].triu(1) == 0).all()
    assert aux["resid"].shape == (3, 1, 6, 16)
    assert torch.allclose(model.head(model.norm(aux["resid"][-1])), logits)


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        (torch.zeros(1, 9, dtype=torch.long), "context_length = 8"),
        (torch.zeros(1, 0, dtype=torch.long), "context_length = 8"),
        (torch.tensor([[0, 13]]), "0 to 12"),
        (torch.tensor([[-1, 0]]), "0 to 12"),
    ],
)
def test_bad_ids_are_refused(ids, named):
    with pytest.raises(ValueError, match=named):
        small_model()(ids)


@pytest.mark.parametrize(
    "settings_", [{"d_model": 10, "h": 4}, {"h": 0}, {"n_layers": 0}, {"dropout": 1.0}, {"activation": "tanh"}]
)
def test_sizes_that_make_no_model_are_refused(settings_):
    with pytest.raises(ValueError, match=next(iter(settings_))):
        Model(**settings_)


def test_targets_of_another_shape_are_refused():
    with pytest.raises(
        (ValueError, TypeError), match="targets"
    ):  # TypeError: the shapes in the annotations, if checked
        small_model().loss(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long))


# ----------------------------------------------------------------------------------------------- generation


@quick
@given(seeds, st.integers(1, 20), st.integers(1, 9), st.sampled_from([0.0, 1.0]))
def test_the_cache_changes_nothing_even_when_the_context_overflows(seed, prompt, context_length, temperature):
    model = small_model(seed, context_length)
    ids = torch.randint(13, (2, prompt), generator=torch.Generator().manual_seed(seed))
    with_cache, without = (
        model.generate(
            ids, 30, temperature=temperature, generator=torch.Generator().manual_seed(1), use_cache=use_cache
        )
        for use_cache in (True, False)
    )
    assert torch.equal(with_cache, without)
    assert torch.equal(with_cache[:, :prompt], ids)
    assert with_cache.shape == (2, 30)


def test_cached_logits_equal_uncached_ones_at_every_step():
    model = small_model()
    ids = torch.randint(13, (2, 8))
    cache = KeyValueCache(8)
    pieces = [model(ids[:, :3], cache=cache), model(ids[:, 3:5], cache=cache), model(ids[:, 5:], cache=cache)]
    assert torch.allclose(torch.cat(pieces, dim=1), model(ids), atol=1e-12)


def test_a_full_context_is_cut_to_its_last_half():
    model = small_model(context_length=6)
    ids = torch.arange(7)[None]
    expected = model(ids[:, -3:])[:, -1].argmax()
    assert model.generate(ids, 8, temperature=0.0)[0, -1] == expected


def test_top_k_and_temperature_choose_as_they_say():
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]]).expand(4000, 4)
    assert (choose(logits, temperature=0.0) == 1).all()
    generator = torch.Generator().manual_seed(0)
    assert set(choose(logits, top_k=2, generator=generator).flatten().tolist()) == {1, 2}
    drawn = Counter(choose(logits, temperature=2.0, generator=generator).flatten().tolist())
    expected = torch.softmax(logits[0] / 2, dim=-1)
    chi_square = sum((drawn[i] - 4000 * expected[i]) ** 2 / (4000 * expected[i]) for i in range(4))
    assert chi_square < 16.3  # 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    ("options", "named"),
    [({"max_length": 2}, "max_length"), ({"temperature": -1.0}, "temperature"), ({"top_k": 0}, "top_k")],
)
def test_bad_options_of_generate_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        small_model().generate(torch.zeros(1, 3, dtype=torch.long), **{"max_length": 5, **options})


# ---------------------------------------------------------------------------------------------------- data


@given(st.text(min_size=1))
def test_every_text_comes_back(text):
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.n_vocab == len(set(text))
    assert all(0 <= i < tokenizer.n_vocab for i in ids)


def test_unknown_characters_and_ids_are_named():
    tokenizer = CharTokenizer.from_text("abc")
    with pytest.raises(ValueError, match="'xy'"):
        tokenizer.encode("axby")
    with pytest.raises(ValueError, match="3"):
        tokenizer.decode([3])
    with pytest.raises(ValueError, match="empty"):
        CharTokenizer.from_text("")


@quick
@given(seeds, st.integers(1, 5), st.integers(1, 7), st.integers(25, 60))
def test_an_epoch_sees_no_token_twice_and_targets_follow_inputs(seed, batch_size, context_length, n):
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
def test_every_epoch_has_an_order_of_its_own(seed):
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


def test_the_validation_loss_is_the_mean_over_all_tokens_whatever_the_batch():
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


def test_tiny_shakespeare_splits_as_everywhere(data_file):
    text = load_text(str(data_file("text/tinyshakespeare.txt")))
    train, validation = split(text)
    assert (len(train), len(validation), len(set(text))) == (1_003_854, 111_540, 65)


# ------------------------------------------------------------------------------------------------- bigrams


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40))
def test_bigram_counts_and_their_closed_form(ids):
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
    counts = count_bigrams(torch.tensor(tokenizer.encode(text)), tokenizer.n_vocab)
    counted = counted_loss(counts, BigramModel.from_counts(counts).logits.weight).item()
    trained = BigramModel(tokenizer.n_vocab).fit(counts)
    assert counted <= trained < counted + 0.002


# ------------------------------------------------------------------------------------------------- schedule


@given(st.integers(1, 500), st.floats(0, 0.9))
def test_the_learning_rate_rises_to_its_peak_then_falls_towards_zero(steps, warmup):
    rates = [learning_rate(step, steps, warmup) for step in range(steps)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1) or steps == 1
    assert all(a < b for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert min(rates) > 0
    assert abs(peak + 1 - max(1, round(warmup * steps))) <= 1


def test_a_single_head_gives_the_first_token_its_own_value():
    head = SelfAttention(8, 4)
    x = torch.randn(2, 5, 8)
    assert torch.allclose(head(x)[:, 0], head.value(x)[:, 0], atol=1e-6)
