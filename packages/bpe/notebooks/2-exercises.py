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
# # Build a tokenizer in five exercises
#
# ## Motivation
#
# You understand an algorithm once you have written it. In this notebook you write a byte-level BPE tokenizer yourself, in
# five functions of 5 to 15 lines. Each step ends in assertions that compare your function with `bpe`, whose ids equal those
# of tiktoken. Read [1-bpe](1-bpe.ipynb) first. Time: about 60 minutes.
#
# ## Idea
#
# | step | function | from | to |
# |---|---|---|---|
# | 1 | `split` | text | pre-tokens |
# | 2 | `count_pairs` | words with counts | counts of pairs |
# | 3 | `train` | words with counts | merges |
# | 4 | `encode` | text | ids |
# | 5 | `decode` | ids | text |
#
# Every step has three cells: one for your function, a solution, and the test. Replace `None` by your function, such as
#
# ```python
# def split(text): ...
# ```
#
# and run the test. Without a function of yours, the test uses the solution. JupyterLab hides the solutions: click on the
# three dots to show one.

# %%
from collections import Counter
from itertools import pairwise
from pydoc_data.topics import topics

import regex

try:
    import bpe
except ImportError as error:
    raise SystemExit(f"This notebook needs dlpapers-bpe: {error}") from None

from bpe.pretokenize import PATTERNS, Splitter

texts = [topics[name] for name in sorted(topics)][:20]
print(f"{len(texts)} texts, {sum(map(len, texts)):,} characters. GPT-2's pattern: {PATTERNS['gpt2']}")

# %% [markdown]
# ## Code with shapes
#
# ### Step 1: split text into pre-tokens
#
# Merges never cross a **pre-token**. GPT-2's pattern finds them: an optional space and letters, digits, or punctuation.
# Write `split(text)`: str → list of str. Use `regex`, because `re` does not have `\p{L}`. Hint: one line is enough.

# %%
split = None

# %% jupyter={"source_hidden": true}
# Solution of step 1


def split_solution(text):
    """Return the pre-tokens of a text. They concatenate to the text."""
    return regex.findall(PATTERNS["gpt2"], text)


# %%
split = split or split_solution

assert split("Hello world, it's 2024!") == ["Hello", " world", ",", " it", "'s", " 2024", "!"]
for text in texts:
    assert split(text) == Splitter("gpt2")(text)
    assert "".join(split(text)) == text

# %% [markdown]
# ### Step 2: count pairs
#
# Training does not need the texts, only how often each distinct pre-token occurs. `words` maps each pre-token, as a tuple
# of ids, to its count. At the start, the ids are the bytes.
#
# Write `count_pairs(words)`: dict of tuple of int → int, to `Counter` of (int, int). A pair in a word that occurs 5 times
# counts 5 times. Hint: `pairwise`.

# %%
words = Counter(tuple(pretoken.encode()) for text in texts for pretoken in split(text))
print(words.most_common(3))

count_pairs = None

# %% jupyter={"source_hidden": true}
# Solution of step 2


def count_pairs_solution(words):
    """Return how often each pair of neighbors occurs."""
    counts = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return counts


# %%
count_pairs = count_pairs or count_pairs_solution

assert count_pairs({(1, 2, 1, 2): 5, (2, 1): 1}) == {(1, 2): 10, (2, 1): 6}
counts = count_pairs(words)
first_merge = bpe.train_from_iterator(texts, vocab_size=257).merges[0]
assert counts[first_merge] == max(counts.values())
print(f"the most frequent pair is {bytes(first_merge)!r}, {counts[first_merge]:,} times")

# %% [markdown]
# ### Step 3: train
#
# Repeat: find the most frequent pair, give it the next id, and replace it in every word from left to right. If several
# pairs are equally frequent, take the one that occurs first in the corpus, as minbpe does. `max` over a dictionary in the
# order of first occurrence does that, so do not sort `words`.
#
# Write `train(words, num_merges)`: to a list of (int, int). Write a helper `merge(word, pair, new)` first.

# %%
merge = None
train = None

# %% jupyter={"source_hidden": true}
# Solution of step 3


def merge_solution(word, pair, new):
    """Replace a pair in a tuple of ids, from left to right. (n,) -> (m,) with m <= n."""
    out, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(new)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def train_solution(words, num_merges):
    """Return the merges in order; merge k creates the id 256 + k."""
    merges = []
    for new in range(256, 256 + num_merges):
        counts = count_pairs(words)
        best = max(counts, key=counts.get)
        merges.append(best)
        words = {merge(word, best, new): count for word, count in words.items()}
    return merges


# %%
merge, train = merge or merge_solution, train or train_solution

assert merge((97, 97, 97, 98), (97, 97), 256) == (256, 97, 98)
merges = train(words, 100)
tok = bpe.train_from_iterator(texts, vocab_size=356, ties="first")
assert merges == tok.merges
print("the first merges:", tok.pieces(range(256, 276)))

# %% [markdown]
# `{merge(word, …): count …}` would lose a count if two words became equal. They cannot: merging never makes two different
# byte strings equal.
#
# ### Step 4: encode
#
# Split the text. In each pre-token, merge the pair with the lowest rank until no pair is a merge. This is the order in
# which training applied them. Write `encode(text, merges)`: to a list of int.

# %%
encode = None

# %% jupyter={"source_hidden": true}
# Solution of step 4


def encode_solution(text, merges):
    """Return the ids of a text."""
    rank = {pair: 256 + k for k, pair in enumerate(merges)}
    ids = []
    for pretoken in split(text):
        word = tuple(pretoken.encode())
        while candidates := [pair for pair in pairwise(word) if pair in rank]:
            best = min(candidates, key=rank.get)
            word = merge(word, best, rank[best])
        ids += word
    return ids


# %%
encode = encode or encode_solution

samples = ["the statement", "naïve 日本 😀", "", "  a\n\n b", topics["assert"], topics["lambda"]]
for sample in samples:
    assert encode(sample, merges) == tok.encode(sample)
print(tok.pieces(encode("the naïve statement", merges)))

# %% [markdown]
# ### Step 5: decode
#
# The bytes of an id below 256 are that byte. The bytes of a merge are those of its two parts. Join the bytes of all ids,
# then decode them as UTF-8. An id may hold half a character, so decode only at the end, and replace what is not UTF-8.
#
# Write `decode(ids, merges)`: to a str.

# %%
decode = None

# %% jupyter={"source_hidden": true}
# Solution of step 5


def decode_solution(ids, merges):
    """Return the text of ids."""
    token = [bytes([b]) for b in range(256)]
    for left, right in merges:
        token.append(token[left] + token[right])
    return b"".join(token[i] for i in ids).decode("utf-8", errors="replace")


# %%
decode = decode or decode_solution

for sample in samples:
    ids = encode(sample, merges)
    assert decode(ids, merges) == sample == tok.decode(ids)
half = encode("é", merges)[:1]
assert decode(half, merges) == tok.decode(half) == "\ufffd"

# %% [markdown]
# ## Test
#
# Your merges are a complete tokenizer. `bpe.Tokenizer.from_merges` makes the library's tokenizer of them: it encodes with
# the compiled engine, and saves to every format.

# %%
mine = bpe.Tokenizer.from_merges(merges, pattern="gpt2")
assert mine.ranks == tok.ranks
for text in texts:
    assert mine.encode(text) == encode(text, merges)
print(mine)

# %% [markdown]
# ## Experiment
#
# How much shorter is a text after each merge? The first merges save the most.

# %%
text = topics["lambda"]
sizes = {n: len(encode(text, merges[:n])) for n in (0, 1, 10, 30, 100)}
assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
assert sizes[0] == len(text.encode())
sizes

# %% [markdown]
# ## Summary
#
# - Five short functions are a byte-level BPE tokenizer: split, count, train, encode, decode.
# - `train` recounts all pairs for each merge. `bpe.training.merges` updates only the counts that change.
# - `encode` scans all pairs for each merge. `bpe.merge` does the same, with a heap for long pre-tokens.
#
# ## Exercises
#
# 1. Add special tokens: `encode(text, merges, special)` splits the text at the names first. Compare with
#    `tok.with_special_tokens(["<|endoftext|>"])` and `allowed_special="all"`.
# 2. Change `max` in `train` to the smallest pair of ids among the most frequent ones. Compare with `ties="ids"` and
#    `byte_order="raw"`.
# 3. Make `train` 100 times as fast: store for each pair the words that hold it, and update only their counts.
#
# Next step: `bpe inspect --tokenizer tokenizer.json --text "…" --html page.html` shows your tokenizer on a page.
