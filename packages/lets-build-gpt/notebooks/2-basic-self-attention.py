# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # 2. Basic self-attention: letting a character look back
#
# A token should gather something from those before it. The simplest way is their average; self-attention is an
# average whose weights the tokens choose themselves. We go from one to the other in four small steps and then watch a
# head learn where to look.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from lets_build_gpt import CharTokenizer, SelfAttention
from lets_build_gpt.data import Batches, load_text, split
from torch import nn

torch.manual_seed(0)
batch, context, d_model = 2, 5, 3
x = torch.randn(batch, context, d_model)

# %% [markdown]
# ## An average of the past, three times
#
# **First**, as it is said: each token becomes the mean of itself and those before it.

# %%
by_loop = torch.zeros_like(x)
for b in range(batch):
    for t in range(context):
        by_loop[b, t] = x[b, : t + 1].mean(dim=0)

# %% [markdown]
# **Second**, as a matrix product. Row $t$ of a lower triangular matrix holds the weights with which token $t$ takes
# from each token: $1/(t+1)$ for those it may see, 0 for the others.

# %%
weights = torch.ones(context, context).tril()
weights = weights / weights.sum(dim=1, keepdim=True)
print(weights)
by_product = weights @ x
assert torch.allclose(by_loop, by_product, atol=1e-6)

# %% [markdown]
# **Third**, with a softmax. Start from *scores*, here all zero; set those of the future to $-\infty$; the softmax makes
# weights of them. The numbers are the same, but now the scores may be anything: they are where knowledge can enter.

# %%
future = torch.ones(context, context, dtype=torch.bool).triu(1)
scores = torch.zeros(context, context).masked_fill(future, -math.inf)
by_softmax = torch.softmax(scores, dim=-1) @ x
assert torch.allclose(by_loop, by_softmax, atol=1e-6)

# %% [markdown]
# ## Self-attention: the tokens choose
#
# Each token emits a *query* (what am I looking for), a *key* (what do I have) and a *value* (what I pass on). The score of
# a pair is the product of query and key, so that a token attends where a key answers its query:
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d_k}}\right)V \qquad (1)$$

# %%
head = SelfAttention(d_model, d_k=4)
q, k, v = head.query(x), head.key(x), head.value(x)
scores = (q @ k.transpose(-2, -1) / math.sqrt(4)).masked_fill(future, -math.inf)
by_hand = torch.softmax(scores, dim=-1) @ v
assert torch.allclose(head(x), by_hand, atol=1e-6)

# %% [markdown]
# **Why divide by $\sqrt{d_k}$?** A product of two random vectors of $d_k$ numbers with variance 1 has variance $d_k$. Large
# scores make the softmax pick a single token from the start, and its gradient vanishes there.

# %%
for d_k in (4, 64, 1024):
    q, k = torch.randn(2, 1000, d_k)
    products = (q * k).sum(-1)
    spread = torch.softmax(products[:8], dim=0).max(), torch.softmax(products[:8] / math.sqrt(d_k), dim=0).max()
    print(
        f"d_k = {d_k:4}: variance {products.var():7.1f}, largest of 8 weights {spread[0]:.2f}, scaled {spread[1]:.2f}"
    )
    assert 0.8 < products.var() / d_k < 1.2

# %% [markdown]
# ## A head at work
#
# One head, between an embedding and a layer of logits, on the Python reference. Without positions it could not tell where
# a character stood, so each position has an embedding of its own, added to the character's.

# %%
context_length, d_model = 16, 64
text = load_text()
tokenizer = CharTokenizer.from_text(text)
ids = torch.tensor(tokenizer.encode(split(text)[0]))
batches = Batches(ids, batch_size=64, context_length=context_length, seed=0)


class OneHead(nn.Module):
    """Embeddings, a head of self-attention beside the way past it, logits."""

    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(tokenizer.n_vocab, d_model)
        self.position_embedding = nn.Embedding(context_length, d_model)
        self.head = SelfAttention(d_model, d_model)
        self.logits = nn.Linear(d_model, tokenizer.n_vocab)

    def embed(self, ids):
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]

    def forward(self, ids):
        x = self.embed(ids)
        return self.logits(x + self.head(x))


def attention_weights(model, text):
    """Where each character looks: (context, context)."""
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

print(f"loss: {losses[0]:.3f} -> {sum(losses[-100:]) / 100:.3f}")

# %% [markdown]
# The picture of this notebook: each row is a character, each column one that it may look at. At first the weights are
# spread evenly over the past; with training they move to the characters that say most about the next one, the nearest.

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4.4))
labels = list(probe.replace(" ", "␣"))
for panel, (step, pattern) in zip(axes, patterns.items(), strict=True):
    panel.imshow(pattern, cmap="Greys", vmin=0, vmax=1)
    panel.set_xticks(range(len(labels)), labels)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_title(f"after {step} steps")
axes[0].set_ylabel("character")
figure.supxlabel("looks at")
figure.tight_layout()
plt.show()


def nearness(pattern):
    """Mean weight that a character gives to itself and the two before it, from the fourth row on."""
    return sum(pattern[t, t - 2 : t + 1].sum().item() for t in range(3, len(probe))) / (len(probe) - 3)


print({step: round(nearness(pattern), 2) for step, pattern in patterns.items()})
assert nearness(patterns[1500]) > nearness(patterns[0]) + 0.2

# %% [markdown]
# The loss beats the bigram model's (notebook 1), because the head looks further back than one character. It is still one
# head in one layer. The next notebook stacks them.

# %%
bigram_loss = 2.48
assert sum(losses[-100:]) / 100 < bigram_loss
