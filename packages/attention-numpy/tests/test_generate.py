"""Decoding: the cache changes nothing, the beam finds what exhaustive search finds."""

import itertools

import numpy as np
import pytest
from attention_numpy import LanguageModel, LanguageModelConfig, Transformer, TransformerConfig
from attention_numpy.functional import log_softmax
from attention_numpy.generate import DecoderState, beam_search, length_norm, sample_next
from attention_numpy.layers import new_rng


def make(norm="post", vocab=9, scale=0.3, seed=0, **options):
    config = TransformerConfig(8, vocab, 16, 4, 2, 24, 0.1, norm=norm, **options)
    model = Transformer(config, seed=seed, dtype=np.float64)
    model.parameters().data += np.random.default_rng(seed).normal(0, scale, model.num_parameters())
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
    state = DecoderState(model, src, 1, 2)
    for position in range(12):
        cached = state.step(tgt[:, position])
        whole = model.decode(tgt[:, : position + 1], memory, src)[:, -1]
        assert np.isneginf(cached[:, :2]).all(), "padding and bos_id are never generated"
        np.testing.assert_allclose(cached[:, 2:], whole[:, 2:], rtol=1e-12, atol=1e-12)


def test_a_reordered_cache_continues_with_the_chosen_sequences():
    model, src = make().eval(), sources()
    tgt = np.random.default_rng(4).integers(1, 9, (5, 4))
    rows = np.array([2, 2, 0, 1])
    state = DecoderState(model, src, 1, 2)
    state.step(tgt[:, 0])
    state.reorder(rows)
    cached = state.step(tgt[rows, 1])
    whole = model.decode(tgt[rows, :2], model.encode(src[rows]), src[rows])[:, -1]
    np.testing.assert_allclose(cached[:, 2:], whole[:, 2:], rtol=1e-12, atol=1e-12)


def score(model, src, ids, eos, alpha, rule="gnmt"):
    """log P(ids | src) over the length norm."""
    row = src[None]
    logits = model.decode(np.array([[1, *ids[:-1]]]), model.encode(row), row)
    logits[..., :2] = -np.inf
    return log_softmax(logits)[0][np.arange(len(ids)), ids].sum() / length_norm(len(ids), alpha, rule)


@pytest.mark.parametrize(("alpha", "rule"), [(0.0, "gnmt"), (0.6, "gnmt"), (1.5, "gnmt"), (1.0, "power")])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_equals_exhaustive_search(alpha, rule, seed):
    vocab, length, eos = 6, 4, 2
    model = make(vocab=vocab, seed=seed).eval()
    src = sources(rng=np.random.default_rng(seed))
    words = [i for i in range(2, vocab) if i != eos]
    endings = [[*prefix, eos] for n in range(length) for prefix in itertools.product(words, repeat=n)] + [
        list(ids) for ids in itertools.product(words, repeat=length)
    ]
    found = model.generate(src, eos_id=eos, max_new_tokens=length, beam_size=300, length_alpha=alpha, length_norm=rule)
    for row, output in zip(src, found, strict=True):
        best = max(endings, key=lambda ids, row=row: score(model, row, ids, eos, alpha, rule))
        assert output == [i for i in best if i != eos]


def plain_beam_search(model, row, eos, steps, size):
    """Beam search with alpha = 0 for one source, without a cache: each prefix is decoded from its start."""
    prefixes, finished = [(0.0, [])], []
    for _ in range(steps):
        candidates = []
        for total, ids in prefixes:
            logits = model.decode(np.array([[1, *ids]]), model.encode(row[None]), row[None])[:, -1]
            logits[:, :2] = -np.inf
            candidates += [(total + logp, [*ids, i]) for i, logp in enumerate(log_softmax(logits)[0])]
        kept = sorted(candidates, key=lambda found: -found[0])[: size - len(finished)]
        finished += [(total, ids[:-1]) for total, ids in kept if ids[-1] == eos]
        prefixes = [(total, ids) for total, ids in kept if ids[-1] != eos]
    return max([*finished, *prefixes])[1]


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_beam_with_its_cache_equals_one_without_a_cache(seed):
    model, src = make(seed=seed).eval(), sources(rng=np.random.default_rng(seed))
    model.generator.bias.data[...] = 0  # so that the next id depends on the ids before it
    model.generator.weight.data[...] *= 2
    model.tgt_embed.weight.data[...] *= 3
    model.generator.bias.data[2] = -3  # so that sequences are long
    found = model.generate(src, max_new_tokens=8, beam_size=3, length_alpha=0.0)
    assert found == [plain_beam_search(model, row, 2, 8, 3) for row in src]


@pytest.mark.parametrize("length", [1, 2, 7, 40])
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.6, 1.0])
def test_length_norms_are_those_of_their_sources(length, alpha):
    # 1609.08144, Eq. 14
    assert length_norm(length, alpha) == pytest.approx((5 + length) ** alpha / 6**alpha, rel=1e-14)
    assert length_norm(length, alpha, "power") == pytest.approx(length**alpha, rel=1e-14)


def test_a_beam_of_one_equals_greedy_and_a_larger_one_is_at_least_as_probable():
    for seed in range(5):
        model, src = make(seed=seed).eval(), sources()
        model.generator.bias.data[2] += 4
        greedy = model.generate(src, max_new_tokens=10)
        state = DecoderState(model, src, 1, 2)
        assert beam_search(state, len(src), 1, 2, 10, 1) == greedy
        wide = model.generate(src, max_new_tokens=10, beam_size=2000, length_alpha=0.0) if seed == 0 else []
        for row, one, best in zip(src, greedy, wide, strict=False):
            ended = [[*ids, 2] if len(ids) < 10 else ids for ids in (one, best)]
            assert score(model, row, ended[1], 2, 0.0) >= score(model, row, ended[0], 2, 0.0) - 1e-12


def test_greedy_takes_the_most_probable_id_until_the_end():
    model, src = make(seed=2).eval(), sources()
    model.generator.bias.data[2] += 4  # so that some end early
    outputs = model.generate(src, max_new_tokens=10)
    assert len({len(ids) for ids in outputs}) > 1
    for row, ids in zip(src, outputs, strict=True):
        logits = model.decode(np.array([[1, *ids]]), model.encode(row[None]), row[None])[0]
        logits[:, :2] = -np.inf
        expected = [*ids, 2] if len(ids) < 10 else ids
        assert logits.argmax(-1)[: len(expected)].tolist() == expected
        assert 2 not in ids


def test_a_batch_is_decoded_as_its_sequences_alone():
    model, src = make(seed=1).eval(), sources()
    for options in ({}, {"beam_size": 3}):
        together = model.generate(src, max_new_tokens=8, **options)
        alone = [model.generate(row[None][:, row != 0], max_new_tokens=8, **options)[0] for row in src]
        assert together == alone


def test_sampling_follows_the_distribution_and_its_seed():
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]])).repeat(20_000, 0)
    rng = new_rng(0)
    shares = np.bincount(sample_next(logits, 1.0, None, rng), minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.15, 0.05], atol=0.015)
    sharp = np.bincount(sample_next(logits, 0.5, None, rng), minlength=4) / 20_000
    squares = np.array([0.5, 0.3, 0.15, 0.05]) ** 2
    np.testing.assert_allclose(sharp, squares / squares.sum(), atol=0.015)
    top = np.bincount(sample_next(logits, 1.0, 2, rng), minlength=4) / 20_000
    np.testing.assert_allclose(top, [0.625, 0.375, 0, 0], atol=0.015)
    model, src = make().eval(), sources()
    first, again, other = (
        model.generate(src, temperature=1.0, generator=new_rng(seed), max_new_tokens=9) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_generating_leaves_the_mode_and_saves_nothing():
    model, src = make(), sources()
    model.generate(src, max_new_tokens=3, beam_size=2)
    assert model.training
    assert all(layer.training and not layer._saved for _, layer in model.named_modules())
    model.eval().generate(src, max_new_tokens=3)
    assert not model.training


def test_the_language_model_with_its_cache_continues_as_without_it():
    model = LanguageModel(LanguageModelConfig(7, 16, 4, 2, 24, 0.1), seed=1, dtype=np.float64)
    model.parameters().data += np.random.default_rng(1).normal(0, 0.3, model.num_parameters())
    ids = model.generate([3, 1, 4], 9, top_k=1)
    model.eval()
    for position in range(9):
        assert model(np.array([[3, 1, 4, *ids[:position]]]))[0, -1].argmax() == ids[position]
    assert model.generate([3], 9, generator=new_rng(4)) == model.generate([3], 9, generator=new_rng(4))
    assert model.generate([3], 9, generator=new_rng(4)) != model.generate([3], 9, generator=new_rng(5))
    assert model.generate([3, 1, 4], 9, temperature=0) == ids
