# %% [markdown]
# # GPT-2, from the inside
#
# The paper changes little in the Transformer of GPT-1: LayerNorm moves to the *input* of each sub-block, one more
# stands after the last block, and residual projections start smaller by $1/\sqrt{N}$ for $N$ residual layers.
# This notebook follows one forward pass with its shapes, shows why the key/value cache is exact, draws the ways
# of sampling from one distribution, and reads the residual stream with the head (the logit lens). It needs no
# download: the model is small and learns one page of text on the way.

# %%
import torch
from gpt2 import GPT2, GPT2Config
from gpt2.tokenizers import ByteTokenizer

torch.manual_seed(0)
tokenizer = ByteTokenizer()
config = GPT2Config(vocab_size=257, context_length=64, d_model=64, n_heads=4, n_layers=3, dropout=0.0)
model = GPT2(config)
f"{model.parameter_count():,} parameters"

# %% [markdown]
# ## A forward pass with its shapes
#
# Token and position embeddings are added; that sum is the *residual stream*. Every block reads it through a
# LayerNorm and adds to it; nothing ever overwrites it.

# %%
ids = torch.tensor([tokenizer.encode("the value of the val")])
x = model.wte(ids) + model.wpe.weight[: ids.shape[1]]
assert x.shape == (1, 20, 64)
for block in model.h:
    x = x + block.attn(block.ln_1(x))  # pre-norm: the stream itself is not normalised
    x = x + block.mlp(block.ln_2(x))
logits = model.lm_head(model.ln_f(x))
assert torch.equal(logits, model(ids))
assert model.lm_head.weight is model.wte.weight  # the head is the embedding
logits.shape

# %% [markdown]
# At the start nothing is known: the loss is close to $\ln 257$, that of a uniform guess.

# %%
first = float(model.loss(ids[:, :-1], ids[:, 1:]).detach())
assert abs(first - torch.log(torch.tensor(257.0))) < 0.3
first

# %% [markdown]
# ## Fine-tuning is training on less
#
# A page of Python's own documentation, learned almost by heart in some seconds.

# %%
from pydoc_data.topics import topics

text = torch.tensor(tokenizer.encode(topics["assignment"][:4000]))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
generator = torch.Generator().manual_seed(0)
for _ in range(150):
    starts = torch.randint(0, len(text) - 65, (8,), generator=generator)
    batch = torch.stack([text[s : s + 65] for s in starts])
    loss = model.loss(batch[:, :-1], batch[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
last = float(loss.detach())
model.eval()
assert last < 0.6 * first
last

# %% [markdown]
# ## Why the cache is exact
#
# Attention is causal: what a token computes depends on the tokens before it and on itself. A token added at the
# end changes no earlier key or value, so each is computed once. Here the text goes through in parts, and the
# logits are those of the whole, to the last bits.

# %%
from gpt2.cache import KVCache

cache = KVCache(config, 64, torch.zeros(1, dtype=torch.long))
parts = []
with torch.no_grad():
    for part in ids.split([7, 1, 1, 11], dim=1):
        cache.begin(part.shape[1])
        parts.append(model.lm_head(model.hidden(part, cache)))
    difference = (torch.cat(parts, dim=1) - model(ids)).abs().max()
assert difference < 1e-4
float(difference)

# %% [markdown]
# ## Ways of sampling from one distribution
#
# Temperature reshapes all of it; top-k cuts at a rank, whatever the probabilities; top-p cuts at a mass, so it
# keeps few tokens where the model is sure and many where it is not; min-p cuts relative to the likeliest.

# %%
import matplotlib.pyplot as plt
from gpt2.sampling import filter_logits

logits = model(ids)[0, -1].detach()
order = logits.argsort(descending=True)[:16]
ways = {
    "the model": {},
    "temperature 0.5": {"temperature": 0.5},
    "top-k 3": {"top_k": 3},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.2": {"min_p": 0.2},
}
figure, axes = plt.subplots(1, len(ways), figsize=(13, 2.6), sharey=True, layout="constrained")
kept = {}
for axis, (name, options) in zip(axes, ways.items(), strict=True):
    p = filter_logits(logits, **options).softmax(-1)
    kept[name] = int((p > 0).sum())
    axis.bar(range(16), p[order], color="#0072b2")
    axis.set_title(f"{name}: {kept[name]} kept")
    axis.set_xticks(range(16), [repr(chr(int(i)))[1:-1] for i in order], fontsize=7)
axes[0].set_ylabel("probability")
assert kept["top-k 3"] == 3
assert kept["top-p 0.9"] < kept["the model"] == 257

# %% [markdown]
# ## The logit lens
#
# The head can be asked about the residual stream after every block, not only the last. The guess at the last
# token, depth by depth:

# %%
_, aux = model(ids, return_intermediates=True)
lens = model.logit_lens(aux["resid"][:, 0, -1])  # (layers + 1, vocab)
guesses = [chr(int(i)) for i in lens.argmax(-1)]
assert torch.allclose(lens[-1], logits, atol=1e-4)  # the last one is the model's own answer
guesses

# %% [markdown]
# ## Exercises
#
# 1. Feed the text in other parts than 7, 1, 1, 11. Does the difference change? (It stays rounding.)
# 2. Which way of sampling keeps most tokens at a place where the model is unsure, such as after a space?
