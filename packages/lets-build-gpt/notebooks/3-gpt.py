# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # 3. GPT: heads, blocks, depth
#
# From one head to a GPT it takes four more ideas: several heads side by side, a feed-forward layer, residual
# connections, and normalisation. Then the same training loop writes text that looks like its source.

# %%
import dataclasses
import math
import tempfile
from pathlib import Path

import torch
from dlpapers_shared import viz
from lets_build_gpt import Block, FeedForwardNetwork, Model, MultiHeadAttention, storage
from lets_build_gpt.recipes import DEMO
from lets_build_gpt.train import train

torch.manual_seed(0)
x = torch.randn(2, 8, 32)  # (batch, context, d_model)

# %% [markdown]
# ## Several heads
#
# One head can look in one way. $h$ of them, each $d_k = d_\text{model}/h$ wide, look in $h$ ways for the same price; their
# outputs stand side by side and are mixed by a projection. The code computes all heads in one product; `heads()` gives
# them back one by one, and both ways give the same numbers.

# %%
attention = MultiHeadAttention(d_model=32, h=4)
one_by_one = attention.projection(torch.cat([head(x) for head in attention.heads()], dim=-1))
assert torch.allclose(attention(x), one_by_one, atol=1e-6)

# %% [markdown]
# ## Communication, then computation
#
# Attention moves information between tokens; the feed-forward layer works on what each has gathered, token by token. So
# what one token contains cannot change what the layer gives for another:

# %%
ffn = FeedForwardNetwork(d_model=32)
changed = x.clone()
changed[:, 3] += 1
difference = (ffn(changed) - ffn(x)).abs().sum(dim=(0, 2))
assert difference[3] > 0
assert (difference[[0, 1, 2, 4, 5, 6, 7]] == 0).all()

# %% [markdown]
# ## The residual stream
#
# A block *adds* to what it is given: `x + attention(norm(x))`, then `x + ffn(norm(x))`. The sum is a road straight through
# all blocks, and the gradient takes it too. Without it (below: the branches alone) it hardly arrives at the bottom
# of twelve blocks.

# %%
blocks = [Block(d_model=32, h=4) for _ in range(12)]


def gradient_at_the_bottom(residual):
    start = x.clone().requires_grad_()
    y = start
    for block in blocks:
        if residual:
            y = block(y)
        else:
            y = block.ffn(block.norm_2(block.attention(block.norm_1(y))))
    y.square().mean().backward()
    return start.grad.norm().item()


with_residual, without = gradient_at_the_bottom(True), gradient_at_the_bottom(False)
print(f"gradient at the bottom of 12 blocks: {with_residual:.1e} with residual connections, {without:.1e} without")
assert with_residual > 100 * without

# %% [markdown]
# ## Where the parameters are
#
# Nearly all in the matrices of the blocks: $4 d^2$ for attention and $8 d^2$ for the feed-forward layer of each.

# %%
model = Model(context_length=64, d_model=96, h=4, n_layers=3, n_vocab=100, bias=False, tie_embeddings=True)
in_blocks = sum(p.numel() for p in model.blocks.parameters() if p.dim() == 2)
print(f"{model.n_parameters:,} parameters, {in_blocks / model.n_parameters:.0%} in the matrices of the blocks")
assert in_blocks == 3 * 12 * 96**2

# %% [markdown]
# ## A new model knows nothing
#
# Its loss is that of a fair choice among all characters. It is worth a look before any training: a higher one means that
# the initialisation is wrong.

# %%
ids = torch.randint(100, (8, 65))
fresh = model.eval().loss(ids[:, :-1], ids[:, 1:]).item()
print(f"{fresh:.3f}, and ln(100) = {math.log(100):.3f}")
assert abs(fresh - math.log(100)) < 0.1

# %% [markdown]
# ## Training
#
# The recipe of `lets-build-gpt demo`, a little shorter: Muon for the matrices of the blocks, AdamW for the rest, a short
# warm-up, then linearly down to zero. The loss of the validation split is taken over the whole split.

# %%
folder = Path(tempfile.mkdtemp()) / "gpt"
config = dataclasses.replace(DEMO, out=str(folder), tokens=800_000, dtype="float32")
samples = []
result = train(config, on_evaluation=lambda metrics, sample: samples.append((metrics, sample)))
print(f"{result.steps} steps, validation loss {result.val_loss:.3f} nats per character")
viz.loss_curves([folder / "metrics.jsonl"])

# %%
bigram_loss = 2.32  # of the first notebook, validation
assert result.val_loss < bigram_loss - 0.4

# %% [markdown]
# ## What it writes, early and late

# %%
for metrics, sample in (samples[0], samples[-1]):
    print(f"--- step {metrics['step']}, validation loss {metrics['val_loss']:.2f}\n{sample}\n")

# %% [markdown]
# ## Where it looks
#
# The picture of this notebook: every head of every layer on one sentence. Some look at the character before, some at the
# beginning of the word, some far back.

# %%
model, tokenizer = storage.load_run(folder)
sentence = "The class statement is executed."
intermediates = {}
with torch.no_grad():
    model(torch.tensor([tokenizer.encode(sentence)]), intermediates=intermediates)
weights = intermediates["attn"][:, 0]  # (layers, h, queries, keys)
viz.attention_heatmap(weights.numpy(), tokens=list(sentence))

# %% [markdown]
# ## Generation keeps what it knows
#
# A causal model never changes the keys and values of a token when later ones arrive. Kept in a cache, they make a new token
# cost one row of attention; the text is the same to the letter.

# %%
start = torch.tensor([tokenizer.encode("The ")])
texts = [
    model.generate(start, 200, generator=torch.Generator().manual_seed(1), use_cache=use_cache)
    for use_cache in (True, False)
]
assert torch.equal(*texts)
print(tokenizer.decode(texts[0][0].tolist()))
