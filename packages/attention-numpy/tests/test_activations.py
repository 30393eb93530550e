"""Every activation function: value and derivative equal torch's, and are stable over all of float32."""

import numpy as np
import pytest
import torch
from attention_numpy.activations import (
    ACTIVATIONS,
    GATES,
    Elementwise,
    log_softmax,
    log_softmax_backward,
    maxout,
    maxout_backward,
    prelu_backward,
    softmax,
    softmax_backward,
)
from attention_numpy.gradcheck import check_layer
from torch.nn import functional as F

TOLERANCE = 1e-13
THEIRS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "ReLU": F.relu,
    "LeakyReLU": F.leaky_relu,
    "PReLU": lambda x: F.prelu(x, torch.tensor(0.25, dtype=x.dtype)),
    "ELU": F.elu,
    "SELU": F.selu,
    "CELU": F.celu,
    "Softplus": lambda x: F.softplus(x, threshold=700),  # torch's own is x from 20 on
    "Softsign": F.softsign,
    "SiLU": F.silu,
    "GELU": F.gelu,
    "GELU (tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "Mish": lambda x: x * torch.tanh(F.softplus(x, threshold=700)),
    "HardSigmoid": lambda x: torch.clamp(x / 6 + 0.5, 0, 1),  # torch's derivative holds a float32 constant
    "HardSwish": lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1),
    "HardTanh": F.hardtanh,
    "squared ReLU": lambda x: F.relu(x).square(),
}


def both(name, x):
    leaf = torch.tensor(x, requires_grad=True)
    y = THEIRS[name](leaf)
    y.sum().backward()
    return y.detach().numpy(), leaf.grad.numpy()


def test_every_function_has_a_reference():
    assert set(THEIRS) == set(ACTIVATIONS)
    assert set(GATES) == {"GLU", "GEGLU", "SwiGLU", "ReGLU"}
    assert all(f.paper and f.formula for f in ACTIVATIONS.values())


@pytest.mark.parametrize("name", THEIRS)
def test_value_and_derivative_equal_torchs_in_float64(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 3, 4000), rng.uniform(-40, 40, 2000), [0.0, 1e-9, -1e-9]])
    function, (y, slope) = ACTIVATIONS[name], both(name, x)
    scale = np.maximum(np.abs(x), 1)
    assert (np.abs(function.value(x) - y) / scale).max() <= TOLERANCE
    assert (np.abs(function.derivative(x) - slope) / scale).max() <= TOLERANCE


@pytest.mark.parametrize("name", THEIRS)
def test_the_whole_range_of_float32_is_stable(name):
    largest = np.finfo(np.float32).max
    x = np.concatenate([[0], np.geomspace(1e-38, largest, 3000)]).astype(np.float32)
    x = np.concatenate([-x[::-1], x])
    x = x[np.abs(x) <= {"squared ReLU": 1e19, "SELU": 3e38}.get(name, largest)]  # larger values are not in float32
    function = ACTIVATIONS[name]
    with np.errstate(all="raise", under="ignore"):
        y, slope = function.value(x), function.derivative(x)
    assert y.dtype == slope.dtype == np.float32
    assert np.isfinite(y).all()
    assert np.isfinite(slope).all()
    exact, exact_slope = both(name, x.astype(np.float64))
    exact_slope = np.where(np.isfinite(exact_slope), exact_slope, slope)  # autograd's own 0 * inf
    np.testing.assert_allclose(y, exact, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(slope, exact_slope, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", THEIRS)
def test_the_layer_of_a_function_has_correct_gradients(name):
    x = np.random.default_rng(0).normal(0, 2, (4, 5))
    x[np.abs(np.abs(x) - np.array([[0, 1, 3, 0, 1]])) < 1e-3] = 0.5  # away from kinks
    assert max(row.error for row in check_layer(Elementwise(ACTIVATIONS[name]), x)) <= 1e-7


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_infinity_are_torchs(name):
    x = np.array([np.inf, -np.inf])
    theirs = THEIRS[name](torch.tensor(x)).numpy()
    ours = ACTIVATIONS[name].value(x)
    for our, their in zip(ours, theirs, strict=True):
        assert our == their or np.isnan(our) or np.isnan(their)


GATE_FUNCTIONS = {"GLU": torch.sigmoid, "GEGLU": F.gelu, "SwiGLU": F.silu, "ReGLU": F.relu}


@pytest.mark.parametrize("name", GATE_FUNCTIONS)
def test_gates_equal_torchs(name):
    rng = np.random.default_rng(1)
    x, dy = rng.normal(0, 2, (3, 4, 10)), rng.normal(size=(3, 4, 5))
    leaf = torch.tensor(x, requires_grad=True)
    a, b = leaf.chunk(2, -1)
    y = F.glu(leaf) if name == "GLU" else a * GATE_FUNCTIONS[name](b)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(GATES[name].value(x), y.detach().numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(GATES[name].backward(dy, x), leaf.grad.numpy(), atol=TOLERANCE)
    assert GATES[name].value(x.astype(np.float32)).dtype == np.float32


def test_maxout_softmax_and_log_softmax_equal_torchs():
    rng = np.random.default_rng(2)
    x, dy = rng.normal(0, 2, (3, 12)), rng.normal(size=(3, 12))
    cases = [
        (lambda v: v.unflatten(-1, (4, 3)).amax(-1), maxout(x, 3), maxout_backward(dy[:, :4], x, 3), dy[:, :4]),
        (lambda v: v.softmax(-1), softmax(x), softmax_backward(dy, softmax(x)), dy),
        (lambda v: v.log_softmax(-1), log_softmax(x), log_softmax_backward(dy, log_softmax(x)), dy),
    ]
    for theirs, ours, gradient, upstream in cases:
        leaf = torch.tensor(x, requires_grad=True)
        y = theirs(leaf)
        y.backward(torch.tensor(upstream))
        np.testing.assert_allclose(ours, y.detach().numpy(), atol=TOLERANCE)
        np.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=TOLERANCE)


def test_the_learned_slope_of_prelu_has_torchs_gradient():
    rng = np.random.default_rng(3)
    x, dy = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    leaf, slope = torch.tensor(x, requires_grad=True), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    F.prelu(leaf, slope).backward(torch.tensor(dy))
    dx, dslope = prelu_backward(dy, x, 0.3)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), atol=TOLERANCE)
    assert dslope == pytest.approx(slope.grad.item(), rel=1e-13)
