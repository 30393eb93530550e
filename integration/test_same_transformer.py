"""The Transformer in NumPy and the one in PyTorch: from the same weights the same outputs, gradients and training."""

import attention_numpy
import numpy as np
import pytest
import torch
import transformer_torch
from transformer_torch.pretrained.torch_convert import names_of

VOCAB, SMOOTHING = 13, 0.1


def pair(norm):
    """The same model in both packages, with the same weights, in float64."""
    sizes = {"d_model": 16, "n_heads": 4, "n_layers": 2, "d_ff": 32, "dropout": 0.0, "norm": norm}
    config = attention_numpy.TransformerConfig(src_vocab_size=VOCAB, tgt_vocab_size=VOCAB, tie_embeddings=True, **sizes)
    ours = attention_numpy.Transformer(config, seed=3, dtype=np.float64)
    theirs = transformer_torch.Transformer(transformer_torch.TransformerConfig(vocab_size=VOCAB, **sizes)).double()
    names = {**names_of(theirs.config), "embedding.weight": "src_embed.weight"}
    state = ours.state_dict()
    assert not state["generator.bias"].any()  # section 3.4 of the paper has no bias here, nor has the PyTorch package
    theirs.load_state_dict({name: torch.tensor(state[other]) for name, other in names.items()}, strict=False)
    assert {name for name, _ in theirs.named_parameters()} == set(names)
    return ours, theirs, names


def batch(generator):
    """Source and target ids with padding of different lengths."""
    src, tgt = generator.integers(3, VOCAB, (4, 6)), generator.integers(3, VOCAB, (4, 8))
    for row in range(4):
        src[row, 6 - row :] = 0
        tgt[row, 8 - row :] = 0
    return src, tgt


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_outputs_gradients_and_ten_training_steps_agree(norm):
    ours, theirs, names = pair(norm)
    generator = np.random.default_rng(0)
    schedule = {"d_model": 16, "warmup_steps": 5}
    adam = attention_numpy.Adam(
        ours.parameters(), betas=(0.9, 0.98), eps=1e-9, schedule=attention_numpy.noam(**schedule)
    )
    noam = transformer_torch.NoamSchedule(**schedule)
    their_adam = torch.optim.Adam(theirs.parameters(), betas=(0.9, 0.98), eps=1e-9)
    their_loss = transformer_torch.LabelSmoothing(SMOOTHING, mode="torch", pad_id=0)
    for step in range(1, 11):
        src, tgt = batch(generator)
        logits = ours(src, tgt[:, :-1])
        loss, dlogits = attention_numpy.cross_entropy(logits, tgt[:, 1:], label_smoothing=SMOOTHING, ignore_index=0)
        ours.backward(dlogits)
        other_logits = theirs(torch.tensor(src), torch.tensor(tgt[:, :-1]))
        other_loss = their_loss(other_logits, torch.tensor(tgt[:, 1:]))
        other_loss.backward()
        real = tgt[:, :-1] != 0  # outputs at padding count nowhere
        assert np.abs(logits - other_logits.detach().numpy())[real].max() < 1e-9
        assert loss == pytest.approx(other_loss.item(), rel=1e-10)
        gradients = ours.grad_dict()
        for name, parameter in theirs.named_parameters():
            assert np.abs(gradients[names[name]] - parameter.grad.numpy()).max() < 1e-9, (step, name)

        adam.step()
        ours.generator.bias.data[...] = 0  # not trained: the other model has none
        for group in their_adam.param_groups:
            group["lr"] = noam(step)
        their_adam.step()
        adam.zero_grad()
        their_adam.zero_grad()
    assert loss < 2.5  # below ln 13 = 2.56: the model has learned
