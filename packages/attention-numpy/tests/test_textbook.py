"""The textbook version equals torch, and the fast version equals the textbook version, forward and backward."""

import inspect
import math
import re
from pathlib import Path

import attention_numpy
import numpy as np
import pytest
import torch
from attention_numpy import Transformer, TransformerConfig, attention, functional, layers, textbook
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

TOLERANCE = 1e-11
torch.set_num_threads(1)


def grown(rng, *shape):
    return rng.normal(size=shape)


def some_mask(rng, *shape):
    """A random boolean mask that lets every query attend to its first key."""
    mask = rng.random(shape) < 0.6
    mask[..., 0] = True
    return mask


@st.composite
def models(draw):
    heads, d_k = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    config = TransformerConfig(
        draw(st.integers(4, 12)),
        draw(st.integers(4, 12)),
        heads * d_k,
        heads,
        draw(st.integers(1, 3)),
        draw(st.integers(1, 9)),
        dropout=0.0,
    )
    return config, [draw(st.integers(1, 6)) for _ in range(3)], draw(st.integers(0, 2**32 - 1))


def padded_ids(rng, vocab, batch, time):
    ids = rng.integers(1, vocab, (batch, time))
    lengths = rng.integers(1, time + 1, batch)
    return np.where(np.arange(time) < lengths[:, None], ids, 0)


def case(drawn):
    """A model with random weights, biases and gains included; ids with padding; a target to predict."""
    config, (batch, source, target), seed = drawn
    rng = np.random.default_rng(seed)
    model = Transformer(config, dtype=np.float64)
    weights = {name: value + 0.3 * grown(rng, *value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    src, tgt = (
        padded_ids(rng, config.src_vocab_size, batch, source),
        padded_ids(rng, config.tgt_vocab_size, batch, target),
    )
    targets = np.where(tgt == 0, 0, rng.integers(1, config.tgt_vocab_size, tgt.shape))
    return model, weights, src, tgt, targets, float(rng.random())


def textbook_pass(model, weights, src, tgt, targets, eps):
    logits, saved = textbook.transformer(weights, model.config.n_heads, model.config.n_layers, src, tgt)
    loss, dlogits = textbook.cross_entropy(logits, targets, eps)
    return logits, loss, textbook.transformer_backward(dlogits, weights, saved)


@settings(max_examples=60, deadline=None)
@given(models())
def test_fast_model_equals_the_textbook_forward_and_backward(relative_error, drawn):
    model, weights, src, tgt, targets, eps = case(drawn)
    logits, loss, gradients = textbook_pass(model, weights, src, tgt, targets, eps)
    fast_logits = model(src, tgt)
    fast_loss, dlogits = attention_numpy.cross_entropy(fast_logits, targets, label_smoothing=eps, ignore_index=0)
    model.backward(dlogits)
    assert relative_error(fast_logits, logits) < TOLERANCE
    assert abs(fast_loss - loss) < TOLERANCE * max(1, abs(loss))
    scale = max(np.abs(value).max() for value in gradients.values())
    found = model.grad_dict()
    assert found.keys() == gradients.keys()
    for name, value in gradients.items():
        assert np.abs(found[name] - value).max() < TOLERANCE * scale, name


@settings(max_examples=40, deadline=None)
@given(models())
def test_textbook_model_equals_torch_forward_and_backward(relative_error, drawn):
    model, weights, src, tgt, targets, eps = case(drawn)
    logits, loss, gradients = textbook_pass(model, weights, src, tgt, targets, eps)
    c = model.config
    options = {"dropout": 0.0, "batch_first": True, "dtype": torch.float64}
    layer = torch.nn.TransformerEncoderLayer(c.d_model, c.n_heads, c.d_ff, **options)
    encoder = torch.nn.TransformerEncoder(layer, c.n_layers, None, enable_nested_tensor=False)
    layer = torch.nn.TransformerDecoderLayer(c.d_model, c.n_heads, c.d_ff, **options)
    decoder = torch.nn.TransformerDecoder(layer, c.n_layers, None)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    angle = torch.arange(7, dtype=torch.float64)[:, None] / 10000 ** (
        torch.arange(c.d_model).double() // 2 * 2 / c.d_model
    )
    pe = torch.where(torch.arange(c.d_model) % 2 == 0, angle.sin(), angle.cos())
    s, t = torch.tensor(src), torch.tensor(tgt)

    def stack(module, name, *inputs, **masks):
        own = {k.removeprefix(f"{name}."): v for k, v in leaves.items() if k.startswith(f"{name}.")}
        return torch.func.functional_call(module, own, inputs, masks)

    def embedded(ids, name):
        return F.embedding(ids, leaves[f"{name}.weight"]) * math.sqrt(c.d_model) + pe[: ids.shape[1]]

    memory = stack(encoder, "encoder", embedded(s, "src_embed"), src_key_padding_mask=s == 0)
    future = torch.triu(torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool), 1)
    h = stack(
        decoder,
        "decoder",
        embedded(t, "tgt_embed"),
        memory,
        tgt_mask=future,
        tgt_key_padding_mask=t == 0,
        memory_key_padding_mask=s == 0,
    )
    theirs = F.linear(h, leaves["generator.weight"], leaves["generator.bias"])
    their_loss = F.cross_entropy(
        theirs.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=0, label_smoothing=eps
    )
    their_loss.backward()
    assert relative_error(logits, theirs.detach()) < TOLERANCE
    assert abs(loss - their_loss.item()) < TOLERANCE * max(1, abs(loss))
    scale = max(np.abs(value).max() for value in gradients.values())
    for name, value in gradients.items():
        assert np.abs(value - leaves[name].grad.numpy()).max() < TOLERANCE * scale, name


@pytest.mark.parametrize("seed", range(5))
def test_each_fast_part_equals_its_textbook_twin(relative_error, seed):
    rng = np.random.default_rng(seed)
    batch, n, m, d = rng.integers(1, 7, 4)
    x, dy = grown(rng, batch, n, d), grown(rng, batch, n, d)
    p = textbook.softmax(x)
    pairs = [
        (functional.softmax(x), p),
        (functional.softmax_backward(dy, p), textbook.softmax_backward(dy, p)),
        (layers.sinusoid(n, d), textbook.positions(n, d)),
    ]
    # attention: one head
    q, k, v, mask = x, grown(rng, batch, m, d), grown(rng, batch, m, d), some_mask(rng, batch, n, m)
    o, saved = textbook.attention(q, k, v, mask)
    fast = [a[:, None] for a in (q, k, v)]  # (batch, heads = 1, time, d_k)
    fast_o, p, dropped = attention.scaled_dot_product_attention(*fast, mask[:, None])
    pairs += [(fast_o[:, 0], o), (p[:, 0], saved[3])]
    found = attention.scaled_dot_product_attention_backward(dy[:, None], *fast, p, dropped)
    pairs += [(f[:, 0], t) for f, t in zip(found, textbook.attention_backward(dy, saved), strict=True)]
    # LayerNorm and Linear
    norm, line = layers.LayerNorm(int(d), dtype=np.float64), layers.Linear(int(d), int(m), dtype=np.float64)
    norm.weight.data, norm.bias.data, line.bias.data = grown(rng, d), grown(rng, d), grown(rng, m)
    y, saved = textbook.layer_norm(x, norm.weight.data, norm.bias.data)
    pairs.append((norm.forward(x), y))
    fast_dx = norm.backward(dy)
    pairs += zip((fast_dx, norm.weight.grad, norm.bias.grad), textbook.layer_norm_backward(dy, saved), strict=True)
    dz = grown(rng, batch, n, m)
    pairs.append((line.forward(x), textbook.linear(x, line.weight.data, line.bias.data)))
    fast_dx = line.backward(dz)
    expected = textbook.linear_backward(dz, x, line.weight.data)
    pairs += zip((fast_dx, line.weight.grad, line.bias.grad), expected, strict=True)
    for i, (ours, theirs) in enumerate(pairs):
        assert relative_error(ours, theirs, floor=1.0) < TOLERANCE, i


def test_dropout_equals_the_textbook_with_the_same_mask():
    x = np.ones((50, 8))
    layer = layers.Dropout(0.25)
    y = layer.forward(x)
    keep = y != 0
    assert 0 < keep.mean() < 1
    dy = np.random.default_rng(0).normal(size=x.shape)
    np.testing.assert_allclose(y, textbook.dropout(x, keep, 0.25), rtol=1e-15)
    np.testing.assert_allclose(layer.backward(dy), textbook.dropout(dy, keep, 0.25), rtol=1e-15)


def test_textbook_attention_refuses_a_query_that_may_attend_to_nothing():
    x = np.ones((1, 2, 3))
    with pytest.raises(ValueError, match="`mask` must let every query attend to at least one key"):
        textbook.attention(x, x, x, np.array([[True, False], [False, False]]))


def test_textbook_loss_refuses_targets_that_are_all_padding():
    with pytest.raises(ValueError, match="`targets` must hold an id other than `pad_id` = 0"):
        textbook.cross_entropy(np.ones((1, 2, 3)), np.zeros((1, 2), int))


def test_layer_norm_in_the_readme_is_that_of_the_textbook():
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\n(def layer_norm\(.*?)```", readme, re.DOTALL)[1]
    source = "".join(inspect.getsource(f) for f in (textbook.layer_norm, textbook.layer_norm_backward))

    def statements(code):
        lines = (re.sub(r"\s*#.*", "", line).strip() for line in code.splitlines())
        return [line for line in lines if line and not line.startswith(("def ", '"""'))]

    assert len(statements(shown)) == 10
    assert statements(shown) == statements(source)
