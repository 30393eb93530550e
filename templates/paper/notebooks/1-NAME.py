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
# # 1. {{NAME}}
#
# ## Motivation
#
# A language model assigns a probability to the next character. A table of counts needs one row per context, so its size grows
# exponentially with the length of the context. A neural network shares what it learns between similar contexts.
#
# (Replace: this notebook explains the example model of the template.)

# %%
import importlib.util

needed = ("matplotlib", "torch", "MODULE")
missing = [name for name in needed if importlib.util.find_spec(name) is None]
assert not missing, f"not installed: {', '.join(missing)}. The README's section Notebooks has the command"

import matplotlib.pyplot as plt
import torch
import MODULE as paper

print(paper.PAPER.citation())

# %% [markdown]
# ## Idea
#
# Each character has a vector. The vectors of the last characters are concatenated; a hidden layer turns them into one
# score per character of the vocabulary.

# %% [markdown]
# ## Math
#
# With $x$ the concatenation of the vectors of the context, the logits are
#
# $$ z = U \tanh(H x + d) + b $$
#
# and the loss of a target $t$ is $\log \sum_j e^{z_j} - z_t$.

# %% [markdown]
# ## Code with shapes

# %%
text = paper.synthetic_text()
tokenizer = paper.CharTokenizer.from_text(text)
print(text[:120])

# %%
from MODULE.data import make_examples, split_lines

train_text, val_text = split_lines(text, held_out=0.1)
config = paper.ModelConfig(context_length=4)
train, val = (make_examples(tokenizer.encode(part), config.context_length) for part in (train_text, val_text))
contexts, targets = train
print(f"contexts {tuple(contexts.shape)}, targets {tuple(targets.shape)}, vocabulary {tokenizer.vocab_size}")
for context, target in zip(contexts[:6].tolist(), targets[:6].tolist(), strict=True):
    print(repr(tokenizer.decode(context)), "->", repr(tokenizer.decode([target])))

# %%
torch.set_num_threads(1)
torch.manual_seed(0)
model = paper.Model(config, tokenizer.vocab_size)
logits = model(contexts[:5])
print(f"{model.num_parameters():,} parameters; logits {tuple(logits.shape)}")

# %% [markdown]
# ## Test
#
# Before training, every character is equally probable, so the loss is the logarithm of the vocabulary size.

# %%
loss = paper.cross_entropy(logits, targets[:5])
assert torch.isclose(loss, torch.tensor(float(tokenizer.vocab_size)).log())
print(f"{loss.item():.3f} nats per character")

# %% [markdown]
# ## Experiment
#
# Train for 600 steps and watch the validation loss.

# %%
trainer = paper.Trainer(model, paper.TrainConfig(steps=600), train, val)
steps, losses, val_steps, val_losses = [], [], [], []
while not trainer.finished:
    losses.append(trainer.step()["loss"])
    steps.append(trainer.steps_done)
    if trainer.steps_done % 50 == 0:
        val_steps.append(trainer.steps_done)
        val_losses.append(trainer.evaluate())
assert val_losses[-1] < 0.5

# %%
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(steps, losses, color="0.8", label="training batch")
axes.plot(val_steps, val_losses, marker=".", label="validation")
axes.set(xlabel="step", ylabel="loss (nats per character)", ylim=(0, None))
axes.legend()
plt.show()

# %%
ids = model.generate([], paper.SamplingConfig(max_new_tokens=200), torch.Generator().manual_seed(0))
print(tokenizer.decode(ids))

# %% [markdown]
# ## Summary
#
# - Six thousand parameters learn the words and most of the word order of the text.
# - The context is four characters long, so the model cannot know which word came before the current one.

# %% [markdown]
# ## Exercises
#
# 1. Train with a context of 8. Which mistakes disappear from the samples?
# 2. Plot the vectors of the vowels and of the consonants in two dimensions (a PCA of `model.embedding`).
