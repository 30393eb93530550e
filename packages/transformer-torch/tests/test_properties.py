"""Properties that hold for every input."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformer_torch import LabelSmoothing, Transformer, TransformerConfig
from transformer_torch.attention import scaled_dot_product_attention
from transformer_torch.data.batching import pad, padding_efficiency, token_batches
from transformer_torch.layers import dropout
from transformer_torch.loss import target_distribution
from transformer_torch.training.trainer import SummedLoss

FAST = settings(deadline=None, max_examples=20)


def model_of(norm="post", **sizes):
    torch.manual_seed(0)
    options = {"d_model": 12, "n_heads": 2, "n_layers": 2, "d_ff": 16, "dropout": 0.0, "max_length": 32, "norm": norm}
    return Transformer(TransformerConfig(20, **{**options, **sizes})).double().eval()


VARIANTS = {
    "post": model_of(),
    "pre": model_of("pre"),
    "learned": model_of(positions="learned"),
    "odd": model_of(d_model=11, d_k=3, d_v=5),
}
ids = st.lists(st.integers(3, 19), min_size=1, max_size=9)


@FAST
@given(src=ids, tgt=ids, later=ids, variant=st.sampled_from(sorted(VARIANTS)))
def test_no_position_attends_to_a_later_one(src, tgt, later, variant):
    model = VARIANTS[variant]
    source = torch.tensor([src])
    short, long = model(source, torch.tensor([tgt])), model(source, torch.tensor([tgt + later]))
    assert (short - long[:, : len(tgt)]).abs().max() < 1e-12


@FAST
@given(src=ids, tgt=ids, padding=st.integers(1, 5), variant=st.sampled_from(sorted(VARIANTS)))
def test_padding_changes_nothing(src, tgt, padding, variant):
    model = VARIANTS[variant]
    alone = model(torch.tensor([src]), torch.tensor([tgt]))
    padded = model(torch.tensor([src + [0] * padding]), torch.tensor([tgt + [0] * padding]))
    assert (alone - padded[:, : len(tgt)]).abs().max() < 1e-12


def test_every_earlier_token_and_every_source_token_matters():
    model, src, tgt = VARIANTS["post"], torch.tensor([[5, 6, 7]]), torch.tensor([[1, 8, 9]])
    last = model(src, tgt)[0, -1]
    for changed in range(3):
        other = src.clone()
        other[0, changed] = 11
        assert (model(other, tgt)[0, -1] - last).abs().max() > 1e-4
        other = tgt.clone()
        other[0, changed] = 11
        assert (model(src, other)[0, -1] - last).abs().max() > 1e-4


@pytest.mark.parametrize("variant", ["post", "pre"])
def test_a_fully_padded_row_yields_no_nan(variant):
    model = model_of(variant)
    src, tgt = torch.tensor([[5, 6], [0, 0]]), torch.tensor([[1, 5, 2], [0, 0, 0]])
    loss, _ = SummedLoss(model, LabelSmoothing(reduction="sum"))(src, tgt)
    loss.backward()
    assert torch.isfinite(model(src, tgt)).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    model.zero_grad()
    alone = model_of(variant)
    SummedLoss(alone, LabelSmoothing(reduction="sum"))(src[:1], tgt[:1])[0].backward()
    loss, _ = SummedLoss(model, LabelSmoothing(reduction="sum"))(src, tgt)
    loss.backward()
    pairs = zip(model.parameters(), alone.parameters(), strict=True)
    assert all((a.grad - b.grad).abs().max() < 1e-12 for a, b in pairs)


def test_a_query_without_keys_yields_zeros_and_zero_gradients():
    q, k, v = (torch.randn(1, 1, 2, 4, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[[[True, True], [False, False]]]])
    out, weights = scaled_dot_product_attention(q, k, v, mask)
    out.sum().backward()
    assert float(out[0, 0, 1].detach().abs().max()) == 0.0
    assert float(weights[0, 0, 1].detach().abs().max()) == 0.0
    assert float(q.grad[0, 0, 1].abs().max()) == 0.0
    assert torch.isfinite(k.grad).all()


def test_an_impossible_class_does_not_make_the_plain_loss_nan():
    logits = torch.tensor([[0.0, 1.0, -math.inf, 2.0]], requires_grad=True)
    loss = LabelSmoothing(0.0)(logits, torch.tensor([3]))
    loss.backward()
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor([3])).item())
    assert torch.isfinite(logits.grad).all()


@FAST
@given(mode=st.sampled_from(["torch", "fairseq", "annotated"]), eps=st.floats(0, 0.9), vocab=st.integers(3, 50))
def test_every_target_distribution_sums_to_one(mode, eps, vocab):
    right, other, padding, _ = target_distribution(mode, eps, vocab)
    assert abs(right + other * (vocab - 2) + padding - 1) < 1e-12


def test_label_smoothing_of_padding_only_is_zero_even_for_infinite_logits():
    logits = torch.full((2, 5), float("inf"), requires_grad=True)
    loss = LabelSmoothing()(logits, torch.tensor([0, 0]))
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert float(logits.grad.abs().max()) == 0.0


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_dropout_is_where_section_5_4_puts_it(monkeypatch, norm):
    """After both embeddings and each sub-layer, and nowhere else: 2 + 2 * n + 3 * n calls."""
    model = model_of(norm, dropout=0.5).train()
    seen = []

    def counting(x, p, training):
        seen.append((tuple(x.shape), p, training))
        return dropout(x, p, training)

    for module in ("layers", "model"):
        monkeypatch.setattr(f"transformer_torch.{module}.dropout", counting)
    model(torch.tensor([[5, 6, 7]]), torch.tensor([[1, 8]]))
    assert seen == [((1, 3, 12), 0.5, True)] * 5 + [((1, 2, 12), 0.5, True)] * 7


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_is_independent_per_element_and_keeps_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 301, dtype=torch.float64, requires_grad=True)
    out = dropout(x, p, True)
    dropped = out == 0
    assert torch.allclose(out[~dropped], torch.tensor(1 / (1 - p), dtype=torch.float64))
    # five standard deviations of a mean of independent coins; rows and columns too
    for fraction, n in ((dropped.double().mean(), dropped.numel()), (dropped.double().mean(0), 1000)):
        assert float((fraction - p).abs().max()) < 5 * (p * (1 - p) / n) ** 0.5
    adjacent = (dropped[:, 1:] & dropped[:, :-1]).double().mean()
    assert abs(float(adjacent) - p * p) < 5 * (p * p / dropped.numel()) ** 0.5
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert not torch.equal(dropout(x, p, True), out)
    assert dropout(x, p, False) is x
    assert dropout(x, 0.0, True) is x


@FAST
@given(
    lengths=st.lists(st.tuples(st.integers(1, 20), st.integers(2, 20)), min_size=1, max_size=60),
    budget=st.integers(1, 200),
    seed=st.integers(0, 5),
)
def test_batches_hold_each_pair_once_and_respect_the_token_limit(lengths, budget, seed):
    pairs = [([5] * s, [5] * t) for s, t in lengths]
    batches = token_batches(pairs, budget, random.Random(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(pairs)))
    for batch in batches:
        positions = sum(len(batch) * max(lengths[i][side] for i in batch) for side in (0, 1))
        assert positions <= budget or len(batch) == 1
    assert 0 < padding_efficiency(pairs, batches) <= 1


def test_epochs_are_grouped_differently():
    pairs = [([5] * (i % 7 + 1), [5] * (i % 5 + 2)) for i in range(200)]
    first, second = (token_batches(pairs, 60, random.Random(seed)) for seed in (0, 1))
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}


def test_multi30k_is_batched_with_little_padding(data_file):
    from transformer_torch.data.corpus import read_parallel
    from transformer_torch.data.tokenizer import build_tokenizer

    corpus = read_parallel(data_file("mt/train.de.gz"), data_file("mt/train.en.gz"))
    pairs = corpus.encode(build_tokenizer("words", [*corpus.src, *corpus.tgt], 8000), 256)
    batches = token_batches(pairs, 4096, random.Random(0))
    assert len(pairs) == 29_000
    assert padding_efficiency(pairs, batches) > 0.94


def test_pad_puts_padding_at_the_end():
    assert pad([[4, 5], [6]]).tolist() == [[4, 5], [6, 0]]


def test_intermediates_hold_every_attention():
    model = VARIANTS["post"]
    logits, found = model(torch.tensor([[5, 6, 0]]), torch.tensor([[1, 8]]), return_intermediates=True)
    assert torch.equal(logits, model(torch.tensor([[5, 6, 0]]), torch.tensor([[1, 8]])))
    decoder = {f"decoder.{n}.{kind}" for n in (0, 1) for kind in ("self_attn", "cross_attn")}
    assert set(found) == {f"encoder.{n}.self_attn" for n in (0, 1)} | decoder
    cross = found["decoder.1.cross_attn"]
    assert cross.shape == (1, 2, 2, 3)
    assert torch.allclose(cross.sum(-1), torch.ones(1, 2, 2, dtype=torch.float64))
    assert float(cross[..., 2].detach().abs().max()) == 0.0
    assert float(found["decoder.0.self_attn"][0, :, 0, 1].detach().abs().max()) == 0.0


def test_sinusoids_extend_beyond_max_length_and_learned_positions_do_not():
    src = torch.full((1, 33), 5)
    longer = model_of(max_length=64)
    longer.load_state_dict(VARIANTS["post"].state_dict())
    with torch.no_grad():
        assert torch.equal(VARIANTS["post"](src, src), longer(src, src))
    with pytest.raises(ValueError, match="`ids` must have at most 32 positions"):
        VARIANTS["learned"](src, torch.tensor([[1]]))


def test_positions_stay_exact_through_casts_and_empty_tensors():
    expected = model_of().positions.table
    assert expected.dtype == torch.float64
    assert torch.equal(model_of().bfloat16().double().positions.table, expected)
    with torch.device("meta"):
        empty = Transformer(VARIANTS["post"].config)
    filled = empty.to_empty(device="cpu").double()
    assert torch.equal(filled.positions.table, expected)
