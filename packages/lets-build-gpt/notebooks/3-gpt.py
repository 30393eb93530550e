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
# # 3. GPT
#
# ## Motivation
#
# One head in one layer beats a bigram model, but it does not write words. A GPT adds five ideas: several heads, a
# feed-forward layer, residual connections, normalization, and depth. The training loop stays the same. This notebook
# takes 1–2 min on 2 CPU cores.

# %%
import math
import tempfile
from dataclasses import replace
from pathlib import Path

try:
    import matplotlib  # noqa: F401 (for plot_loss and plot_attention)
    import torch
    from IPython.display import Image
    from lets_build_gpt import Block, FeedForwardNetwork, Model, MultiHeadAttention, load_run, load_text
    from lets_build_gpt.bigram import fit_bigrams
    from lets_build_gpt.dropout import dropout
    from lets_build_gpt.plots import plot_attention, plot_loss
    from lets_build_gpt.recipes import DEMO
    from lets_build_gpt.run import train
except ImportError as error:
    raise SystemExit(
        f'{error}. Install the requirements of this notebook: pip install "dlpapers-lets-build-gpt[notebooks] @ '
        'git+<address of this repository>#subdirectory=packages/lets-build-gpt"'
    ) from None

torch.manual_seed(0)
x = torch.randn(2, 8, 32)  # (batch, time, d_model)

# %% [markdown]
# ## Idea
#
# A block is *communication, then computation*: attention moves information between tokens, and the feed-forward layer
# processes it within each token. Blocks are stacked.
#
# ## Math
#
# With $\mathrm{LN}$ for layer normalization, a pre-norm block (GPT-2, section 2.3) is
#
# $$y = x + \mathrm{Attention}(\mathrm{LN}(x)), \qquad z = y + \mathrm{FFN}(\mathrm{LN}(y)),$$
#
# $$\mathrm{FFN}(x) = \max(0, x W_1 + b_1) W_2 + b_2. \qquad (2)$$

# %% [markdown]
# ## Code with shapes
#
# **Several heads.** One head computes one set of weights. $h$ heads with $d_k = d_\text{model}/h$ compute $h$ sets at the
# same cost. Their outputs are concatenated and projected. The code computes all heads in one matmul; `heads()` returns
# them separately, and both give the same result.

# %%
attention = MultiHeadAttention(d_model=32, n_heads=4)
outputs = [head(x) for head in attention.heads()]  # 4 × (batch, time, d_k = 8)
one_by_one = attention.projection(torch.cat(outputs, dim=-1))  # (batch, time, d_model)
assert torch.allclose(attention(x), one_by_one, atol=1e-6)

# %% [markdown]
# **The feed-forward layer** acts on each token alone: a change of token 3 changes the output of token 3 only.

# %%
ffn = FeedForwardNetwork(d_model=32)
changed = x.clone()
changed[:, 3] += 1
difference = (ffn(changed) - ffn(x)).abs().sum(dim=(0, 2))
assert difference[3] > 0
assert (difference[[0, 1, 2, 4, 5, 6, 7]] == 0).all()

# %% [markdown]
# **Residual connections.** Each branch *adds* to its input, so the gradient has a direct path through all blocks. Without
# it, the gradient hardly reaches the input of twelve blocks.

# %%
blocks = [Block(d_model=32, n_heads=4) for _ in range(12)]


def gradient_at_the_input(residual):
    start = x.clone().requires_grad_()
    y = start
    for block in blocks:
        y = block(y) if residual else block.ffn(block.norm2(block.self_attn(block.norm1(y))))
    y.square().mean().backward()
    return start.grad.norm().item()


with_residual, without = gradient_at_the_input(True), gradient_at_the_input(False)
print(f"gradient at the input of 12 blocks: {with_residual:.1e} with residual connections, {without:.1e} without")
assert with_residual > 100 * without

# %% [markdown]
# **Normalization.** Each branch reads the residual stream through a LayerNorm, which gives every token mean 0 and
# variance 1 over d_model, times a learned gain plus a learned bias. However large the stream becomes, the branches see
# the same scale.

# %%
norm = Block(d_model=32, n_heads=4).norm1
for scale in (0.1, 1, 100):
    y = norm(scale * x)
    print(
        f"input scale {scale:5}: output mean {y.mean().item():6.3f}, standard deviation {y.std(-1).mean().item():.3f}"
    )
    assert abs(y.var(-1, unbiased=False).mean() - 1) < 1e-2

# %% [markdown]
# **Dropout.** In training, a random part of the elements of each branch is set to zero and the rest is scaled up, so that
# the mean stays the same. It counters over-fitting; generation and evaluation do not use it.

# %%
ones = torch.ones(100_000)
dropped = dropout(ones, p=0.2)
print(f"{(dropped == 0).float().mean():.3f} zeros, mean {dropped.mean():.3f}")
assert abs((dropped == 0).float().mean() - 0.2) < 0.01
assert abs(dropped.mean() - 1) < 0.01

# %% [markdown]
# **Where the parameters are.** Almost all of them are in the matrices of the blocks: $4 d^2$ for attention and $8 d^2$ for
# the feed-forward layer of each block.

# %%
model = Model(context_length=64, d_model=96, h=4, n_layers=3, n_vocab=100, bias=False, tie_embeddings=True)
in_blocks = sum(p.numel() for p in model.blocks.parameters() if p.dim() == 2)
print(f"{model.num_parameters():,} parameters, {in_blocks / model.num_parameters():.0%} in the matrices of the blocks")
assert in_blocks == 3 * 12 * 96**2

# %% [markdown]
# ## Test
#
# An untrained model predicts all characters with about the same probability, so its loss is close to
# $\ln(\text{vocab\_size})$. A higher value means that the initialization is wrong. Check this before every training run.

# %%
ids = torch.randint(100, (8, 65))
untrained = model.eval().loss(ids[:, :-1], ids[:, 1:]).item()
print(f"loss {untrained:.3f}; ln(100) = {math.log(100):.3f}")
assert abs(untrained - math.log(100)) < 0.1

# %% [markdown]
# ## Experiment
#
# **Training.** This is the recipe of `lets-build-gpt demo`, shortened. Two optimizers share the parameters. **Muon** trains
# the matrices of the blocks: it orthogonalizes the momentum of each matrix, so that all directions of an update have about
# the same size. **AdamW** trains the embeddings and the norms. The learning rates rise in the first 5 % of the steps and
# then decay linearly to zero.

# %%
folder = Path(tempfile.mkdtemp()) / "gpt"
evaluations = []
config = replace(DEMO.train, steps=800, eval_every=100, dtype="float32", device="cpu", sample_tokens=300)
result = train(DEMO.model, DEMO.optim, config, load_text(), folder, on_evaluation=evaluations.append)
bigram = fit_bigrams(load_text(), train=False).validation
print(
    f"validation loss after {result.step} steps: {result.val_loss:.3f} nats per character; bigram model: {bigram:.3f}"
)
assert result.val_loss < bigram - 0.4

# %%
plot_loss([folder], folder / "loss_curve.png")
Image(folder / "loss_curve.png", width=700)

# %% [markdown]
# **What the model writes**, early and late.

# %%
for found in (evaluations[0], evaluations[-1]):
    print(f"--- step {found.step}, validation loss {found.val_loss:.2f}\n{found.sample}\n")

# %% [markdown]
# **What the heads attend to.** Each map is one head on the same text. Row: the character that attends. Column: the
# character that it attends to. The printed list names the heads that give the most weight to the previous character.

# %%
model, tokenizer = load_run(folder)
sentence = "The class statement is"
with torch.no_grad():
    _, intermediates = model(torch.tensor([tokenizer.encode(sentence)]), return_intermediates=True)
weights = intermediates.attn[:, 0]  # (layers, heads, queries, keys)
previous = weights.diagonal(-1, dim1=-2, dim2=-1).mean(-1)  # (layers, heads)
for index in previous.flatten().argsort(descending=True)[:3].tolist():
    layer, head = divmod(index, previous.shape[1])
    print(f"layer {layer + 1}, head {head + 1}: {previous[layer, head]:.0%} of the weight on the previous character")
plot_attention(weights, sentence, folder / "attention.png")
Image(folder / "attention.png", width=1000)

# %% [markdown]
# **Generation with a key/value cache.** In a causal model, later tokens never change the keys and values of earlier ones.
# With these in a cache, a new token costs one row of attention. The text is the same as without the cache.

# %%
start = torch.tensor([tokenizer.encode("The ")])
texts = [
    model.generate(start, 200, generator=torch.Generator().manual_seed(1), use_cache=use_cache)
    for use_cache in (True, False)
]
assert torch.equal(*texts)
print(tokenizer.decode(texts[0][0].tolist()))

# %% [markdown]
# ## Summary
#
# - A block is attention and a feed-forward layer, each on a residual branch with a LayerNorm.
# - A GPT is embeddings, a stack of blocks, a final norm, and logits.
# - The same cross-entropy and the same loop train everything from the bigram table to the GPT.
#
# ## Exercises
#
# 1. Train with `n_layers=1` and the same number of steps. How much of the gain over the bigram model is left?
# 2. Set `dropout=0.2`. Does the validation loss fall or rise at this number of steps?
# 3. Train on a text of 20,000 characters for 800 steps. At which step is the validation loss lowest?
# 4. Replace Muon by AdamW (`OptimConfig(optimizer="adamw")`). Find a learning rate that comes close.
