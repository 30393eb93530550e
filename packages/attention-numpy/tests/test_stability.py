"""Extreme values, masked rows, dtypes, and the module that produced the first NaN."""

import numpy as np
import pytest
from attention_numpy import (
    Adam,
    AnomalyError,
    DataConfig,
    LayerNorm,
    Linear,
    ModelConfig,
    MultiHeadAttention,
    TrainConfig,
    Trainer,
    Transformer,
    TransformerConfig,
    clip_gradients,
    cross_entropy,
    detect_anomaly,
    noam,
)
from attention_numpy.functional import erf, log_softmax, softmax, softmax_backward

SMALL = TransformerConfig(11, 13, 16, 4, 2, 32, 0.1)


@pytest.fixture(autouse=True)
def floating_point_errors_raise():
    with np.errstate(all="raise", under="ignore"):
        yield


def training_step(model, optimizer, rng):
    src, tgt = rng.integers(1, 11, (4, 6)), rng.integers(1, 13, (4, 6))
    src[0, 3:] = tgt[0, 4:] = 0
    loss, dlogits = cross_entropy(model(src, tgt[:, :-1]), tgt[:, 1:], label_smoothing=0.1, ignore_index=0)
    model.backward(dlogits)
    clip_gradients(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0.0, 1.0, 80.0, 1e4, 1e30])
def test_softmax_of_any_size_is_a_distribution(dtype, size):
    x = np.random.default_rng(0).normal(size=(50, 9)).astype(dtype) * dtype(size)
    p = softmax(x)
    assert p.dtype == dtype
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    assert (p.argmax(-1) == x.argmax(-1)).all() or size == 0
    assert np.isfinite(log_softmax(x)).all()
    np.testing.assert_allclose(softmax(x + dtype(7)), p, atol=1e-5) if size <= 80 else None


def test_the_skipped_shift_changes_nothing_but_rounding():
    x = np.random.default_rng(0).uniform(-59, 59, (200, 9))
    shifted = np.exp(x - x.max(-1, keepdims=True))
    np.testing.assert_allclose(softmax(x), shifted / shifted.sum(-1, keepdims=True), rtol=1e-14)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_a_row_with_nothing_to_attend_to_gives_zeros_forward_and_backward(size):
    x = np.random.default_rng(0).normal(size=(3, 4)) * size
    mask = np.array([[True, True, False, True], [False] * 4, [True] * 4])
    p = softmax(x, mask)
    np.testing.assert_array_equal(p[1], 0)
    assert p[0, 2] == 0
    np.testing.assert_allclose(p[[0, 2]].sum(-1), 1)
    dx = softmax_backward(np.ones((3, 4)) * 1e3, p)
    np.testing.assert_array_equal(dx[1], 0)
    attention = MultiHeadAttention(8, 2, dtype=np.float64)
    y = attention.forward(np.ones((1, 3, 8)), mask=np.zeros((1, 1, 3, 3), bool))
    np.testing.assert_array_equal(y, 0)  # W^O 0 + b, b being 0
    dx, _ = attention.backward(np.ones((1, 3, 8)))
    np.testing.assert_array_equal(dx, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_do_not_overflow(dtype):
    logits = np.random.default_rng(0).normal(size=(5, 9)).astype(dtype) * dtype(1e4)
    loss, dlogits = cross_entropy(logits, np.arange(5), label_smoothing=0.1)
    assert np.isfinite(loss)
    assert np.isfinite(dlogits).all()
    assert dlogits.dtype == dtype
    np.testing.assert_allclose(dlogits.sum(-1), 0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("deviation", [0.0, 1e-12, 1e-6, 1e15])
def test_layer_norm_of_any_variance_is_finite(dtype, deviation):
    layer = LayerNorm(8, dtype=dtype)
    x = dtype(3) + np.random.default_rng(0).normal(size=(5, 8)).astype(dtype) * dtype(deviation)
    y = layer.forward(x)
    dx = layer.backward(np.ones_like(y) + x * dtype(1e-16))
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert (deviation > 0) or not y.any()


def test_layer_norm_divides_by_d_model_and_not_by_one_less():
    x = np.array([[1.0, 2.0, 3.0, 6.0]])
    expected = (x - 3) / np.sqrt((4 + 1 + 0 + 9) / 4 + 1e-5)
    np.testing.assert_allclose(LayerNorm(4, dtype=np.float64).forward(x), expected, rtol=1e-14)


def test_erf_equals_the_standard_librarys():
    import math

    x = np.concatenate([np.linspace(-7, 7, 20_001), [0.0, -0.0, 1e-300, 1e300]])
    exact = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(erf(x), exact, rtol=1e-14, atol=0)
    np.testing.assert_allclose(erf(x[:-2].astype(np.float32)), exact[:-2], rtol=5e-7, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_training_step_stays_in_its_dtype_and_raises_no_floating_point_error(dtype, norm):
    model = Transformer(TransformerConfig(11, 13, 16, 4, 2, 32, 0.1, norm=norm), dtype=dtype)
    optimizer = Adam(model.parameters(), schedule=noam(16, 10))
    rng = np.random.default_rng(0)
    with spy(model) as dtypes:
        losses = [training_step(model, optimizer, rng) for _ in range(3)]
    assert dtypes == {np.dtype(dtype)}
    assert np.isfinite(losses).all()
    assert model.parameters().data.dtype == model.parameters().grad.dtype == dtype
    assert {p.grad.dtype for p in model.parameters().named.values()} == {np.dtype(dtype)}


class spy:
    """Collects the dtypes of all that layers put out, forward and backward."""

    def __init__(self, model):
        self.layers, self.dtypes = [layer for _, layer in model.named_modules()], set()

    def __enter__(self):
        for layer in self.layers:
            for name in ("forward", "backward"):
                layer.__dict__[name] = self.wrapped(getattr(layer, name))
        return self.dtypes

    def wrapped(self, method):
        def call(*arguments, **keywords):
            result = method(*arguments, **keywords)
            values = result if isinstance(result, tuple) else (result,)
            self.dtypes |= {v.dtype for v in values if isinstance(v, np.ndarray)}
            return result

        return call

    def __exit__(self, *_):
        for layer in self.layers:
            del layer.__dict__["forward"], layer.__dict__["backward"]


@pytest.mark.parametrize(
    ("broken", "pass_", "name"),
    [
        ("encoder.layers.1.linear1.weight", "forward", "encoder.layers.1.linear1"),
        ("decoder.layers.0.multihead_attn.in_proj_bias", "forward", "decoder.layers.0.multihead_attn"),
        ("decoder.layers.1.norm2.weight", "forward", "decoder.layers.1.norm2"),
        ("tgt_embed.weight", "forward", "tgt_embed"),
        ("generator.bias", "forward", "generator"),
    ],
)
def test_the_module_that_produced_the_first_nan_is_named(broken, pass_, name):
    model = Transformer(SMALL)
    model.parameters().named[broken].data.reshape(-1)[:] = np.nan
    with detect_anomaly(model), pytest.raises(AnomalyError, match=rf"{pass_} pass of {name}$"):
        training_step(model, Adam(model.parameters()), np.random.default_rng(0))


def test_a_nan_in_the_backward_pass_is_named_too():
    model = Transformer(SMALL)
    layer = model.encoder.layers[0].feed_forward.linear2
    right = layer.backward
    layer.backward = lambda dy: right(dy) * np.float32(np.nan)
    with detect_anomaly(model), pytest.raises(AnomalyError, match=r"backward pass of encoder\.layers\.0\.linear2$"):
        training_step(model, Adam(model.parameters()), np.random.default_rng(0))


def test_a_nan_in_the_input_is_reported_as_such():
    model = Transformer(SMALL)
    with detect_anomaly(model), pytest.raises(AnomalyError, match="input of the backward pass of Transformer"):
        model.backward(model(np.ones((1, 2), int), np.ones((1, 2), int)) * np.float32(np.nan))


def test_an_overflow_is_named_by_its_module():
    model = Transformer(SMALL)
    model.parameters().named["encoder.layers.0.linear2.bias"].data[:] = 3e38
    model.parameters().named["encoder.layers.0.norm2.weight"].data[:] = 1e30
    with detect_anomaly(model), pytest.raises(AnomalyError, match=r"forward pass of encoder\.layers\.[01]"):
        training_step(model, Adam(model.parameters()), np.random.default_rng(0))


def test_a_nan_in_a_gradient_alone_is_named():
    layer = Linear(2, 2)
    layer.name_modules()
    layer.weight.grad[0, 0] = np.inf
    x = np.ones((1, 2), np.float32)
    with detect_anomaly(layer), pytest.raises(AnomalyError, match="gradient of weight in the backward pass of Linear"):
        layer.backward(layer.forward(x))


def test_detection_ends_with_the_block_and_changes_no_value():
    losses = []
    for watched in (False, True):
        model = Transformer(SMALL, seed=4)
        optimizer, rng = Adam(model.parameters()), np.random.default_rng(0)
        if watched:
            with detect_anomaly(model):
                losses.append(training_step(model, optimizer, rng))
        else:
            losses.append(training_step(model, optimizer, rng))
    assert losses[0] == losses[1]
    assert not any("forward" in vars(layer) or "backward" in vars(layer) for _, layer in model.named_modules())


def test_a_trainer_that_detects_anomalies_stops_with_the_name(tmp_path):
    train = TrainConfig(steps=3, batch_size=4, eval_count=5)
    trainer = Trainer(ModelConfig(d_model=16, d_ff=16), train, DataConfig(), detect_anomalies=True)
    trainer.step()
    trainer.model.parameters().named["decoder.layers.1.linear2.bias"].data[3] = np.inf
    with pytest.raises(AnomalyError, match=r"decoder\.layers\.1\.linear2"):
        trainer.fit(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == ""
