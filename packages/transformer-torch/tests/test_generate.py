"""Decoding with the cache matches decoding without; beam search matches exhaustive search."""

import itertools

import pytest
import torch
from jaxtyping import TypeCheckError
from transformer_torch import (
    PositionwiseFeedForward,
    Transformer,
    TransformerConfig,
    attention,
    beam_search,
    greedy_decode,
)
from transformer_torch.attention import scaled_dot_product_attention
from transformer_torch.inference.generate import decoding_copy, fast_topk, length_norm_of, topk_logprobs


def model_of(vocab=12, **options):
    torch.manual_seed(options.pop("seed", 0))
    sizes = {"d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 24, "dropout": 0.0, "max_length": 64}
    model = Transformer(TransformerConfig(vocab, **{**sizes, **options})).double().eval()
    with torch.no_grad():
        model.embedding.weight.mul_(3)  # logits that differ, as after training
    return model


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


SRC = torch.tensor([[5, 6, 7, 2], [9, 2, 0, 0], [4, 11, 2, 0]])


def next_logits(model, cache, tokens):
    return model.project(model.decode_cached(tokens[:, None], cache)[:, -1])


@pytest.mark.parametrize("options", [{}, {"norm": "pre"}, {"positions": "learned"}, {"d_k": 3, "d_v": 5}])
def test_cached_decoding_matches_the_full_decoder(options):
    model, beams = model_of(**options), 2
    memory, mask = model.encode(SRC)
    tokens = torch.randint(3, 12, (6, 7), generator=torch.Generator().manual_seed(1))
    whole = model(SRC.repeat_interleave(beams, 0), tokens)
    for fast in (model, decoding_copy(model)):
        cache = fast.start_cache(memory, mask)
        for t in range(7):
            assert (next_logits(fast, cache, tokens[:, t]) - whole[:, t]).abs().max() < 1e-12
        cache.reset()
        several = fast.project(fast.decode_cached(tokens[:, :4], cache))
        rest = fast.project(fast.decode_cached(tokens[:, 4:], cache))
        assert (torch.cat([several, rest], 1) - whole).abs().max() < 1e-12


def test_reordered_and_dropped_rows_keep_their_own_cache():
    model = model_of()
    memory, mask = model.encode(SRC)
    tokens = torch.randint(3, 12, (6, 4), generator=torch.Generator().manual_seed(1))
    cache = model.start_cache(memory, mask)
    for t in range(4):
        next_logits(model, cache, tokens[:, t])
    rows = torch.tensor([1, 1, 5, 4])  # sentence 0: its second beam twice; sentence 1 is done; sentence 2: swapped
    cache.reorder(rows, torch.tensor([0, 2]))
    new = torch.tensor([5, 6, 7, 8])
    found = next_logits(model, cache, new)
    expected = model(SRC[[0, 0, 2, 2]], torch.cat([tokens[rows], new[:, None]], 1))[:, -1]
    assert (found - expected).abs().max() < 1e-12


@pytest.mark.parametrize(("vocab", "k"), [(5, 3), (64, 1), (640, 1), (641, 5), (8000, 8), (4003, 2)])
def test_fast_topk_matches_topk(vocab, k):
    logits = torch.randn(7, vocab, generator=torch.Generator().manual_seed(vocab))
    logits[0, -k:] = 9.0 + torch.arange(k)  # in what is left over beside whole blocks
    logits[1, :k] = 9.0 + torch.arange(k)  # all in one block
    best, columns = fast_topk(logits, k)
    expected = logits.topk(k, -1)
    assert torch.equal(best, expected.values)
    assert torch.equal(columns, expected.indices)


@pytest.mark.parametrize(("vocab", "k"), [(5, 2), (640, 4), (4003, 2)])
def test_topk_logprobs_match_log_softmax_without_the_forbidden_ids(vocab, k):
    logits = torch.randn(70, vocab, generator=torch.Generator().manual_seed(1))
    logits[0, 1] = 30.0  # a forbidden id that has nearly all of the probability
    expected = logits.log_softmax(-1)
    expected[:, [0, 1]] = -1e9
    best, ids = topk_logprobs(logits.clone(), k, [0, 1])
    assert (best - expected.topk(k).values).abs().max() < 1e-4
    assert torch.equal(ids, expected.topk(k).indices)


def test_padding_and_begin_are_never_generated():
    model = model_of(seed=1)
    with torch.no_grad():
        model.embedding.weight[:2] *= 20
    outputs = greedy_decode(model, SRC) + [ids for pool in beam_search(model, SRC) for ids, _ in pool]
    assert outputs
    assert not {0, 1} & {token for ids in outputs for token in ids}


def test_a_layer_that_is_changed_is_changed_in_training_and_decoding(monkeypatch):
    """One implementation: the cached decoder calls the layers' own methods."""
    model = model_of(seed=1)
    before = greedy_decode(model, SRC)
    monkeypatch.setattr(
        PositionwiseFeedForward, "forward", lambda self, x: self.w_2(torch.nn.functional.gelu(self.w_1(x)))
    )
    assert greedy_decode(model, SRC, max_extra_tokens=5) == greedy_without_cache(model, SRC, 5)
    monkeypatch.setattr(PositionwiseFeedForward, "forward", lambda self, x: torch.tanh(self.w_2(self.w_1(x))))
    assert greedy_decode(model, SRC) != before
    assert greedy_decode(model, SRC, max_extra_tokens=5) == greedy_without_cache(model, SRC, 5)


def test_equation_1_is_the_code_that_trains_and_decodes(monkeypatch):
    """Without the scaling, exercise 1 of the README, both training and decoding change."""
    model = model_of(seed=1)
    loss, outputs = model(SRC, SRC).logsumexp(-1).sum(), greedy_decode(model, SRC)

    def unscaled(q, k, v, mask=None):
        return scaled_dot_product_attention(q * q.size(-1) ** 0.5, k, v, mask)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", unscaled)
    assert (model(SRC, SRC).logsumexp(-1).sum() - loss).abs() > 1e-3
    assert greedy_decode(model, SRC) != outputs
    assert greedy_decode(model, SRC, max_extra_tokens=5) == greedy_without_cache(model, SRC, 5)


def greedy_without_cache(model, src, extra):
    out = []
    for row in src:
        row = row[row != 0]
        tokens = [1]
        for _ in range(len(row) + extra):
            logits = model(row[None], torch.tensor([tokens]))[0, -1]
            logits[:2] = -1e9  # padding and begin are never generated
            tokens.append(int(logits.argmax()))
            if tokens[-1] == 2:
                break
        out.append([t for t in tokens[1:] if t != 2])
    return out


@pytest.mark.parametrize("seed", [0, 1, 8])
def test_greedy_decoding_matches_the_full_decoder_at_every_step(seed):
    model = model_of(seed=seed)
    assert greedy_decode(model, SRC, max_extra_tokens=5) == greedy_without_cache(model, SRC, 5)


@pytest.mark.parametrize("seed", [0, 1, 3, 8])
def test_beam_size_one_is_greedy_decoding(seed):
    model = model_of(seed=seed)
    assert [pool[0][0] for pool in beam_search(model, SRC, beam_size=1)] == greedy_decode(model, SRC)


@pytest.mark.parametrize("rule", ["gnmt", "power"])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(rule, alpha):
    """Vocabulary of 7, at most 3 tokens with the end token: every sequence is scored by the whole model."""
    model, src = model_of(vocab=7, seed=2), torch.tensor([[4, 2]])
    found = beam_search(
        model, src, 1, 2, beam_size=100, length_alpha=alpha, length_norm=rule, stop="exact", max_extra_tokens=1
    )[0]
    scores = {}
    for n in range(4):
        for ids in itertools.product([3, 4, 5, 6], repeat=n):
            log_p = model(src, torch.tensor([[1, *ids]]))[0].log_softmax(-1)
            tokens = [*ids, 2] if n < 3 else list(ids)  # at the maximum length no end token is needed
            total = sum(log_p[i, t] for i, t in enumerate(tokens))
            length = len(tokens)
            penalty = ((5 + length) / 6) ** alpha if rule == "gnmt" else length**alpha
            scores[ids] = float(total.detach()) / penalty
    best = sorted(scores, key=lambda ids: -scores[ids])
    assert [tuple(ids) for ids, _ in found] == best[: len(found)]
    assert len(found) == len(scores) == 1 + 4 + 16 + 64
    assert all(abs(score - scores[tuple(ids)]) < 1e-5 for ids, score in found)


@pytest.mark.parametrize("seed", [1, 5, 8])
@pytest.mark.parametrize("beam", [1, 4])
def test_results_do_not_depend_on_batch_or_padding(beam, seed):
    model = model_of(seed=seed)

    def search(src):
        return beam_search(model, src, beam_size=beam) if beam > 1 else greedy_decode(model, src)

    together = search(torch.nn.functional.pad(SRC, (0, 9)))
    for row, found in zip(SRC, together, strict=True):
        (alone,) = search(row[row != 0][None])
        if beam == 1:
            assert alone == found
        else:
            assert [ids for ids, _ in alone] == [ids for ids, _ in found]
            assert all(abs(a[1] - b[1]) < 1e-5 for a, b in zip(alone, found, strict=True))


@pytest.mark.parametrize("seed", [1, 8])  # models that end their sentences
def test_nbest_is_sorted_distinct_and_scored_by_the_model(seed):
    model = model_of(seed=seed)
    for row, pool in zip(SRC, beam_search(model, SRC, beam_size=4, length_alpha=0.6), strict=True):
        scores = [score for _, score in pool]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(ids) for ids, _ in pool}) == len(pool)
        for ids, score in pool:
            log_p = model(row[None], torch.tensor([[1, *ids]]))[0].log_softmax(-1)
            limit = int((row != 0).sum()) + 50
            tokens = [*ids, 2] if len(ids) < limit else ids
            whole = sum(float(log_p[i, t].detach()) for i, t in enumerate(tokens))
            assert score == pytest.approx(whole / ((5 + len(tokens)) / 6) ** 0.6, abs=1e-5)


def test_without_an_end_token_decoding_stops_at_source_length_plus_extra():
    model = model_of()
    with torch.no_grad():
        model.embedding.weight[2] = 0  # the end token's logit is zero, others reach above it
    lengths = [4 + 6, 2 + 6, 3 + 6]
    outputs = greedy_decode(model, SRC, max_extra_tokens=6)
    assert [len(o) for o in outputs] == lengths
    pools = beam_search(model, SRC, beam_size=2, max_extra_tokens=6)
    assert all(len(pool[0][0]) <= n for pool, n in zip(pools, lengths, strict=True))
    assert all(len(pool) == 2 for pool in pools)  # n-best lists are full


def test_length_norms_by_name():
    assert float(length_norm_of(torch.tensor(7.0), 0.6, "gnmt")) == pytest.approx(2**0.6)
    assert float(length_norm_of(torch.tensor(7.0), 0.6, "power")) == pytest.approx(7**0.6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"beam_size": 0}, "beam_size"),
        ({"eos_id": 12}, "eos_id"),
        ({"length_norm": "wu"}, "length_norm"),
        ({"length_alpha": float("nan")}, "length_alpha"),
        ({"stop": "early"}, "stop"),
        ({"max_extra_tokens": 0}, "max_extra_tokens"),
    ],
)
def test_bad_arguments_of_beam_search_are_named(options, named):
    # or by the annotation, where the suite has the annotations enforced
    with pytest.raises((ValueError, TypeCheckError), match=named):
        beam_search(model_of(), SRC, **options)
    with pytest.raises(ValueError, match="`src` must hold ids from 0 to 11, got 50"):
        greedy_decode(model_of(), torch.tensor([[50]]))
