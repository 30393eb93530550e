# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. Self-attention
#
# ## Motivation
#
# A bigram model sees one character. A better model lets each token gather information from all earlier ones. The
# simplest way is their average. **Self-attention** is an average whose weights the tokens compute themselves. This
# notebook gets from one to the other in four steps and then trains a single head. It takes about half a minute.

# %%
import math

try:
    import matplotlib.pyplot as plt
    import torch
    import torch.nn.functional as F
    from lets_build_gpt import BigramModel, CharTokenizer, SelfAttention, load_text
    from lets_build_gpt.bigram import count_bigrams, counted_loss
    from lets_build_gpt.data import Batches, split
    from torch import nn
except ImportError as error:
    raise SystemExit(
        f'{error}. Install the requirements of this notebook: pip install "dlpapers-lets-build-gpt[notebooks] @ '
        'git+<address of this repository>#subdirectory=packages/lets-build-gpt"'
    ) from None

torch.manual_seed(0)
batch, time, d_model = 2, 5, 3
x = torch.randn(batch, time, d_model)

# %% [markdown]
# ## Idea
#
# **Step 1, a loop.** Each token becomes the mean of itself and the tokens before it.

# %%
by_loop = torch.zeros_like(x)
for b in range(batch):
    for t in range(time):
        by_loop[b, t] = x[b, : t + 1].mean(dim=0)

# %% [markdown]
# **Step 2, a matmul.** Row $t$ of a lower triangular matrix holds the weights of token $t$: $1/(t+1)$ for itself and
# earlier tokens, 0 for later ones.

# %%
weights = torch.ones(time, time).tril()
weights = weights / weights.sum(dim=1, keepdim=True)  # (time, time)
print(weights)
by_matmul = weights @ x
assert torch.allclose(by_loop, by_matmul, atol=1e-6)

# %% [markdown]
# **Step 3, a softmax.** Start from *scores*, here all zero. Set the scores of later tokens to $-\infty$; the softmax turns
# scores into weights. The result is the same, and the scores can now be anything.

# %%
future = torch.ones(time, time, dtype=torch.bool).triu(1)
scores = torch.zeros(time, time).masked_fill(future, -math.inf)
by_softmax = torch.softmax(scores, dim=-1) @ x
assert torch.allclose(by_loop, by_softmax, atol=1e-6)

# %% [markdown]
# ## Math
#
# **Step 4, scores that depend on the tokens.** Each token has a *query* (the information it needs), a *key* (the
# information it offers) and a *value* (the information it passes on). The score of a pair is the dot product of a query
# and a key:
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d_k}}\right)V \qquad (1)$$

# %% [markdown]
# ## Code with shapes

# %%
head = SelfAttention(d_model, d_k=4)
q, k, v = head.query(x), head.key(x), head.value(x)  # each (batch, time, d_k)
scores = q @ k.transpose(-2, -1) / math.sqrt(4)  # (batch, time, time)
by_hand = torch.softmax(scores.masked_fill(future, -math.inf), dim=-1) @ v  # (batch, time, d_k)

# %% [markdown]
# ## Test
#
# The class computes Eq. (1), and changing the last token changes no earlier output.

# %%
assert torch.allclose(head(x), by_hand, atol=1e-6)
changed = x.clone()
changed[:, -1] += 1
assert torch.equal(head(changed)[:, :-1], head(x)[:, :-1])

# %% [markdown]
# ## Experiment
#
# **Why divide by $\sqrt{d_k}$?** The dot product of two random vectors of $d_k$ elements with variance 1 has variance
# $d_k$. Large scores make the softmax pick a single token, and its gradient vanishes there. The table shows the largest of
# 8 weights, averaged over 500 queries.

# %%
largest = {}
for d_k in (4, 64, 1024):
    q, k = torch.randn(500, 1, d_k), torch.randn(500, 8, d_k)
    scores = (q * k).sum(-1)  # (500 queries, 8 keys)
    largest[d_k] = [torch.softmax(s, dim=-1).max(-1).values.mean().item() for s in (scores, scores / math.sqrt(d_k))]
    print(f"d_k = {d_k:4}: variance {scores.var():7.1f}; unscaled {largest[d_k][0]:.2f}, scaled {largest[d_k][1]:.2f}")
    assert 0.85 < scores.var() / d_k < 1.15
assert largest[1024][0] > 0.9
assert max(scaled for _, scaled in largest.values()) < 0.5

# %% [markdown]
# **Training one head.** The head stands between an embedding and a layer of logits. Attention ignores order, so each
# position has its own embedding, which is added to that of the character. `x + head(x)` keeps the current character.

# %%
context_length, d_model = 16, 64
text = load_text()
tokenizer = CharTokenizer.from_text(text)
train_text, val_text = split(text)
ids = torch.tensor(tokenizer.encode(train_text))
batches = Batches(ids, batch_size=64, context_length=context_length, seed=0)


class OneHead(nn.Module):
    """Embeddings, one head with a residual connection, logits."""

    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(tokenizer.vocab_size, d_model)
        self.position_embedding = nn.Embedding(context_length, d_model)
        self.head = SelfAttention(d_model, d_model)
        self.logits = nn.Linear(d_model, tokenizer.vocab_size)

    def embed(self, ids):
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]

    def forward(self, ids):  # (batch, time) -> (batch, time, vocab)
        x = self.embed(ids)
        return self.logits(x + self.head(x))


def attention_weights(model, text):
    """Return the weights (time, time) of the head on a text."""
    x = model.embed(torch.tensor([tokenizer.encode(text)]))
    scores = model.head.query(x) @ model.head.key(x).transpose(-2, -1) / math.sqrt(d_model)
    future = torch.ones(len(text), len(text), dtype=torch.bool).triu(1)
    return torch.softmax(scores.masked_fill(future, -math.inf), dim=-1)[0].detach()


torch.manual_seed(0)
model = OneHead()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
probe = "the expression x"
patterns, losses = {0: attention_weights(model, probe)}, []
for step in range(1, 1501):
    inputs, targets = batches.batch(step)
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if step in (100, 1500):
        patterns[step] = attention_weights(model, probe)

print(f"training loss: {losses[0]:.3f} -> {sum(losses[-100:]) / 100:.3f}")

# %% [markdown]
# Each row of the figure is a character, each column a character that it attends to. The weights of the untrained head are
# random. After training, most of the weight is on the *previous* character: the residual connection already carries the
# current one, so the previous one adds the most information.

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
labels = list(probe.replace(" ", "␣"))
for panel, (step, pattern) in zip(axes, patterns.items(), strict=True):
    image = panel.imshow(pattern, cmap="Blues", vmin=0, vmax=1)
    panel.set_xticks(range(len(labels)), labels)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_title(f"after {step} steps")
axes[0].set_ylabel("character")
figure.supxlabel("attends to")
figure.colorbar(image, ax=axes, label="attention weight", shrink=0.8)
plt.show()


def on_previous(pattern):
    """Return the mean weight that a character gives to the one before it."""
    return pattern.diagonal(-1).mean().item()


print({step: round(on_previous(pattern), 2) for step, pattern in patterns.items()})
assert on_previous(patterns[1500]) > on_previous(patterns[0]) + 0.2

# %% [markdown]
# **Comparison with the bigram model**, on the same validation split. The counted bigram model is the best that one
# character of context allows.

# %%
with torch.no_grad():
    val_ids = torch.tensor(tokenizer.encode(val_text))
    n = (len(val_ids) - 1) // context_length
    inputs, targets = (val_ids[i : i + n * context_length].view(n, context_length) for i in (0, 1))
    one_head = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).item()
smoothed = BigramModel.from_counts(count_bigrams(ids, tokenizer.vocab_size), smoothing=1.0)
bigram = counted_loss(count_bigrams(val_ids, tokenizer.vocab_size), smoothed.logits.weight).item()
print(f"validation loss: bigram {bigram:.3f}, one head {one_head:.3f}")
assert one_head < bigram - 0.1

# %% [markdown]
# ## Summary
#
# - An average of the past is a matmul with a lower triangular matrix.
# - Self-attention computes the weights of that average from queries and keys; the mask excludes later tokens.
# - Dividing by $\sqrt{d_k}$ keeps the softmax from saturating.
# - One head beats the bigram model. The next notebook combines several heads in several layers.
#
# ## Exercises
#
# 1. Remove the position embeddings and train again. How much worse is the loss, and what does the head attend to?
# 2. Replace `x + self.head(x)` by `self.head(x)`. Which character gets the weight now, and why?
# 3. Set `context_length = 64`. Does one head use the longer context?
