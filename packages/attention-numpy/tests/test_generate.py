"""Decoding: the cache changes nothing, the beam finds what exhaustive search finds."""

import itertools

import numpy as np
import pytest
from attention_numpy import Transformer, TransformerConfig
from attention_numpy.functional import log_softmax
from attention_numpy.generate import DecodingState, beam_search, penalty, sample
from attention_numpy.language_model import LanguageModel, LanguageModelConfig


def make(norm="post", vocab=9, scale=0.3, seed=0, **options):
    config = TransformerConfig(8, vocab, 16, 4, 2, 24, 0.1, norm=norm, **options)
    model = Transformer(config, seed=seed, dtype=np.float64)
    model.parameters().data += np.random.default_rng(seed).normal(0, scale, len(model.parameters()))
    return model


def sources(n=5, rng=None):
    src = (rng or np.random.default_rng(3)).integers(1, 8, (n, 6))
    src[1, 4:] = src[2, 1:] = 0
    return src


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_cached_decoding_equals_uncached_at_every_step(norm):
    model, src = make(norm).eval(), sources()
    tgt = np.random.default_rng(4).integers(1, 9, (5, 12))
    memory = model.encode(src)
    state = DecodingState(model, src, 12)
    for position in range(12):
        cached = state.step(tgt[:, position])
        whole = model.decode(tgt[:, : position + 1], memory, src)[:, -1]
        assert np.isneginf(cached[:, 0]).all()  # padding is never generated
        np.testing.assert_allclose(cached[:, 1:], whole[:, 1:], rtol=1e-12, atol=1e-12)


def test_a_selected_cache_goes_on_with_the_selected_sequences():
    model, src = make().eval(), sources()
    tgt = np.random.default_rng(4).integers(1, 9, (5, 4))
    rows = np.array([2, 2, 0, 1])
    state = DecodingState(model, src, 4)
    state.step(tgt[:, 0])
    state.select(rows)
    cached = state.step(tgt[rows, 1])
    whole = model.decode(tgt[rows, :2], model.encode(src[rows]), src[rows])[:, -1]
    np.testing.assert_allclose(cached[:, 1:], whole[:, 1:], rtol=1e-12, atol=1e-12)


def score(model, src, ids, eos, alpha):
    """log P(ids | src) over the length penalty."""
    row = src[None]
    logits = model.decode(np.array([[1, *ids[:-1]]]), model.encode(row), row)
    logits[..., 0] = -np.inf
    return log_softmax(logits)[0][np.arange(len(ids)), ids].sum() / penalty(len(ids), alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_equals_exhaustive_search(alpha, seed):
    vocab, length, eos = 5, 4, 2
    model = make(vocab=vocab, seed=seed).eval()
    src = sources(rng=np.random.default_rng(seed))
    words = [i for i in range(1, vocab) if i != eos]
    endings = [[*prefix, eos] for n in range(length) for prefix in itertools.product(words, repeat=n)] + [
        list(ids) for ids in itertools.product(words, repeat=length)
    ]
    found = model.generate(src, eos=eos, max_length=length, beam=300, length_penalty=alpha)
    for row, output in zip(src, found, strict=True):
        best = max(endings, key=lambda ids, row=row: score(model, row, ids, eos, alpha))
        assert output == [i for i in best if i != eos]


def test_a_beam_of_one_equals_greedy_and_a_greater_one_is_at_least_as_likely():
    for seed in range(5):
        model, src = make(seed=seed).eval(), sources()
        model.generator.bias.data[2] += 4
        greedy = model.generate(src, max_length=10)
        state = DecodingState(model, src, 10)
        assert beam_search(state, len(src), 1, 2, 10, 1, 0.6) == greedy
        wide = model.generate(src, max_length=10, beam=2000, length_penalty=0.0) if seed == 0 else []
        for row, one, best in zip(src, greedy, wide, strict=False):
            ended = [[*ids, 2] if len(ids) < 10 else ids for ids in (one, best)]
            assert score(model, row, ended[1], 2, 0.0) >= score(model, row, ended[0], 2, 0.0) - 1e-12


def test_greedy_takes_the_likeliest_id_until_the_end():
    model, src = make(seed=2).eval(), sources()
    model.generator.bias.data[2] += 4  # so that some end early
    outputs = model.generate(src, max_length=10)
    assert len({len(ids) for ids in outputs}) > 1
    for row, ids in zip(src, outputs, strict=True):
        logits = model.decode(np.array([[1, *ids]]), model.encode(row[None]), row[None])[0]
        logits[:, 0] = -np.inf
        expected = [*ids, 2] if len(ids) < 10 else ids
        assert logits.argmax(-1)[: len(expected)].tolist() == expected
        assert 2 not in ids


def test_a_batch_is_decoded_as_its_sequences_alone():
    model, src = make(seed=1).eval(), sources()
    for options in ({}, {"beam": 3}):
        together = model.generate(src, max_length=8, **options)
        alone = [model.generate(row[None][:, row != 0], max_length=8, **options)[0] for row in src]
        assert together == alone


def test_sampling_follows_the_distribution_and_its_seed():
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]])).repeat(20_000, 0)
    rng = np.random.default_rng(0)
    shares = np.bincount(sample(logits, 1.0, None, rng), minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.15, 0.05], atol=0.015)
    sharp = np.bincount(sample(logits, 0.5, None, rng), minlength=4) / 20_000
    squares = np.array([0.5, 0.3, 0.15, 0.05]) ** 2
    np.testing.assert_allclose(sharp, squares / squares.sum(), atol=0.015)
    top = np.bincount(sample(logits, 1.0, 2, rng), minlength=4) / 20_000
    np.testing.assert_allclose(top, [0.625, 0.375, 0, 0], atol=0.015)
    model, src = make().eval(), sources()
    first, again, other = (model.generate(src, temperature=1.0, seed=seed, max_length=9) for seed in (1, 1, 2))
    assert first == again != other


def test_generating_leaves_the_mode_and_keeps_nothing():
    model, src = make(), sources()
    model.generate(src, max_length=3, beam=2)
    assert model.training
    assert all(layer.training and not layer._stack for _, layer in model.named_layers())
    model.eval().generate(src, max_length=3)
    assert not model.training


def test_the_language_model_with_its_cache_continues_as_without():
    model = LanguageModel(LanguageModelConfig(7, 16, 4, 2, 24, 0.1), seed=1, dtype=np.float64)
    model.parameters().data += np.random.default_rng(1).normal(0, 0.3, len(model.parameters()))
    ids = model.generate([3, 1, 4], 9, top_k=1)
    model.eval()
    for position in range(9):
        assert model(np.array([[3, 1, 4, *ids[:position]]]))[0, -1].argmax() == ids[position]
    assert model.generate([3], 9, seed=4) == model.generate([3], 9, seed=4) != model.generate([3], 9, seed=5)
