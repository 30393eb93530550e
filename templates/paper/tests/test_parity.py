"""The model and the loss match PyTorch's own modules in float64, forward and backward."""
# Replace: the oracle with an independent implementation of your paper.

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from MODULE import Model, ModelConfig, cross_entropy
from MODULE.optim import AdamW


def oracle_of(model, vocab_size):
    config = model.config
    modules = [
        torch.nn.Embedding(vocab_size, config.d_model),
        torch.nn.Flatten(),
        torch.nn.Linear(config.context_length * config.d_model, config.d_ff),
        torch.nn.Tanh(),
        torch.nn.Dropout(config.dropout),
        torch.nn.Linear(config.d_ff, vocab_size),
    ]
    oracle = torch.nn.Sequential(*modules).double()
    for ours, theirs in zip(model.parameters(), oracle.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    return oracle


def random_model(config, vocab_size, seed):
    torch.manual_seed(seed)
    model = Model(config, vocab_size).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@hypothesis.given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7), st.integers(2, 9), st.integers(1, 5))
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
def test_logits_loss_and_gradients_match_torch_nn(context_length, d_model, d_ff, vocab_size, batch):
    config = ModelConfig(context_length=context_length, d_model=d_model, d_ff=d_ff)
    model = random_model(config, vocab_size, seed=batch)
    oracle = oracle_of(model, vocab_size)
    ids = torch.randint(vocab_size, (batch, context_length))
    targets = torch.randint(vocab_size, (batch,))
    torch.testing.assert_close(model(ids), oracle(ids), rtol=1e-12, atol=1e-12)
    loss, expected = cross_entropy(model(ids), targets), torch.nn.functional.cross_entropy(oracle(ids), targets)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    expected.backward()
    for ours, theirs in zip(model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-11, atol=1e-12)


def test_dropout_matches_torch_nn_with_the_same_seed():
    model = random_model(ModelConfig(dropout=0.5), 11, seed=0).train()
    oracle, ids = oracle_of(model, 11).train(), torch.randint(11, (64, 8))
    torch.manual_seed(1)
    ours = model(ids)
    torch.manual_seed(1)
    torch.testing.assert_close(ours, oracle(ids), rtol=1e-12, atol=1e-12)
    assert not torch.equal(ours, model.eval()(ids))


def test_adamw_matches_torch_optim():
    model = random_model(ModelConfig(d_model=3, d_ff=5), 7, seed=0)
    oracle = oracle_of(model, 7)
    groups = [
        {"params": [p for p in oracle.parameters() if p.dim() >= 2], "weight_decay": 0.3},
        {"params": [p for p in oracle.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    ours, theirs = AdamW(model, weight_decay=0.3), torch.optim.AdamW(groups, lr=0.1)
    ids, targets = torch.randint(7, (9, 8)), torch.randint(7, (9,))
    for number in range(1, 6):
        for module in (model, oracle):
            module.zero_grad()
            torch.nn.functional.cross_entropy(module(ids), targets).backward()
        ours.step(number, 0.1)
        theirs.step()
    for one, other in zip(model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_first_loss_is_the_logarithm_of_the_vocabulary_size():
    logits = Model(ModelConfig(), 29)(torch.randint(29, (4, 8)))
    assert cross_entropy(logits, torch.randint(29, (4,))).item() == pytest.approx(torch.tensor(29.0).log().item())


def test_low_precision_logits_give_a_float32_loss():
    logits = torch.randn(8, 50, dtype=torch.bfloat16)
    targets = torch.randint(50, (8,))
    expected = torch.nn.functional.cross_entropy(logits.float(), targets)
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
