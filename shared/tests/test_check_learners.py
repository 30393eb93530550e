"""Implementations as learners write them, in NumPy and torch: correct ones pass, wrong ones are explained."""

import math

import numpy as np
import pytest
import torch
from dlpapers_shared import check
from torch import nn
from torch.nn import functional as F

# ---------------------------------------------------------------------------------------------------- attention


def numpy_attention(q, k, v, mask=None):
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def torch_attention(q, k, v, mask=None):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v


def fused(query, key, value, attn_mask=None):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)


def with_weights(q, k, v, mask=None):
    weights = torch_attention(q, k, torch.eye(k.size(-2), dtype=q.dtype).expand(*k.shape[:-1], -1), mask)
    return weights @ v, weights


def one_example(q, k, v):
    scores = np.array(q) @ np.array(k).T / np.sqrt(q.shape[1])
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)) @ v


def four_axes(q, k, v, mask):
    d_k = q.shape[3]
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / d_k**0.5
    return torch.einsum("bhqk,bhkd->bhqd", scores.masked_fill(mask == 0, -1e9).softmax(-1), v)


@pytest.mark.parametrize("f", [numpy_attention, torch_attention, fused, with_weights, one_example, four_axes])
def test_correct_attentions_pass(f):
    report = check.attention(f)
    assert report.passed, report
    assert not report.diagnosis


def no_scale(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v


def wrong_axis(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.size(-1)), dim=-2) @ v


def future(q, k, v):
    n = q.shape[-2]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.triu(np.ones((n, n)), 2) == 1, -np.inf, scores)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def inverted(q, k, v, mask=None):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    return scores.softmax(-1) @ v


def inverted_and_required(q, k, v, mask):
    return (q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))).masked_fill(mask, -torch.inf).softmax(-1) @ v


def mask_after(q, k, v, mask):
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True) * mask) @ v


def added(q, k, v, mask=0):
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + mask
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def zeros(q, k, v, mask):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1)) * mask
    return scores.softmax(-1) @ v


def by_d_k(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / q.size(-1), dim=-1) @ v


def unsafe(q, k, v):
    e = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]))
    return e / e.sum(-1, keepdims=True) @ v


WRONG_ATTENTIONS = {
    no_scale: "attention without the 1/√d_k",
    wrong_axis: "softmax over the wrong axis (over queries instead of keys)",
    future: "mask shifted by one: each query also attends to the next token",
    inverted: "inverted mask",
    inverted_and_required: "inverted mask",
    mask_after: "the mask is applied after the softmax, so rows of the weights do not sum to 1",
    added: "the Boolean mask is added to the scores",
    zeros: "masked scores are set to 0 instead of -inf",
    by_d_k: "scaling by d_k instead of √d_k",
    unsafe: "no maximum subtracted before exp",
}


@pytest.mark.parametrize("f", WRONG_ATTENTIONS, ids=lambda f: f.__name__)
def test_wrong_attentions_are_recognized_by_name(f):
    report = check.attention(f)
    assert not report.passed
    assert report.diagnosis[0].startswith("This matches a common mistake: ")
    assert WRONG_ATTENTIONS[f] in report.diagnosis[0]


def test_two_mistakes_are_recognized_together():
    def both(q, k, v, mask=None):
        scores = q @ k.transpose(-1, -2)
        return (scores if mask is None else scores.masked_fill(mask, -1e9)).softmax(-1) @ v

    (sentence,) = check.attention(both).diagnosis[:1]
    assert "two common mistakes together" in sentence
    assert "without the 1/√d_k" in sentence
    assert "inverted mask" in sentence


def test_message_states_the_first_wrong_element_and_what_is_wrong_with_the_weights():
    report = check.attention(wrong_axis)
    assert "output differs from softmax(QKᵀ/√d_k)V at [0, 0, 0]: " in report.failures[0].detail
    assert " instead of " in report.failures[0].detail
    assert any(s.startswith("Rows of the weights do not sum to 1: row [0, 0] sums to ") for s in report.diagnosis)
    assert "Query 0 attends to key 1, which the mask excludes" in check.attention(future).diagnosis[1]


def test_detached_tensors_are_found_by_their_gradient():
    report = check.attention(lambda q, k, v: torch_attention(q.detach(), k, v))
    assert [row.name for row in report.failures] == ["gradient of q"]
    assert "no gradient reaches q" in report.failures[0].detail


def test_backward_pass_in_numpy_is_compared_and_explained():
    def backward(dout, q, k, v, mask=None):
        p = numpy_attention(q, k, np.broadcast_to(np.eye(k.shape[-2]), (*k.shape[:-1], k.shape[-2])), mask)
        dp = dout @ v.swapaxes(-1, -2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
        return ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dout

    assert check.attention(numpy_attention, backward=backward).passed

    def unscaled(dout, q, k, v, mask=None):
        dq, dk, dv = backward(dout, q, k, v, mask)
        return dq * np.sqrt(q.shape[-1]), dk * np.sqrt(q.shape[-1]), dv

    report = check.attention(numpy_attention, backward=unscaled)
    assert "scale forgotten on the way back" in report.diagnosis[0]


# ------------------------------------------------------------------------------------------- modules with weights


class SelfAttention(nn.Module):
    def __init__(self, d_model, n_heads, wrong=""):
        super().__init__()
        self.n_heads, self.wrong = n_heads, wrong
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d_model, d_model) for _ in range(4))

    def split(self, x):
        shape = (x.size(0), self.n_heads, x.size(1), -1)
        return x.view(*shape) if self.wrong == "reshape" else x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)

    def forward(self, x, mask=None):
        out = torch_attention(self.split(self.q_proj(x)), self.split(self.k_proj(x)), self.split(self.v_proj(x)), mask)
        return self.out_proj((out if self.wrong == "join" else out.transpose(1, 2)).reshape(x.shape))


class Fused(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.n_head = n_head
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd, bias=False)

    def forward(self, x):
        q, k, v = (t.view(*x.shape[:2], self.n_head, -1).transpose(1, 2) for t in self.c_attn(x).split(x.size(-1), -1))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(out.transpose(1, 2).reshape(x.shape))


class OneHead(nn.Module):
    def __init__(self, d_model, head_size, context_length, scale):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(d_model, head_size, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.tril(torch.ones(context_length, context_length)))
        self.scale = scale

    def forward(self, x):
        n = x.size(1)
        scores = self.query(x) @ self.key(x).transpose(-2, -1) * self.scale
        return scores.masked_fill(self.tril[:n, :n] == 0, float("-inf")).softmax(-1) @ self.value(x)


class HeadList(nn.Module):
    def __init__(self, num_heads=2, head_size=4, block_size=16, by_model=False):
        super().__init__()
        d_model = num_heads * head_size
        scale = (d_model if by_model else head_size) ** -0.5
        self.heads = nn.ModuleList(OneHead(d_model, head_size, block_size, scale) for _ in range(num_heads))
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x):
        return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))


class Torchs(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.inner = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)

    def forward(self, query, key, value, mask=None):
        return self.inner(query, key, value, attn_mask=None if mask is None else ~mask)[0]


class Unnamed:
    """Matrices with names that say nothing, in an order of their own."""

    def __init__(self, d_model, n_heads):
        self.n_heads = n_heads
        self.m1, self.m2, self.m3, self.m4 = (np.eye(d_model) for _ in range(4))

    def forward(self, x):
        q, k, v = (
            (x @ m).reshape(*x.shape[:2], self.n_heads, -1).transpose(0, 2, 1, 3) for m in (self.m4, self.m1, self.m3)
        )
        return numpy_attention(q, k, v).transpose(0, 2, 1, 3).reshape(x.shape) @ self.m2


@pytest.mark.parametrize("kind", [SelfAttention, Fused, HeadList, Torchs, Unnamed], ids=lambda k: k.__name__)
def test_correct_multi_head_attentions_pass_with_weights_by_name_or_shape(kind):
    report = check.multi_head_attention(kind)
    assert report.passed, report
    assert any("gradient" in row.name for row in report.rows) == (kind is not Unnamed)


class FusedAsInTorch:
    """In NumPy, with the names and the directions of torch.nn.MultiheadAttention."""

    def __init__(self, d_model, n_heads):
        self.n_heads = n_heads
        self.in_proj_weight, self.in_proj_bias = np.zeros((3 * d_model, d_model)), np.zeros(3 * d_model)
        self.out_proj = {"weight": np.zeros((d_model, d_model)), "bias": np.zeros(d_model)}

    def forward(self, x):
        joined = x @ self.in_proj_weight.T + self.in_proj_bias
        split = joined.reshape(*x.shape[:2], 3, self.n_heads, -1).transpose(2, 0, 3, 1, 4)
        out = numpy_attention(*split).transpose(0, 2, 1, 3).reshape(x.shape)
        return out @ self.out_proj["weight"].T + self.out_proj["bias"]


def test_a_fused_matrix_in_either_direction_is_read_by_its_shape():
    report = check.multi_head_attention(FusedAsInTorch)
    assert report.passed, report
    assert report.rows[0].detail == "matrices stored as (out, in)"


class WithBackward(Unnamed):
    """One head in NumPy with its backward pass; `factor` 1 is correct."""

    factor = 1.0

    def forward(self, x):
        self.x, self.q, self.k, self.v = x, x @ self.m1, x @ self.m2, x @ self.m3
        self.p = numpy_attention(self.q, self.k, np.broadcast_to(np.eye(x.shape[1]), (len(x), x.shape[1], x.shape[1])))
        return self.p @ self.v @ self.m4

    def backward(self, dy):
        do = dy @ self.m4.T
        dp = do @ self.v.swapaxes(1, 2)
        ds = self.factor * self.p * (dp - (dp * self.p).sum(-1, keepdims=True)) / np.sqrt(self.q.shape[-1])
        dq, dk, dv = ds @ self.k, ds.swapaxes(1, 2) @ self.q, self.p.swapaxes(1, 2) @ do
        return dq @ self.m1.T + dk @ self.m2.T + dv @ self.m3.T


def test_backward_passes_of_numpy_objects_are_compared():
    correct, wrong = WithBackward(8, 1), WithBackward(8, 1)
    wrong.factor = 2.0
    report = check.multi_head_attention(correct)
    assert report.passed, report
    assert report.rows[-1].detail == "its own backward pass"
    assert "dx differs from the analytic gradient at [0, 0, 0]" in check.multi_head_attention(wrong).failures[0].detail


def test_weights_read_by_shape_are_reported():
    notes = [row.detail for row in check.multi_head_attention(Unnamed).rows if row.status == "note"]
    assert notes == ["read by shape: m4 is W_q, m1 is W_k, m3 is W_v, m2 is W_o"]


def test_wrong_multi_head_attentions_are_recognized():
    expected = {
        "heads split by reshape alone": SelfAttention(12, 3, "reshape"),
        "heads concatenated across tokens": SelfAttention(12, 3, "join"),
        "scaling by d_model instead of d_k": HeadList(by_model=True),
    }
    for sentence, module in expected.items():
        assert sentence in check.multi_head_attention(module).diagnosis[0]


def test_a_module_is_checked_as_multi_head_attention_and_is_not_changed():
    module = SelfAttention(8, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    report = check.attention(module)
    assert report.subject == "multi-head attention"
    assert report.passed
    assert module.training
    assert all(
        torch.equal(value, before[name]) and value.dtype == torch.float32 for name, value in module.state_dict().items()
    )


def test_a_numpy_class_or_object_with_weights_is_checked_as_multi_head_attention():
    for target in (Unnamed, Unnamed(8, 2)):
        report = check.attention(target)
        assert report.subject == "multi-head attention"
        assert report.passed, report


class Block(nn.Module):
    def __init__(self, d_model, n_heads, form="pre"):
        super().__init__()
        self.form = form
        self.attn, self.ln_1, self.ln_2 = Fused(d_model, n_heads), nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x):
        if self.form == "post":
            x = self.ln_1(x + self.attn(x))
            return self.ln_2(x + self.mlp(x))
        if self.form == "same norm":
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_1(x))
        if self.form == "no residual":
            return self.mlp(self.ln_2(x + self.attn(self.ln_1(x))))
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


@pytest.mark.parametrize("form", ["pre", "post"])
def test_correct_blocks_pass_and_their_form_is_named(form):
    report = check.decoder_block(Block(8, 2, form))
    assert report.passed, report
    assert report.rows[0].detail == f"{form}-norm, gelu"


def test_a_block_with_cross_attention_passes():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn, self.cross_attn = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
            self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(8) for _ in range(3))
            self.linear1, self.linear2 = nn.Linear(8, 16), nn.Linear(16, 8)

        def forward(self, x, memory, mask):
            x = self.norm1(x + self.self_attn(x, x, x, attn_mask=~mask, need_weights=False)[0])
            x = self.norm2(x + self.cross_attn(x, memory, memory, need_weights=False)[0])
            return self.norm3(x + self.linear2(self.linear1(x).relu()))

    report = check.decoder_block(Decoder)
    assert report.passed, report
    assert sum("gradient" in row.name for row in report.rows) == 20


def test_wrong_blocks_are_recognized():
    assert "the first LayerNorm is used for both" in check.decoder_block(Block(8, 2, "same norm")).diagnosis[0]
    assert "no residual connection around the feed" in check.decoder_block(Block(8, 2, "no residual")).diagnosis[0]
    assert "post-norm and pre-norm confused" in check.decoder_block(Block(8, 2, "post"), norm="pre").diagnosis[0]
    masked = Block(8, 2)
    masked.attn = SelfAttention(8, 2)  # without a causal mask
    report = check.decoder_block(masked)
    assert "the mask is ignored" in report.diagnosis[0]
    assert "depends on positions from 3 on" in next(row.detail for row in report.rows if row.name == "causality")
