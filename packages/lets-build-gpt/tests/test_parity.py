"""Comparison with PyTorch's implementations in float64, forward and backward."""

import math
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from lets_build_gpt import Block, Model, MultiHeadAttention, SelfAttention
from lets_build_gpt._common.muon import Muon, orthogonalize
from lets_build_gpt.attention import causal_attention
from lets_build_gpt.recipes import RECIPES
from torch import nn


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def perturbed(module, seed):
    """Move every parameter away from its initial value, including biases and gains."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def torch_layer(block):
    """Return PyTorch's pre-norm layer with the weights of a Block, and the pairs of equal parameters."""
    d_model, n_heads = block.self_attn.qkv.in_features, block.self_attn.n_heads
    layer = nn.TransformerEncoderLayer(
        d_model, n_heads, 4 * d_model, dropout=0.0, activation="relu", norm_first=True, batch_first=True
    )
    pairs = {
        layer.self_attn.in_proj_weight: block.self_attn.qkv.weight,
        layer.self_attn.out_proj.weight: block.self_attn.projection.weight,
        layer.self_attn.out_proj.bias: block.self_attn.projection.bias,
        layer.linear1.weight: block.ffn.proj_up.weight,
        layer.linear1.bias: block.ffn.proj_up.bias,
        layer.linear2.weight: block.ffn.proj_down.weight,
        layer.linear2.bias: block.ffn.proj_down.bias,
        layer.norm1.weight: block.norm1.weight,
        layer.norm1.bias: block.norm1.bias,
        layer.norm2.weight: block.norm2.weight,
        layer.norm2.bias: block.norm2.bias,
    }
    with torch.no_grad():
        layer.self_attn.in_proj_bias.zero_()  # the lecture's queries, keys and values have no bias
        for theirs, ours in pairs.items():
            theirs.copy_(ours)
    return layer, pairs


@pytest.mark.parametrize(
    ("seed", "d_model", "h", "n_layers", "context"), [(0, 24, 4, 3, 9), (1, 16, 1, 1, 5), (2, 30, 6, 2, 1)]
)
def test_logits_and_all_gradients_equal_torchs_encoder_stack(seed, d_model, h, n_layers, context):
    torch.manual_seed(seed)
    model = perturbed(Model(context + 2, d_model, h, n_layers, n_vocab=11, dropout=0.0), seed)
    layers, pairs = [], {}
    for block in model.blocks:
        layer, same = torch_layer(block)
        layers.append(layer)
        pairs |= same
    ids, targets = torch.randint(11, (2, 3, context))

    tables = [
        p.detach().clone().requires_grad_() for p in (model.token_embedding.weight, model.position_embedding.weight)
    ]
    x = tables[0][ids] + tables[1][:context]
    mask = nn.Transformer.generate_square_subsequent_mask(context)
    for layer in layers:
        x = layer(x, src_mask=mask, is_causal=True)
    norm, head = (p.detach().clone().requires_grad_() for p in (model.norm.weight, model.head.weight))
    logits = F.layer_norm(x, (d_model,), norm, model.norm.bias.detach()) @ head.T + model.head.bias.detach()
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()

    loss = model.loss(ids, targets)
    loss.backward()
    assert relative(model(ids), logits) < 1e-10
    pairs |= {
        tables[0]: model.token_embedding.weight,
        tables[1]: model.position_embedding.weight,
        norm: model.norm.weight,
        head: model.head.weight,
    }
    compared = 0
    for theirs, ours in pairs.items():
        assert relative(ours.grad, theirs.grad) < 1e-10
        compared += 1
    assert compared == 11 * n_layers + 4


def test_fused_heads_equal_separate_heads():
    torch.manual_seed(3)
    fused = perturbed(MultiHeadAttention(24, 4), 3)
    x = torch.randn(2, 7, 24)
    heads = fused.heads()
    assert all(isinstance(head, SelfAttention) for head in heads)
    assert len(heads) == 4
    one_by_one = fused.projection(torch.cat([head(x) for head in heads], dim=-1))
    assert relative(fused(x), one_by_one) < 1e-12


def test_one_head_is_equation_1():
    torch.manual_seed(4)
    head = SelfAttention(8, 3)
    x = torch.randn(1, 4, 8)
    q, k, v = head.query(x)[0], head.key(x)[0], head.value(x)[0]
    for t in range(4):
        scores = torch.stack([q[t] @ k[s] for s in range(t + 1)]) / math.sqrt(3)
        expected = sum(w * v[s] for s, w in enumerate(scores.exp() / scores.exp().sum()))
        assert relative(head(x)[0, t], expected) < 1e-12


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 1), (1, 6), (2, 6)])
def test_attention_and_its_gradients_equal_torchs(queries, keys):
    torch.manual_seed(5)
    q = torch.randn(2, 3, queries, 4, requires_grad=True)
    k, v = (torch.randn(2, 3, keys, 4, requires_grad=True) for _ in range(2))
    may_attend = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    upstream = torch.randn(2, 3, queries, 4)
    ours = torch.autograd.grad(causal_attention(q, k, v)[0], (q, k, v), upstream)
    theirs = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, attn_mask=may_attend), (q, k, v), upstream)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


def test_activations_equal_torchs():
    x = torch.linspace(-4, 4, 101)[:, None].expand(-1, 2)[None]
    for activation, function in (("relu", F.relu), ("gelu", nn.GELU())):
        ffn = Block(2, 1, activation=activation).ffn
        expected = function(x @ ffn.proj_up.weight.T + ffn.proj_up.bias) @ ffn.proj_down.weight.T + ffn.proj_down.bias
        assert relative(ffn(x), expected) < 1e-12


def test_initialization_is_that_of_gpt2():
    torch.manual_seed(0)
    model = Model(64, 256, 4, 8, 65, dropout=0.0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            to_residual = "projection" in name or "proj_down" in name
            assert parameter.std().item() == pytest.approx(0.02 / (4 if to_residual else 1), rel=0.05), name


def test_nanogpt_cpu_recipe_stays_within_nanogpts_budget():
    recipe = RECIPES["nanogpt-cpu"]
    config = recipe.model
    assert recipe.train.steps * recipe.train.batch_size * config.context_length <= 1_536_000
    assert (config.n_layers, config.n_heads, config.d_model, config.context_length, config.dropout) == (
        4,
        4,
        128,
        64,
        0,
    )
    assert Model.from_config(config).num_parameters() <= 810_000


def test_newton_schulz_keeps_singular_vectors_and_brings_singular_values_near_1():
    torch.manual_seed(6)
    matrices = torch.randn(3, 20, 50)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.transpose(1, 2) @ orthogonalize(matrices, dtype=torch.float64) @ vh.transpose(1, 2)
    values = turned.diagonal(dim1=1, dim2=2)
    assert 0.65 < values.min() < values.max() < 1.25
    assert (turned - torch.diag_embed(values)).abs().max() < 1e-9


# PyTorch's Muon computes in bfloat16; the variable disables AMX, which crashes on some virtual machines
AGAINST_TORCH = """
import torch
from lets_build_gpt._common.muon import Muon
torch.manual_seed(0)
start = [torch.randn(24, 24), torch.randn(48, 16), torch.randn(16, 48), torch.randn(16, 48)]
ours, theirs = ([t.clone().requires_grad_() for t in start] for _ in range(2))
options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}
optimizers = [Muon(ours, **options, scale="spectral"), torch.optim.Muon(theirs, **options)]
for _ in range(5):
    for a, b in zip(ours, theirs):
        a.grad = torch.randn(a.shape)
        b.grad = a.grad.clone()
    for optimizer in optimizers:
        optimizer.step()
for a, b, s in zip(ours, theirs, start):
    print(((a - b).norm() / (b - s).norm()).item())
"""


def test_muon_matches_torchs_muon():
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    done = subprocess.run(
        [sys.executable, "-c", AGAINST_TORCH], env=environment, capture_output=True, text=True, check=True
    )
    differences = [float(line) for line in done.stdout.split()]
    assert len(differences) == 4
    assert max(differences) < 0.02  # PyTorch's rounding to bfloat16, which has 8 bits


def test_muon_refuses_parameters_that_are_not_matrices():
    with pytest.raises(ValueError, match="must be matrices"):
        Muon([torch.zeros(3)], lr=0.1, scale="spectral")
