# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Attention Is All You Need, by hand
#
# The paper in its own order, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). For each part: the formula, its
# derivative in a few lines of matrix calculus, the code of this package, and a numeric check in the next cell. At the
# end the model learns to write German numbers, and its attention shows how.
#
# One idea carries every derivation. Let $L$ be the loss and write $\bar x$ for $\partial L / \partial x$ (`dx` in the
# code). If $y = f(x)$, then $\bar x$ follows from $\bar y$ alone, by requiring $\langle \bar y, dy\rangle = \langle
# \bar x, dx\rangle$ for every small change $dx$. So each layer needs one formula, and a network is those formulas in
# reverse order.

# %%
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
from attention_numpy import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PositionwiseFeedForward,
    causal_mask,
    cross_entropy,
    scaled_dot_product_attention,
    sinusoid,
)
from attention_numpy.functional import softmax, softmax_backward
from attention_numpy.gradcheck import check, check_layer, check_model, slope, table, unit
from dlpapers_shared import viz

rng = np.random.default_rng(0)
F64 = {"dtype": np.float64}


def worst(rows):
    """The largest relative error of a gradient check."""
    return max(row.error for row in rows)


# %% [markdown]
# ## A product of matrices
#
# $Y = X W^\top$: a change $dX$ moves $Y$ by $dX\,W^\top$, and $\langle \bar Y, dX\,W^\top\rangle = \langle \bar Y W,
# dX\rangle$. So $\bar X = \bar Y W$; likewise $\bar W = \bar Y^\top X$. Shapes leave no other choice, which is a good
# way to remember it. A bias is added to every row: its gradient sums the rows.

# %%
layer, x = Linear(5, 3, **F64), rng.normal(size=(2, 4, 5))
y = layer.forward(x)
dy = rng.normal(size=y.shape)
dx = layer.backward(dy)
assert np.allclose(dx, dy @ layer.weight.data)
assert np.allclose(layer.weight.grad, np.einsum("bno,bni->oi", dy, x))
print(table(check_layer(layer, x)))

# %% [markdown]
# The check moves an array along a random direction $u$ of length 1 and compares $\langle \bar a, u\rangle$ with $(L(a
# + hu) - L(a - hu)) / 2h$. With $h = 10^{-6}$ the truncation error is of the order $h^2$ and the rounding error
# $10^{-16}/h$: about $10^{-10}$ can be hoped for. Every element of the array counts, at two evaluations.

# %% [markdown]
# ## 3.2.1 Scaled dot-product attention
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right)V \qquad (1)$$
#
# ### Why the root
#
# A score is a sum of $d_k$ products. With entries of variance 1 its variance is $d_k$; without the root a softmax
# over such scores puts nearly all its weight on one key, and there its derivative vanishes.

# %%
for d_k in (4, 64, 1024):
    q, k = rng.normal(size=(200, d_k)), rng.normal(size=(50, d_k))
    raw, scaled = softmax(q @ k.T), softmax(q @ k.T / np.sqrt(d_k))
    print(f"d_k {d_k:5}: largest weight {raw.max(-1).mean():.2f} without, {scaled.max(-1).mean():.2f} with the root")
assert raw.max(-1).mean() > 0.9
assert scaled.max(-1).mean() < 0.25

# %% [markdown]
# ### The derivative of softmax
#
# $p_i = e^{x_i}/\sum_j e^{x_j}$ has the Jacobian $\mathrm{diag}(p) - pp^\top$. Its product with $\bar p$ needs no
# matrix:
#
# $$\bar x = p \odot (\bar p - \langle \bar p, p\rangle)$$
#
# Two mistakes are common: keeping the diagonal alone, $\bar x = p(1-p)\bar p$, and dividing by the batch size.

# %%
x, dp = rng.normal(size=6), rng.normal(size=6)
p = softmax(x)
jacobian = np.diag(p) - np.outer(p, p)
assert np.allclose(softmax_backward(dp, p), jacobian @ dp)
u = unit(rng, x.shape)
print(softmax_backward(dp, p) @ u, slope(lambda: float(softmax(x) @ dp), x, u))
assert not np.allclose(p * (1 - p) * dp, jacobian @ dp)

# %% [markdown]
# ### Numbers that do not fit
#
# $e^{89}$ is beyond float32. Subtracting the row's maximum changes no $p_i$ and keeps every exponent at most 0. A
# masked score is $-\infty$; a row with nothing to attend to would be $0/0$, and is defined as zeros.

# %%
print(softmax(np.array([1e4, 1e4 - 1, -1e4], np.float32)))
nothing = softmax(np.ones((2, 3)), np.array([[True, False, True], [False, False, False]]))
print(nothing)
assert not nothing[1].any()
assert not softmax_backward(np.ones((2, 3)), nothing)[1].any()

# %% [markdown]
# ### The derivative of attention
#
# With $S = QK^\top/\sqrt{d_k}$, $P = \mathrm{softmax}(S)$, $O = PV$, each product gives two gradients by the rule
# above:
#
# $$\bar V = P^\top\bar O,\quad \bar P = \bar O V^\top,$$
# $$\bar S = P\odot(\bar P - \mathrm{rowsum}(\bar P\odot P)),\quad
# \bar Q = \bar S K/\sqrt{d_k},\quad \bar K = \bar S^\top Q/\sqrt{d_k}$$

# %%
from attention_numpy.attention import scaled_dot_product_attention_backward

print(inspect.getsource(scaled_dot_product_attention_backward))
q, k, v = (rng.normal(size=(2, 3, 4, 5)) for _ in range(3))
mask = causal_mask(4)
o, p, dropped = scaled_dot_product_attention(q, k, v, mask)
do = rng.normal(size=o.shape)
gradients = scaled_dot_product_attention_backward(do, q, k, v, p, dropped)
rows = check(
    lambda: float((scaled_dot_product_attention(q, k, v, mask)[0] * do).sum()),
    {name: (array, gradient) for name, array, gradient in zip("QKV", (q, k, v), gradients, strict=True)},
)
print(table(rows))
assert worst(rows) < 1e-7

# %% [markdown]
# ## 3.2.2 Multi-head attention
#
# $h$ attentions side by side, each on its own $d_k = d_\mathrm{model}/h$ columns of the projections. The columns are
# strided views: no number is copied to split or join heads. In cross-attention the queries come from the decoder,
# keys and values from the encoder's memory; there are then two gradients to hand back.

# %%
for title, memory in (("self", None), ("cross", rng.normal(size=(2, 6, 8)))):
    inputs = [rng.normal(size=(2, 4, 8))] + ([] if memory is None else [memory])
    rows = check_layer(MultiHeadAttention(8, 2, **F64), *inputs)
    print(f"{title}-attention: worst relative error {worst(rows):.1e}")
    assert worst(rows) < 1e-7

# %% [markdown]
# ## 3.3 Feed-forward, and the residual connection with LayerNorm
#
# LayerNorm: $\hat x = (x - \mu)/\sigma$, $y = \gamma\hat x + \beta$, with the biased variance. A change $dx$ moves $x
# - \mu$ by $dx - \overline{dx}$, and $\sigma$ by $\overline{\hat x\,dx}$ (bars: means over $d_\mathrm{model}$). With
# $g = \bar y\gamma$:
#
# $$\bar x = \frac{g - \overline{g} - \hat x\,\overline{g\hat x}}{\sigma},$$
# $$\bar\gamma = \sum\bar y\hat x,\qquad \bar\beta = \sum\bar y$$
#
# $\gamma$ is inside both means, because it differs from column to column. Taking it out is the commonest wrong
# LayerNorm.

# %%
layer = LayerNorm(6, **F64)
layer.weight.data += rng.normal(0, 0.5, 6)
x = rng.normal(size=(3, 6))
print(table(check_layer(layer, x)))
dy = rng.normal(size=(3, 6))
layer.forward(x)
right = layer.backward(dy)
x_hat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
outside = layer.weight.data * (dy - dy.mean(-1, keepdims=True) - x_hat * (dy * x_hat).mean(-1, keepdims=True))
outside /= np.sqrt(x.var(-1, keepdims=True) + layer.eps)
print("gamma outside the means: relative error", np.abs(outside - right).max() / np.abs(right).max())
assert np.abs(outside - right).max() > 0.01
assert worst(check_layer(PositionwiseFeedForward(6, 16, **F64), rng.normal(size=(2, 3, 6)))) < 1e-6

# %% [markdown]
# ## 3.4 and 3.5 Embeddings and positions
#
# $x = \sqrt{d_\mathrm{model}}\,W[\mathrm{ids}]$ is a lookup; its transpose is a scatter that adds up where an id
# repeats. To it the sinusoids are added. They are such that a shift by $k$ positions is a rotation of each (sin, cos)
# pair, the same rotation everywhere.

# %%
assert worst(check_layer(Embedding(7, 4, **F64), np.array([[1, 1, 5, 1]]))) < 1e-7
pe = sinusoid(100, 64)
angle = 5 / 10000 ** (np.arange(0, 64, 2) / 64)
turned_sin = pe[:-5, 0::2] * np.cos(angle) + pe[:-5, 1::2] * np.sin(angle)
assert np.allclose(turned_sin, pe[5:, 0::2])
viz.positional_encoding(pe)

# %% [markdown]
# ## 5.4 Dropout, label smoothing and the loss
#
# Dropout multiplies by the same mask on the way back, and it must be the mask of that very call: layers here push
# what they need on a stack and pop it, so that a layer used twice is right by construction. With targets $q =
# (1-\epsilon)\,\mathrm{onehot} + \epsilon/V$ and $p = \mathrm{softmax}(z)$, logarithm and softmax collapse into $\bar
# z = (p - q)/\mathrm{count}$.

# %%
layer, ones = Dropout(0.5), np.ones((2, 8))
first, second = layer.forward(ones), layer.forward(ones)
assert (layer.backward(ones) == second).all()
assert (layer.backward(ones) == first).all()
z, targets = rng.normal(size=(4, 7)), np.array([2, 5, 0, 1])
loss, dz = cross_entropy(z, targets, label_smoothing=0.1, ignore_index=0)
q = 0.9 * np.eye(7)[targets] + 0.1 / 7
assert np.allclose(dz, (softmax(z) - q) / 3 * (targets != 0)[:, None])
print(f"loss {loss:.4f}; the row whose target is padding has gradient {np.abs(dz[2]).max()}")

# %% [markdown]
# ## The whole model
#
# Every parameter of a two-layer model, with dropout, smoothing and padding: analytic against numeric. (In the
# package's tests the same gradients are compared with torch's autograd to $10^{-11}$.)

# %%
rows = check_model("post", tie_embeddings=True, dropout=0.1, label_smoothing=0.1, seed=0)
print(table(rows))
assert worst(rows) < 1e-6

# %% [markdown]
# ## It learns: reverse
#
# Letters, to be written from last to first. To choose symbol $i$ the decoder has to look at symbol $n - 1 - i$: after
# training, a head's weights lie on the anti-diagonal.

# %%
from attention_numpy.allocator import reuse_memory
from attention_numpy.pictures import cross_attention, sharpest
from attention_numpy.recipes import DEMO, RECIPES
from attention_numpy.training import Trainer, load_run

reuse_memory()


def learn(config, folder):
    """Train, and load what was kept."""
    trainer = Trainer(config)
    metrics = trainer.run(Path(folder), eval_every=100, eval_count=250)
    print(f"{metrics['exact_match']:.1%} of unseen inputs right after {metrics['seconds']:.0f} CPU-seconds")
    return load_run(Path(folder)), metrics


reverse, metrics = learn(replace(RECIPES["reverse"][0], steps=700), "reverse")
assert metrics["exact_match"] > 0.8
weights, queries, keys = cross_attention(reverse, "transformer")
layer, head = sharpest(weights)
n = len("transformer")
on_it = float(np.mean([weights[layer, head, i, n - 1 - i] for i in range(n)]))
print(f"layer {layer}, head {head}: mean weight on the anti-diagonal {on_it:.2f}; by chance {1 / (n + 1):.2f}")
assert on_it > 0.5
viz.attention_heatmap(weights[layer, head], queries, keys=keys, title="reverse: an anti-diagonal")

# %% [markdown]
# ## It learns: number words
#
# `forty two` becomes `zwei und vierzig`: units before tens. No rule of the model knows that; the two dark squares
# that cross are how it is done.

# %%
numbers, metrics = learn(DEMO, "numbers")
assert metrics["exact_match"] >= 0.98
text = "three hundred forty two thousand five hundred sixty one"
weights, queries, keys = cross_attention(numbers, text)
layer, head = sharpest(weights)
looks = weights[layer, head].argmax(-1)
at = {word: keys[looks[queries.index(word)]] for word in ("zwei", "vierzig", "sechzig")}
print(at)
assert at["zwei"] == "two"
assert at["vierzig"] == "forty"
assert looks[queries.index("zwei")] > looks[queries.index("vierzig")], "they cross"
figure = viz.attention_heatmap(weights[layer, head], queries, keys=keys, title="tens and units cross")
figure

# %% [markdown]
# All heads of both layers: the first layer gathers, the second aligns.

# %%
viz.attention_heatmap(weights, queries, keys=keys)

# %% [markdown]
# The loss of both runs. Warm-up ends at step 100; the learning rate then falls along a line to zero.

# %%
viz.loss_curves(["numbers", "reverse"])
