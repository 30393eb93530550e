"""Equal to torch.nn.Transformer and torch's autograd in float64: logits, loss and every gradient."""

import numpy as np
from attention_numpy import Transformer, TransformerConfig, cross_entropy
from hypothesis import given, settings
from hypothesis import strategies as st

TOLERANCE = 1e-11


@st.composite
def cases(draw):
    """A small model of any kind, and a batch with padding anywhere but at the first position."""
    n_heads = draw(st.integers(1, 4))
    d_model = n_heads * draw(st.integers(4, 9))
    tie = draw(st.booleans())
    src_vocab = draw(st.integers(4, 12))
    config = TransformerConfig(
        src_vocab=src_vocab,
        tgt_vocab=src_vocab if tie else draw(st.integers(4, 12)),
        d_model=d_model,
        n_heads=n_heads,
        n_layers=draw(st.integers(1, 3)),
        d_ff=draw(st.integers(1, 17)),
        dropout=0.0,
        norm=draw(st.sampled_from(["post", "pre"])),
        final_norm=draw(st.booleans()),
        tie_embeddings=tie,
    )
    shape = [draw(st.integers(1, high)) for high in (4, 7, 7)]
    return config, shape, draw(st.sampled_from(["none", "ragged", "anywhere"])), draw(st.integers(0, 2**32 - 1))


def batch(config, shape, padding, rng):
    """src, target inputs and targets, padded in the way asked for."""
    size, m, n = shape
    src, tgt = rng.integers(1, config.src_vocab, (size, m)), rng.integers(1, config.tgt_vocab, (size, n + 1))
    for ids in (src, tgt):
        for row in ids:
            if padding == "ragged":
                row[rng.integers(1, len(row) + 1) :] = config.pad
            elif padding == "anywhere":
                row[1:][rng.random(len(row) - 1) < 0.3] = config.pad
    tgt[0, 1] = 1  # at least one target counts
    return src, tgt[:, :-1], tgt[:, 1:]


def perturbed(config, rng, dtype=np.float64):
    """A model with every bias and gain away from its default."""
    model = Transformer(config, seed=int(rng.integers(1000)), dtype=dtype)
    model.parameters().data += rng.normal(0, 0.2, len(model.parameters()))
    return model


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases(), st.sampled_from([0.0, 0.1, 0.4]))
def test_logits_loss_and_every_gradient_equal_torchs(oracle, relative_error, case, label_smoothing):
    config, shape, padding, seed = case
    rng = np.random.default_rng(seed)
    model = perturbed(config, rng)
    src, tgt, targets = batch(config, shape, padding, rng)
    their_logits, their_loss, theirs = oracle(model).loss_and_gradients(src, tgt, targets, label_smoothing)

    logits = model(src, tgt)
    loss, dlogits = cross_entropy(logits, targets, label_smoothing=label_smoothing, ignore_index=config.pad)
    model.backward(dlogits)

    assert relative_error(logits, their_logits) <= TOLERANCE
    assert abs(loss - their_loss) <= TOLERANCE * abs(their_loss)
    ours = model.grad_dict()
    assert set(ours) == set(theirs)
    scale = max(np.abs(g).max() for g in theirs.values())
    for name, gradient in ours.items():
        assert relative_error(gradient, theirs[name], floor=1e-3 * scale) <= TOLERANCE, name
