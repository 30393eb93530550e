"""Finite differences for every layer, with dropout too; layers used twice; gradients that add up."""

import numpy as np
import pytest
from attention_numpy import (
    DecoderLayer,
    Dropout,
    Embedding,
    EncoderLayer,
    LanguageModel,
    LanguageModelConfig,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    PositionalEncoding,
    PositionwiseFeedForward,
    ReLU,
    Transformer,
    TransformerConfig,
    cross_entropy,
)
from attention_numpy.functional import (
    erf,
    erf_backward,
    log_softmax,
    log_softmax_backward,
    scatter_rows,
    softmax,
    softmax_backward,
)
from attention_numpy.gradcheck import check, check_layer, check_model, slope, unit

F64 = {"dtype": np.float64}
TOLERANCE = 1e-7


def rng():
    return np.random.default_rng(0)


def perturbed(layer):
    for _, parameter in layer.named_parameters():
        parameter.data += rng().normal(0, 0.3, parameter.data.shape)
    return layer


def masked():
    """A mask with a row that may attend to nothing."""
    mask = np.tril(np.ones((5, 5), bool))[None, None].repeat(2, 0)
    mask[1, :, 3] = False
    return mask


LAYERS = {
    "Linear": (lambda: Linear(6, 5, **F64), [(2, 3, 6)], {}),
    "LayerNorm": (lambda: LayerNorm(7, **F64), [(2, 3, 7)], {}),
    "ReLU": (ReLU, [(4, 5)], {}),
    "PositionalEncoding": (lambda: PositionalEncoding(7), [(2, 3, 7)], {}),
    "PositionwiseFeedForward": (lambda: PositionwiseFeedForward(6, 9, **F64), [(2, 3, 6)], {}),
    "self-attention": (lambda: MultiHeadAttention(8, 2, **F64), [(2, 5, 8)], {}),
    "causal self-attention": (lambda: MultiHeadAttention(8, 2, **F64), [(2, 5, 8)], {"mask": masked()}),
    "cross-attention": (lambda: MultiHeadAttention(8, 4, **F64), [(2, 3, 8), (2, 5, 8)], {}),
    "encoder layer, post": (lambda: EncoderLayer(8, 2, 12, 0.0, "post", **F64), [(2, 5, 8)], {"mask": masked()}),
    "encoder layer, pre": (lambda: EncoderLayer(8, 2, 12, 0.0, "pre", **F64), [(2, 5, 8)], {}),
    "decoder layer, post": (
        lambda: DecoderLayer(8, 2, 12, 0.0, "post", **F64),
        [(2, 5, 8), (2, 3, 8)],
        {"mask": masked()},
    ),
    "decoder layer, pre": (lambda: DecoderLayer(8, 2, 12, 0.0, "pre", **F64), [(2, 5, 8), (2, 3, 8)], {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_gradients_are_those_of_finite_differences(name):
    make, shapes, keywords = LAYERS[name]
    layer = perturbed(make())
    rows = check_layer(layer, *(rng().normal(size=shape) for shape in shapes), **keywords)
    assert len(rows) == len(list(layer.named_parameters())) + len(shapes)
    assert max(row.error for row in rows) <= TOLERANCE, rows


def test_gradients_of_repeated_ids_add_up():
    layer, ids = Embedding(5, 4, **F64), np.array([[1, 3, 1], [1, 0, 3]])
    rows = check_layer(layer, ids)
    assert [row.name for row in rows] == ["weight"]
    assert rows[0].error <= TOLERANCE
    assert not layer.weight.grad[[2, 4]].any()


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("tie", [False, True])
def test_the_models_gradients_are_those_of_finite_differences_with_dropout_too(norm, tie):
    rows = check_model(norm, tie, dropout=0.2, label_smoothing=0.1, seed=3)
    assert max(row.error for row in rows) <= 1e-6, max(rows, key=lambda row: row.error)
    assert len(rows) == len({row.name for row in rows}) > 60


def test_the_language_models_gradients_are_those_of_finite_differences():
    model = perturbed(LanguageModel(LanguageModelConfig(9, 8, 2, 2, 16, 0.0), **F64))
    ids = rng().integers(0, 9, (2, 6))
    model.backward(cross_entropy(model(ids[:, :-1]), ids[:, 1:])[1])
    model.eval()
    arrays = {name: (p.data, p.grad) for name, p in model.parameters().named.items()}
    rows = check(lambda: cross_entropy(model(ids[:, :-1]), ids[:, 1:])[0], arrays)
    assert max(row.error for row in rows) <= 1e-6, rows


FUNCTIONS = {
    "softmax": (softmax, lambda dy, x: softmax_backward(dy, softmax(x))),
    "log-softmax": (log_softmax, lambda dy, x: log_softmax_backward(dy, log_softmax(x))),
    "erf": (erf, erf_backward),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_functions_gradient_is_that_of_finite_differences(name):
    forward, backward = FUNCTIONS[name]
    x, dy = rng().normal(0, 2, (3, 6)), rng().normal(size=(3, 6))
    direction = unit(rng(), x.shape)
    numeric = slope(lambda: float((forward(x) * dy).sum()), x, direction)
    assert float((backward(dy, x) * direction).sum()) == pytest.approx(numeric, rel=TOLERANCE, abs=1e-9)


def test_scatter_is_the_transpose_of_the_lookup():
    ids, dx, dw = np.array([4, 0, 4, 4, 1]), rng().normal(size=(5, 3)), np.ones((6, 3))
    scatter_rows(ids, dx, dw)
    lookup = np.zeros((5, 6))
    lookup[np.arange(5), ids] = 1
    np.testing.assert_allclose(dw, 1 + lookup.T @ dx, atol=1e-14)


class Twice(Module):
    """The same layers, one after the other, two times."""

    def __init__(self):
        super().__init__()
        self.parts = [Linear(4, 4, **F64), LayerNorm(4, **F64), Dropout(0.4), MultiHeadAttention(4, 2, 0.3, **F64)]

    def forward(self, x):
        for part in [*self.parts, *self.parts]:
            x = part.forward(x)
        return x

    def backward(self, dy):
        for part in reversed([*self.parts, *self.parts]):
            dy = part.backward(dy)
            dy = dy[0] if isinstance(dy, tuple) else dy
        return dy


def test_layers_used_twice_have_correct_gradients_dropout_included():
    twice = perturbed(Twice())
    x, weight = rng().normal(size=(2, 3, 4)), rng().normal(size=(2, 3, 4))
    states = [layer.rng.bit_generator.state for _, layer in twice.named_modules() if isinstance(layer, Dropout)]

    def loss():
        dropouts = [layer for _, layer in twice.named_modules() if isinstance(layer, Dropout)]
        for layer, state in zip(dropouts, states, strict=True):
            layer.rng.bit_generator.state = state
        value = float((twice.forward(x) * weight).sum())
        return value

    loss()
    dx = twice.backward(weight)
    arrays = {name: (p.data, p.grad) for name, p in twice.named_parameters()} | {"x": (x, dx)}
    rows = check(loss, arrays)
    twice.clear_saved()
    assert max(row.error for row in rows) <= 1e-6, rows


def test_two_backward_passes_add_up_until_zero_grad():
    config = TransformerConfig(7, 9, 8, 2, 1, 12, 0.0)
    model = Transformer(config, dtype=np.float64)
    src, tgt = rng().integers(1, 7, (2, 4)), rng().integers(1, 9, (2, 4))
    once = []
    for times in (1, 2):
        model.parameters().zero_grad()
        for _ in range(times):
            model.backward(cross_entropy(model(src, tgt[:, :-1]), tgt[:, 1:])[1])
        once.append(model.parameters().grad.copy())
    np.testing.assert_allclose(once[1], 2 * once[0], rtol=1e-12, atol=1e-15)


def test_a_wrong_gradient_is_found():
    class Wrong(Linear):
        def backward(self, dy):
            return 1.01 * super().backward(dy)

    rows = check_layer(Wrong(4, 3, **F64), rng().normal(size=(5, 4)))
    assert [row.name for row in rows if row.error > 1e-3] == ["input 0"]


def test_gradcheck_refuses_float32():
    with pytest.raises(ValueError, match="float64"):
        check_layer(Linear(4, 3), rng().normal(size=(5, 4)).astype(np.float32))
