"""Causal self-attention is one formula: four packages, the same projections, the same numbers and gradients."""

import attention_numpy
import gpt2.model
import lets_build_gpt
import numpy as np
import pytest
import torch
import transformer_torch
from transformer_torch.attention import causal_mask

BATCH, LENGTH, D_MODEL, HEADS = 2, 7, 24, 4


@pytest.fixture
def projections():
    """W^Q, W^K, W^V of all heads below one another, and W^O; no biases."""
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(3 * D_MODEL, D_MODEL, generator=generator, dtype=torch.float64)
    out = torch.randn(D_MODEL, D_MODEL, generator=generator, dtype=torch.float64)
    return qkv / 5, out / 5


@pytest.fixture
def x():
    return torch.randn(BATCH, LENGTH, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def of_lets_build_gpt(qkv, out):
    layer = lets_build_gpt.MultiHeadAttention(D_MODEL, HEADS, bias=False).double()
    layer.load_state_dict({"qkv.weight": qkv, "projection.weight": out})
    return layer


def of_gpt2(qkv, out):
    config = gpt2.GPT2Config(vocab_size=9, context_length=16, d_model=D_MODEL, n_heads=HEADS, n_layers=1, dropout=0.0)
    layer = gpt2.model.MultiHeadAttention(config, layer=0).double()
    zeros = {"c_attn.bias": torch.zeros(3 * D_MODEL), "c_proj.bias": torch.zeros(D_MODEL)}
    layer.load_state_dict({"c_attn.weight": qkv.T, "c_proj.weight": out.T, **zeros})
    return layer


def of_transformer_torch(qkv, out):
    layer = transformer_torch.MultiHeadAttention(D_MODEL, HEADS, D_MODEL // HEADS, D_MODEL // HEADS).double()
    layer.load_state_dict({"w_qkv.weight": qkv, "w_o.weight": out}, strict=False)  # biases start at zero
    return lambda x: layer(x, mask=causal_mask(LENGTH))


def by_torch(layer, x):
    """Output, and the gradient of x for the sum of the squared output."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return y.detach().numpy(), x.grad.numpy()


def by_numpy(qkv, out, x):
    layer = attention_numpy.MultiHeadAttention(D_MODEL, HEADS, dtype=np.float64)
    layer.in_proj_weight.data[...] = qkv
    layer.out_proj.weight.data[...] = out
    layer.train()
    y = layer.forward(x.numpy(), mask=np.tril(np.ones((LENGTH, LENGTH), bool)))
    return y, layer.backward(2 * y)[0]


@pytest.mark.parametrize("make", [of_lets_build_gpt, of_gpt2, of_transformer_torch])
def test_packages_in_torch_agree_with_the_one_in_numpy(make, projections, x):
    y, gradient = by_torch(make(*projections), x)
    expected_y, expected_gradient = by_numpy(*projections, x)
    assert np.abs(expected_y).max() > 0.1
    np.testing.assert_allclose(y, expected_y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-11)


@pytest.mark.parametrize("make", [of_lets_build_gpt, of_gpt2, of_transformer_torch])
def test_no_package_looks_ahead(make, projections, x):
    changed = x.clone()
    changed[:, -1] += 1
    layer = make(*projections)
    assert torch.equal(layer(x)[:, :-1], layer(changed)[:, :-1])
    assert not torch.equal(layer(x)[:, -1], layer(changed)[:, -1])
