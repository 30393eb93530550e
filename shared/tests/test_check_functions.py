"""Losses, optimizers, schedules, tokenizers and filters as learners write them."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from dlpapers_shared import check
from dlpapers_shared.check.subjects.bpe_trainer import as_tokens
from torch import nn
from torch.nn import functional as F

# ------------------------------------------------------------------------------------------ losses and positions


def test_correct_losses_pass_with_their_gradients():
    def loss_and_gradient(logits, targets):
        log_p = logits - logits.max(1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
        one_hot = np.eye(logits.shape[1])[targets]
        return -(one_hot * log_p).sum() / len(targets), (np.exp(log_p) - one_hot) / len(targets)

    def smoothed(logits, targets, label_smoothing):
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)

    reports = [
        check.softmax(lambda x: x.softmax(-1) if torch.is_tensor(x) else torch.from_numpy(x).softmax(-1)),
        check.softmax(lambda x, dim=-1: torch.softmax(x, dim)),
        check.cross_entropy(loss_and_gradient),
        check.cross_entropy(lambda logits, targets: F.cross_entropy(logits, targets)),
        check.label_smoothing(smoothed),
        check.softmax(nn.Softmax(dim=-1)),
        check.cross_entropy(nn.CrossEntropyLoss()),
    ]
    assert all(reports), reports
    assert [row.name for row in reports[4].rows][-1] == "gradient of logits"


def test_wrong_losses_are_recognized():
    def unmeaned(logits, targets):
        return F.cross_entropy(logits, targets, reduction="sum")

    def twice(logits, targets):
        return F.cross_entropy(logits.softmax(-1), targets)

    assert "the sum over the targets" in check.cross_entropy(unmeaned).diagnosis[0]
    assert "softmax applied twice" in check.cross_entropy(twice).diagnosis[0]


def test_positional_encodings_of_modules_are_compared_with_the_paper():
    class Positions(nn.Module):
        def __init__(self, d_model, max_len=50, start=0, scale=1.0):
            super().__init__()
            position = torch.arange(start, max_len + start).unsqueeze(1)
            frequency = torch.exp(torch.arange(0, d_model, 2) * (-np.log(10000.0) / d_model))
            table = torch.zeros(max_len, d_model)
            table[:, 0::2], table[:, 1::2] = torch.sin(position * frequency), torch.cos(position * frequency)
            self.register_buffer("pe", table.unsqueeze(0))
            self.scale = scale

        def forward(self, x):
            return x * self.scale + self.pe[:, : x.size(1)]

    assert check.positional_encoding(Positions).passed
    assert "positions start from 1" in check.positional_encoding(Positions(8, start=1)).diagnosis[0]
    assert "multiplied by √d_model here" in check.positional_encoding(Positions(16, scale=4.0)).diagnosis[0]


# --------------------------------------------------------------------------------------- optimizer and schedule


def test_correct_optimizers_pass():
    class InPlace:
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
            self.params, self.lr, self.betas, self.eps, self.t = params, lr, betas, eps, 0
            self.m, self.v = ([np.zeros_like(p) for p in params] for _ in range(2))

        def step(self, grads):
            self.t += 1
            for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
                b1, b2 = self.betas
                self.m[i] = b1 * self.m[i] + (1 - b1) * g
                self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
                p -= self.lr * self.m[i] / (1 - b1**self.t) / (np.sqrt(self.v[i] / (1 - b2**self.t)) + self.eps)

    for correct in (torch.optim.Adam, InPlace):
        report = check.adam(correct)
        assert report.passed, report


def test_wrong_optimizers_are_recognized():
    def inside(theta, grad, m, v, step, lr, b1, b2, eps):
        m, v = b1 * m + (1 - b1) * grad, b2 * v + (1 - b2) * grad**2
        return theta - lr * (m / (1 - b1**step)) / torch.sqrt(v / (1 - b2**step) + eps), m, v

    assert "eps inside the square root" in check.adam(inside).diagnosis[0]
    assert "as in AdamW" in check.adam(torch.optim.AdamW).diagnosis[0]
    assert not check.adam(torch.optim.NAdam).passed


WRONG_SCHEDULES = {
    "warm-up exponent: warmup_steps^-0.5": lambda step, d_model, warmup: (
        d_model**-0.5 * min(step**-0.5, step * warmup**-0.5)
    ),
    "max instead of min": lambda step, d_model, warmup: d_model**-0.5 * max(step**-0.5, step * warmup**-1.5),
    "the factor d_model^-0.5 is left out": lambda step, d_model, warmup: min(step**-0.5, step * warmup**-1.5),
    "no decay after the warm-up": lambda step, d_model, warmup: (d_model * warmup) ** -0.5 * min(1, step / warmup),
    "one step ahead": lambda step, d_model, warmup: d_model**-0.5 * min((step + 1) ** -0.5, (step + 1) * warmup**-1.5),
}


@pytest.mark.parametrize("sentence", WRONG_SCHEDULES)
def test_wrong_warm_ups_are_recognized(sentence):
    report = check.schedule(WRONG_SCHEDULES[sentence])
    assert sentence in report.diagnosis[0]
    assert " at step 1: " in report.failures[0].detail or " at step " in report.failures[0].detail


def test_a_schedule_of_the_step_alone_is_checked_with_the_given_sizes():
    assert check.schedule(lambda t: 64**-0.5 * min(t**-0.5, t * 100**-1.5), d_model=64, warmup_steps=100)
    assert not check.schedule(lambda t: 64**-0.5 * min(t**-0.5, t * 100**-1.5), d_model=64, warmup_steps=200)


# ------------------------------------------------------------------------------------------------------- BPE


def lowest_rank(word: bytes, merges):
    ids = list(word)
    rank = {pair: k for k, pair in enumerate(merges)}
    while len(ids) > 1:
        pair = min(pairwise(ids), key=lambda p: rank.get(p, 10**9))
        if pair not in rank:
            break
        i = list(pairwise(ids)).index(pair)
        ids[i : i + 2] = [256 + rank[pair]]
    return ids


def test_correct_encoders_pass_on_bytes_text_merges_and_ranks():
    def by_ranks(text: str, mergeable_ranks):
        parts = [bytes([b]) for b in text.encode()]
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: mergeable_ranks.get(parts[i] + parts[i + 1], 10**9))
            if parts[best] + parts[best + 1] not in mergeable_ranks:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        return [mergeable_ranks[part] for part in parts]

    assert check.bpe_encoder(lowest_rank)
    assert check.bpe_encoder(by_ranks)


def test_wrong_encoders_are_recognized_with_the_first_piece_that_differs():
    def longest(text, ranks):
        data, ids = text.encode(), []
        while data:
            n = max(n for n in range(1, len(data) + 1) if data[:n] in ranks)
            ids.append(ranks[data[:n]])
            data = data[n:]
        return ids

    report = check.bpe_encoder(longest)
    assert "the longest token that fits is taken from the left" in report.diagnosis[0]
    assert "ids differ from [" in report.failures[0].detail
    assert "|" in report.failures[0].detail


def test_whole_encoders_are_compared_with_tiktoken_and_the_shortest_difference_is_shown(data_file):
    tiktoken = pytest.importorskip("tiktoken")
    data_file("tokenizer")  # the vocabularies are on this machine
    gpt2 = tiktoken.get_encoding("gpt2")
    assert check.bpe_encoder(gpt2, reference="tiktoken:gpt2")
    report = check.bpe_encoder(lambda text: gpt2.encode(text.replace("the", "teh")), reference=gpt2)
    assert report.diagnosis == ["The shortest piece that differs is 'the': [660, 71] instead of [1169]."]


def trainer(ties, overlapping=True):
    def train(words, num_merges):
        rows = {word: list(word) for word in words}
        tokens, merges = [bytes([i]) for i in range(256)], []
        for _ in range(num_merges):
            counts = Counter()
            for word, row in rows.items():
                for pair in pairwise(row):
                    counts[pair] += words[word]
            if not counts:
                break
            best = max(counts.values())
            pair = ties([p for p in counts if counts[p] == best], tokens)
            merges.append(pair)
            tokens.append(tokens[pair[0]] + tokens[pair[1]])
            for row in rows.values():
                i = 0
                while i < len(row) - 1:
                    if (row[i], row[i + 1]) == pair:
                        row[i : i + 2] = [len(tokens) - 1]
                    i += 1
        return merges

    return train


def greatest_bytes(pairs, tokens):
    return max(pairs, key=lambda p: (tokens[p[0]], tokens[p[1]]))


RULES = {"first": lambda pairs, tokens: pairs[0], "ids": lambda pairs, tokens: min(pairs), "bytes": greatest_bytes}


@pytest.mark.parametrize("rule", RULES)
def test_trainers_pass_under_each_tie_breaking_rule_which_is_named(rule):
    report = check.bpe_trainer(trainer(RULES[rule]))
    assert report.passed, report
    assert f"ties={rule!r}" in report.rows[-1].detail
    assert check.bpe_trainer(trainer(RULES[rule]), ties=rule)


@pytest.mark.parametrize("rule", RULES)
def test_another_tie_breaking_rule_is_recognized(rule):
    other = {"first": "ids", "ids": "bytes", "bytes": "first"}[rule]
    report = check.bpe_trainer(trainer(RULES[rule]), ties=other)
    assert not report.passed
    assert report.diagnosis[0].startswith("This is another tie-breaking rule: ")
    assert f"ties={rule!r}" in report.diagnosis[0]
    assert "both occur" in report.failures[0].detail


def test_wrong_tie_breaking_rules_are_recognized():
    wrong = {
        "ties by ids: the largest": lambda pairs, tokens: max(pairs),
        "the one that occurs last": lambda pairs, tokens: pairs[-1],
        "ties by bytes: the smallest": lambda pairs, tokens: min(pairs, key=lambda p: (tokens[p[0]], tokens[p[1]])),
        "the joined bytes are compared": lambda pairs, tokens: max(pairs, key=lambda p: tokens[p[0]] + tokens[p[1]]),
    }
    for sentence, ties in wrong.items():
        assert sentence in check.bpe_trainer(trainer(ties)).diagnosis[0]


def test_trainers_of_one_text_and_a_vocabulary_size_pass():
    def train(text, vocab_size):
        merges = trainer(RULES["first"])({text.encode(): 1}, vocab_size - 256)
        return {pair: 256 + k for k, pair in enumerate(merges)}

    assert check.bpe_trainer(train)


@pytest.mark.parametrize(
    "result", [[(97, 98)], [(b"a", b"b")], [("a", "b")], ["a b"], {(97, 98): 256}, ([(97, 98)], {})]
)
def test_merges_are_read_in_every_common_form(result):
    assert as_tokens(result) == ((b"a", b"b"),)


# ------------------------------------------------------------------------------------------------- sampling


def test_correct_filters_pass_on_logits_and_probabilities():
    def nucleus(logits, top_p):
        ordered, index = logits.sort(descending=True)
        p = ordered.softmax(-1)
        drop = p.cumsum(-1) - p >= top_p
        return logits.masked_fill(drop.scatter(-1, index, drop), -torch.inf)

    def largest(logits, k):
        kept = np.argsort(-logits)[:k]
        p = np.zeros_like(logits)
        p[kept] = np.exp(logits[kept] - logits.max())
        return p / p.sum()

    assert check.top_p(nucleus)
    assert check.top_k(largest)
    assert check.temperature(lambda logits, temperature: (logits / temperature).softmax(-1))


def test_wrong_filters_are_recognized():
    def crossing(logits, p):
        ordered, index = logits.sort(descending=True)
        drop = ordered.softmax(-1).cumsum(-1) > p
        return logits.masked_fill(drop.scatter(-1, index, drop), -torch.inf)

    def unsorted(logits, p):
        ordered, _ = logits.sort(descending=True)
        q = ordered.softmax(-1)
        return logits.masked_fill(q.cumsum(-1) - q >= p, -torch.inf)

    assert "top-p drops the token that crosses p" in check.top_p(crossing).diagnosis[0]
    assert "without undoing the sort" in check.top_p(unsorted).diagnosis[0]
