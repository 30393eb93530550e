# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Attention Is All You Need, by hand
#
# The Transformer of [arXiv:1706.03762](https://arxiv.org/abs/1706.03762) in NumPy: every part of the paper with its formula,
# its derivative, and a numerical check in the next cell.
#
# ## Motivation
#
# A deep-learning framework computes derivatives for you. That hides how little is needed: each layer of the Transformer has a
# backward pass of a few lines. Once you have derived them, shapes, masks, NaN and vanishing gradients stop being mysteries.
# At the end, the model learns to translate number words, and its attention shows how.

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: the matrices are too small for a second BLAS thread
try:
    import attention_numpy  # noqa: F401
    import matplotlib.pyplot as plt
except ImportError as error:
    raise ImportError(
        f"{error}. This notebook needs the package with its extra: pip install "
        '"dlpapers-attention-numpy[notebooks] @ git+<address of this repository>#subdirectory=packages/attention-numpy"'
    ) from None

from dataclasses import replace
from pathlib import Path

import numpy as np
from attention_numpy import (
    RECIPES,
    Adam,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    Parameter,
    ParameterVector,
    PositionwiseFeedForward,
    Trainer,
    causal_mask,
    check_layer,
    cross_entropy,
    load_run,
    noam,
    scaled_dot_product_attention,
    sinusoid,
)
from attention_numpy.functional import softmax, softmax_backward
from attention_numpy.gradcheck import check, check_model, slope, table, unit
from attention_numpy.plots import cross_attention, heatmap, plot_loss, sharpest
from attention_numpy.recipes import DEMO

rng = np.random.default_rng(0)
F64 = {"dtype": np.float64}


def worst(rows):
    """Return the largest relative error of a gradient check."""
    return max(row.error for row in rows)


# %% [markdown]
# ## Idea
#
# Start with one number. The loss $L$ depends on $y$, and $y = 3x$. If $x$ grows by $dx$, then $y$ grows by $3\,dx$, and the
# loss by $\bar y \cdot 3\,dx$, where $\bar y$ is short for $\partial L/\partial y$ (`dy` in the code). So $\bar x = 3\bar y$.
#
# For arrays, the same sentence uses inner products. Let $y = f(x)$. A small change $dx$ causes a change $dy$, linear in $dx$,
# and the loss changes by $\langle\bar y, dy\rangle$. Rewrite that as $\langle\,\cdot\,, dx\rangle$; what stands at the dot is
# $\bar x$. A backward pass applies this rule to each layer, in reverse order.
#
# The check of a gradient follows from the same idea. Move an array $a$ along a random direction $u$ of length 1 and compare
# $\langle \bar a, u\rangle$ with $(L(a + hu) - L(a - hu)) / 2h$. With $h = 10^{-6}$ the truncation error is of order $h^2$ and
# the rounding error of order $10^{-16}/h$, so an agreement of about $10^{-10}$ is possible.

# %%
x, dy = 2.0, 5.0  # the loss is 5 y, and y = 3 x
assert 3 * dy == ((5 * 3 * (x + 1)) - (5 * 3 * (x - 1))) / 2

# %% [markdown]
# ## Math
#
# ### Matrix multiplication
#
# Let $Y = XW^\top$. A change $dX$ changes $Y$ by $dX\,W^\top$, and $\langle\bar Y, dX\,W^\top\rangle = \langle\bar Y W,
# dX\rangle$. So $\bar X = \bar Y W$, and likewise $\bar W = \bar Y^\top X$. The shapes allow nothing else, which makes the
# formulas easy to remember. A bias is added to every row, so its gradient is the sum of the rows of $\bar Y$.

# %%
layer, x = Linear(5, 3, **F64), rng.normal(size=(2, 4, 5))  # x: (batch, time, d_in)
y = layer.forward(x)  # (batch, time, d_out)
dy = rng.normal(size=y.shape)
dx = layer.backward(dy)
assert np.allclose(dx, dy @ layer.weight.data)
assert np.allclose(layer.weight.grad, np.einsum("bto,bti->oi", dy, x))
print(table(check_layer(layer, x)))

# %% [markdown]
# ### Scaled dot-product attention (section 3.2.1)
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right)V \qquad (1)$$
#
# A score is a sum of $d_k$ products. If their factors have variance 1, the score has variance $d_k$. Without the root, softmax
# over such scores puts nearly all of its weight on one key, and its derivative vanishes.

# %%
for d_k in (4, 64, 1024):
    q, k = rng.normal(size=(200, d_k)), rng.normal(size=(50, d_k))
    raw, scaled = softmax(q @ k.T), softmax(q @ k.T / np.sqrt(d_k))
    print(f"d_k {d_k:5}: largest weight {raw.max(-1).mean():.2f} without, {scaled.max(-1).mean():.2f} with the root")
assert raw.max(-1).mean() > 0.9
assert scaled.max(-1).mean() < 0.25

# %% [markdown]
# ### Softmax
#
# $p_i = e^{x_i}/\sum_j e^{x_j}$ has the Jacobian $\mathrm{diag}(p) - pp^\top$. Its product with $\bar p$ needs no matrix:
#
# $$\bar x = p \odot (\bar p - \langle\bar p, p\rangle)$$
#
# Two mistakes are common: to use the diagonal alone, $\bar x = p(1-p)\bar p$, and to divide by the batch size.
#
# Numerics: $e^{89}$ exceeds float32. Subtracting the maximum of the row changes no $p_i$ and makes every exponent at most 0. A
# masked score is $-\infty$. A row in which everything is masked would be $0/0$; it is defined as zeros.

# %%
x, dp = rng.normal(size=6), rng.normal(size=6)
p = softmax(x)
jacobian = np.diag(p) - np.outer(p, p)
assert np.allclose(softmax_backward(dp, p), jacobian @ dp)
u = unit(rng, x.shape)
print(softmax_backward(dp, p) @ u, "=", slope(lambda: float(softmax(x) @ dp), x, u))
assert not np.allclose(p * (1 - p) * dp, jacobian @ dp)

print(softmax(np.array([1e4, 1e4 - 1, -1e4], np.float32)))
masked = softmax(np.ones((2, 3)), np.array([[True, False, True], [False, False, False]]))
print(masked)
assert not masked[1].any()
assert not softmax_backward(np.ones((2, 3)), masked)[1].any()

# %% [markdown]
# ### The backward pass of attention
#
# With $S = QK^\top/\sqrt{d_k}$, $P = \mathrm{softmax}(S)$ and $O = PV$, each matrix multiplication gives two gradients:
#
# $$\bar V = P^\top\bar O,\quad \bar P = \bar O V^\top,\quad
# \bar S = P\odot(\bar P - \mathrm{rowsum}(\bar P\odot P)),\quad
# \bar Q = \bar S K/\sqrt{d_k},\quad \bar K = \bar S^\top Q/\sqrt{d_k}$$
#
# ### Multi-head attention (section 3.2.2)
#
# $h$ attentions run side by side, each on its own $d_k = d_\mathrm{model}/h$ columns of the projections. In self-attention
# $Q = XW^{Q\top}$, $K = XW^{K\top}$ and $V = XW^{V\top}$ depend on the same $X$, so three gradients add up:
# $\bar X = \bar Q W^Q + \bar K W^K + \bar V W^V$. In cross-attention, keys and values come from the encoder's memory $M$. Then
# $\bar X = \bar Q W^Q$ and $\bar M = \bar K W^K + \bar V W^V$.
#
# ### Residual connections and LayerNorm (section 3.1)
#
# $y = x + f(x)$ has $\bar x = \bar y + f\text{'s backward of }\bar y$. The first term reaches every layer undiminished, which
# is why deep stacks train.
#
# LayerNorm is $\hat x = (x - \mu)/\sigma$ and $y = \gamma\hat x + \beta$. Write $\overline{v}$ for the mean of $v$ over
# $d_\mathrm{model}$.
#
# 1. A change $dx$ changes $x - \mu$ by $dx - \overline{dx}$.
# 2. It changes $\sigma^2 = \overline{(x-\mu)^2}$ by $2\,\overline{(x-\mu)\,dx}$, so it changes $\sigma$ by $d\sigma =
#    \overline{(x-\mu)\,dx}/\sigma = \overline{\hat x\,dx}$.
# 3. So $d\hat x = (dx - \overline{dx})/\sigma - \hat x\,d\sigma/\sigma = (dx - \overline{dx} - \hat x\,\overline{\hat
#    x\,dx})/\sigma$.
# 4. With $g = \gamma\bar y$, moving each mean to the other side of the inner product gives
#
# $$\bar x = \frac{g - \overline{g} - \hat x\,\overline{g\hat x}}{\sigma},\qquad
# \bar\gamma = \sum\bar y\hat x,\qquad \bar\beta = \sum\bar y$$
#
# $\gamma$ is inside both means, because it differs from column to column. The most common wrong LayerNorm moves it outside.

# %%
layer = LayerNorm(6, **F64)
layer.weight.data += rng.normal(0, 0.5, 6)
x, dy = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
layer.forward(x)
correct = layer.backward(dy)
x_hat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
outside = layer.weight.data * (dy - dy.mean(-1, keepdims=True) - x_hat * (dy * x_hat).mean(-1, keepdims=True))
outside /= np.sqrt(x.var(-1, keepdims=True) + layer.eps)
print(f"gamma outside the means: relative error {np.abs(outside - correct).max() / np.abs(correct).max():.2f}")
assert np.abs(outside - correct).max() > 0.01

# %% [markdown]
# ### Embeddings and positions (sections 3.4 and 3.5)
#
# $x = \sqrt{d_\mathrm{model}}\,W[\mathrm{ids}]$ is a lookup. Its backward pass adds each row of $\bar x$ to the row of its id,
# so repeated ids add up. The sinusoids are added to it. A shift by $k$ positions rotates each (sin, cos) pair, by the same
# angle at every position.

# %%
pe = sinusoid(100, 64)  # (time, d_model)
angle = 5 / 10000 ** (np.arange(0, 64, 2) / 64)
assert np.allclose(pe[:-5, 0::2] * np.cos(angle) + pe[:-5, 1::2] * np.sin(angle), pe[5:, 0::2])
figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
image = axis.imshow(pe.T, cmap="RdBu", aspect="auto", vmin=-1, vmax=1)
axis.set(xlabel="position", ylabel="dimension", title="sinusoidal positional encoding")
figure.colorbar(image)
plt.show()

# %% [markdown]
# ### Masks (section 3.2.3)
#
# True means: this query may attend to this key. The causal mask forbids keys to the right of the query. The padding mask
# forbids keys that are padding.

# %%
ids = np.array([5, 7, 6, 9, 0, 0])  # two padding ids at the end
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
padding = np.broadcast_to(ids != 0, (6, 6))
for axis, (title, mask) in zip(
    axes, {"causal": causal_mask(6), "padding": padding, "both": causal_mask(6) & padding}.items(), strict=True
):
    axis.imshow(mask, cmap="Blues", vmin=0, vmax=1.5)
    axis.set(title=title, xlabel="key", ylabel="query")
plt.show()

# %% [markdown]
# ### Dropout, label smoothing and the loss (section 5.4)
#
# Dropout multiplies by the same mask in both directions. It must be the mask of the same call: modules here push what they need
# onto a stack and pop it, so a module that is used twice is correct.
#
# With targets $q = (1-\epsilon)\,\mathrm{onehot} + \epsilon/V$ and $p = \mathrm{softmax}(z)$, the derivative of logarithm and
# softmax together is $\bar z = (p - q)/\mathrm{count}$.

# %%
layer, ones = Dropout(0.5), np.ones((2, 8))
first, second = layer.forward(ones), layer.forward(ones)
assert (layer.backward(ones) == second).all()
assert (layer.backward(ones) == first).all()

z, targets = rng.normal(size=(4, 7)), np.array([2, 5, 0, 1])  # (rows, vocab), (rows,)
loss, dz = cross_entropy(z, targets, label_smoothing=0.1, ignore_index=0)
q = 0.9 * np.eye(7)[targets] + 0.1 / 7
assert np.allclose(dz, (softmax(z) - q) / 3 * (targets != 0)[:, None])
print(f"loss {loss:.4f}; the row whose target is padding has gradient {np.abs(dz[2]).max()}")

logits = np.linspace(0, 12, 200)
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for eps in (0.0, 0.1, 0.3):
    losses = [cross_entropy(np.array([[v, 0, 0, 0, 0]]), [0], label_smoothing=eps)[0] for v in logits]
    axis.plot(logits, losses, label=f"label smoothing {eps}")
axis.set(xlabel="logit of the target, others 0", ylabel="loss")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# With label smoothing, the loss has its minimum at a finite logit: the model is not rewarded for being more and more certain.
#
# ### Adam and its schedule (section 5.3)
#
# Adam divides the mean of the gradients by the root of the mean of their squares. Both means start at 0, so after $t$ steps they
# are too small by the factors $1-\beta_1^t$ and $1-\beta_2^t$. The first step therefore moves every weight by the learning
# rate, whatever the size of its gradient. The learning rate rises during the warm-up and then decays as $t^{-1/2}$:
#
# $$lr(t) = d_\mathrm{model}^{-0.5}\min(t^{-0.5}, t\cdot\mathrm{warmup}^{-1.5}) \qquad (3)$$

# %%
weight = Parameter(np.zeros(3))
optimizer = Adam(ParameterVector({"weight": weight}), lr=0.01)
weight.grad = [1e-3, 1.0, -1e3]
optimizer.step()
print("first step:", weight.data)
assert np.allclose(weight.data, [-0.01, -0.01, 0.01], rtol=1e-5)

steps = np.arange(1, 20_000)
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for d_model, warmup_steps in ((512, 4000), (512, 8000), (256, 4000)):
    axis.plot(steps, [noam(d_model, warmup_steps)(t) for t in steps], label=f"d_model {d_model}, {warmup_steps} steps")
axis.set(xlabel="step", ylabel="learning rate", title="the schedule of section 5.3")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Code with shapes
#
# The module `textbook` is the whole model as one writes it on paper. A forward function returns its output and what its
# backward function needs. Compare each line with the derivations above: first attention, then LayerNorm, then one layer of the
# encoder, whose backward pass is its forward pass from bottom to top.

# %%
import inspect

from attention_numpy import textbook


def show(*functions):
    """Print the source of functions."""
    print("\n\n".join(inspect.getsource(f) for f in functions))


show(textbook.attention, textbook.attention_backward)

# %%
show(textbook.layer_norm, textbook.layer_norm_backward)

# %%
show(textbook.encoder_layer, textbook.encoder_layer_backward)

# %% [markdown]
# Each function has a fast twin. That of LayerNorm computes means as matmuls and works in place:

# %%
show(LayerNorm._normalized, LayerNorm.backward)

# %% [markdown]
# ## Test
#
# The fast twins equal the textbook and finite differences, forward and backward. First attention, head by head, then LayerNorm.

# %%
from attention_numpy.attention import scaled_dot_product_attention_backward

q, k, v = (rng.normal(size=(2, 3, 4, 5)) for _ in range(3))
mask = causal_mask(4)
o, p, dropped = scaled_dot_product_attention(q, k, v, mask)
do = rng.normal(size=o.shape)
gradients = scaled_dot_product_attention_backward(do, q, k, v, p, dropped)
for head in range(3):
    expected, saved = textbook.attention(q[:, head], k[:, head], v[:, head], mask)
    assert np.allclose(o[:, head], expected, atol=1e-13)
    for ours, theirs in zip(gradients, textbook.attention_backward(do[:, head], saved), strict=True):
        assert np.allclose(ours[:, head], theirs, atol=1e-13)
rows = check(
    lambda: float((scaled_dot_product_attention(q, k, v, mask)[0] * do).sum()),
    {name: (array, gradient) for name, array, gradient in zip("QKV", (q, k, v), gradients, strict=True)},
)
print(table(rows))
assert worst(rows) < 1e-7

layer = LayerNorm(6, **F64)
layer.weight.data += rng.normal(0, 0.5, 6)
x, dy = rng.normal(size=(2, 3, 6)), rng.normal(size=(2, 3, 6))
y, saved = textbook.layer_norm(x, layer.weight.data, layer.bias.data)
assert np.allclose(layer.forward(x), y, atol=1e-13)
dx, dgamma, dbeta = textbook.layer_norm_backward(dy, saved)
assert np.allclose(layer.backward(dy), dx, atol=1e-13)
assert np.allclose(layer.weight.grad, dgamma)
assert np.allclose(layer.bias.grad, dbeta)

for name, layer, inputs in (
    ("self-attention", MultiHeadAttention(8, 2, **F64), [(2, 4, 8)]),
    ("cross-attention", MultiHeadAttention(8, 2, **F64), [(2, 4, 8), (2, 6, 8)]),
    ("feed-forward", PositionwiseFeedForward(6, 16, **F64), [(2, 3, 6)]),
):
    rows = check_layer(layer, *(rng.normal(size=shape) for shape in inputs))
    print(f"{name}: worst relative error {worst(rows):.1e}")
    assert worst(rows) < 1e-6
assert worst(check_layer(Embedding(7, 4, **F64), np.array([[1, 1, 5, 1]]))) < 1e-7

# %% [markdown]
# Every parameter of a two-layer model, with dropout, label smoothing and padding. The tests of the package compare the same
# gradients with torch's autograd, within $10^{-11}$.

# %%
rows = check_model("post", tie_embeddings=True, dropout=0.1, label_smoothing=0.1, seed=0)
print(table(rows))
assert worst(rows) < 1e-6

# %% [markdown]
# ## Experiment
#
# ### Reverse
#
# The model writes 4 to 16 letters from last to first. To choose symbol $i$ of $n$, the decoder must attend to symbol $n - 1 -
# i$. After training, the weights of one head lie on the anti-diagonal.


# %%
def learn(recipe, folder, **changes):
    """Train a recipe and load the run."""
    train = replace(recipe.train, eval_every=100, eval_count=250, **changes)
    metrics = Trainer(recipe.model, train, recipe.data).fit(Path(folder))
    print(f"exact match {metrics['exact_match']:.1%} on held-out inputs after {metrics['cpu_seconds']:.0f} CPU-seconds")
    return load_run(Path(folder)), metrics


def show_attention(weights, queries, keys, title):
    """Draw one head's weights, (target, source)."""
    figure, axis = plt.subplots(figsize=(2 + 0.4 * len(keys), 1.5 + 0.33 * len(queries)), layout="constrained")
    figure.colorbar(heatmap(axis, weights, queries, keys), label="attention weight")
    axis.set(title=title, xlabel="source", ylabel="target")
    plt.show()


reverse, metrics = learn(RECIPES["reverse"], "reverse", steps=700)
assert metrics["exact_match"] > 0.8
weights, queries, keys = cross_attention(reverse, "transformer")  # (layers, heads, target, source)
layer, head = sharpest(weights)
n = len("transformer")
on_it = float(np.mean([weights[layer, head, i, n - 1 - i] for i in range(n)]))
print(f"layer {layer}, head {head}: mean weight on the anti-diagonal {on_it:.2f}; uniform: {1 / (n + 1):.2f}")
assert on_it > 0.5
show_attention(weights[layer, head], queries, keys, f"reverse: layer {layer}, head {head}")

# %% [markdown]
# ### Number words
#
# `forty two` becomes `zwei und vierzig`: units before tens. No part of the model contains that rule. The figure shows how it is
# done: the dark cells of units and tens cross.

# %%
numbers, metrics = learn(DEMO, "numbers")
assert metrics["exact_match"] >= 0.98
text = "three hundred forty two thousand five hundred sixty one"
weights, queries, keys = cross_attention(numbers, text)
layer, head = sharpest(weights)
attended = weights[layer, head].argmax(-1)
at = {word: keys[attended[queries.index(word)]] for word in ("zwei", "vierzig", "sechzig")}
print(at)
assert at == {"zwei": "two", "vierzig": "forty", "sechzig": "sixty"}
assert attended[queries.index("zwei")] > attended[queries.index("vierzig")], "they cross"
show_attention(weights[layer, head], queries, keys, f"number words: layer {layer}, head {head}")

# %% [markdown]
# All heads of both layers. Titles give the mean of the largest weight per row: 1 is attention to a single key.

# %%
figure, axes = plt.subplots(2, 4, figsize=(14, 7.5), layout="constrained")
for (i, j), axis in np.ndenumerate(axes):
    heatmap(axis, weights[i, j], queries, keys)
    axis.set_title(f"layer {i}, head {j}: {weights[i, j].max(-1).mean():.2f}", fontsize=9)
    axis.tick_params(labelsize=6)
plt.show()

# %% [markdown]
# ### Beam search (section 6.1)
#
# Greedy decoding takes the most probable symbol at each step. Beam search keeps the `beam_size` most probable prefixes and divides
# the log-probability of a finished one by $((5 + |y|)/6)^\alpha$, because longer outputs have lower probabilities. For a model
# that is nearly always certain, both give the same result.

# %%
source = numbers.tokenizer.encode(text)
greedy, beam = (numbers.model.generate(source, beam_size=size)[0] for size in (1, 4))
print(numbers.tokenizer.decode(beam))
assert greedy == beam
assert numbers.translate("Ninety-nine thousand and one") == "neun und neunzig tausend eins"

# %% [markdown]
# Losses of both runs. The warm-up ends at step 100; then the learning rate decays linearly to zero.

# %%
plot_loss({"number words": Path("numbers"), "reverse": Path("reverse")})

# %% [markdown]
# ## Summary
#
# - One rule gives every backward pass: write the change of the loss as an inner product with the change of the input.
# - Softmax needs the whole row, LayerNorm keeps $\gamma$ inside both means, a repeated id or a tied matrix adds up.
# - Dividing by $\sqrt{d_k}$, subtracting the maximum, and handling fully masked rows keep the values in range.
# - A two-layer model learns to reorder words, and one of its heads shows the reordering.
#
# ## Exercises
#
# 1. Derive the backward pass of $y = x / \sqrt{\overline{x^2} + \epsilon}$ (RMSNorm) and check it with `check_layer`.
# 2. Remove `/ np.sqrt(q.shape[-1])` from the backward pass above only. Which of the three gradients remain correct?
# 3. Train `reverse` with `ModelConfig(n_heads=1)`. Does the single head of the last layer still lie on the anti-diagonal?
