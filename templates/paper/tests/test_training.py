"""The model learns, and a run is exact: the same seed gives the same run."""
# Replace: the sizes at which your model overfits one batch within seconds.

from pathlib import Path

import pytest
import torch
from MODULE import CharTokenizer, Model, ModelConfig, TrainConfig, Trainer, synthetic_text
from MODULE._common.errors import DivergenceError
from MODULE.data import make_examples
from MODULE.train import _resumed_settings, mean_loss


def trainer(text="the fox\nan owl\n", dropout=0.0, **settings):
    tokenizer = CharTokenizer.from_text(text)
    examples = make_examples(tokenizer.encode(text), 8)
    torch.manual_seed(0)
    model = Model(ModelConfig(dropout=dropout), tokenizer.vocab_size)
    return Trainer(model, TrainConfig(**settings), examples, examples)


def test_it_overfits_one_batch():
    made = trainer(steps=150)
    for _ in range(150):
        made.step()
    assert made.evaluate() < 0.1  # the first letter of a line stays uncertain: log(2) / 8 per character


def test_it_learns_the_embedded_text():
    made = trainer(synthetic_text(300), steps=200)
    before = made.evaluate()
    for _ in range(200):
        made.step()
    assert made.evaluate() < 0.4 * before


def test_a_loaded_checkpoint_continues_bit_for_bit(tmp_path):
    first = trainer(dropout=0.3, steps=20)
    for _ in range(7):
        first.step()
    first.save(tmp_path)
    second = trainer(dropout=0.3, steps=20)
    second.load(tmp_path)
    for _ in range(5):
        assert first.step() == second.step()
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_are_clipped():
    clipped, free = trainer(grad_clip=1e-4, steps=5), trainer(grad_clip=0.0, steps=5)
    assert clipped.step()["grad_norm"] == free.step()["grad_norm"]
    norms = [torch.cat([p.grad.flatten() for p in made.model.parameters()]).norm().item() for made in (clipped, free)]
    assert norms[0] == pytest.approx(1e-4, rel=0.02)
    assert norms[1] > 1e-2


def test_evaluation_disables_dropout_and_weights_every_example_alike():
    made = trainer(synthetic_text(150), dropout=0.5)
    torch.nn.init.normal_(made.model.output_weight)
    assert len(made.val[1]) > 4096  # more than one chunk
    losses = [mean_loss(made.model, made.val) for _ in range(2)]
    assert losses[0] == losses[1]
    each = torch.nn.functional.cross_entropy(made.model(made.val[0]), made.val[1])
    assert losses[0] == pytest.approx(each.item(), rel=1e-5)


def test_an_interrupted_extension_is_resumed_and_not_repeated():
    saved = {"train": {"steps": 7, "lr": 0.1}, "extended": {"from": 4, "by": 3}}

    def resumed(extend, step):
        now = {"train": {"steps": 4, "lr": 0.1}}  # the command still names the first number of steps
        return _resumed_settings(saved, now, extend, step, Path("run"))

    assert resumed(extend=3, step=5) == resumed(extend=None, step=5) == saved
    assert resumed(extend=3, step=7) == {"train": {"steps": 10, "lr": 0.1}, "extended": {"from": 4, "by": 3}}
    with pytest.raises(ValueError, match=r"^`extend` must be used on a finished run; run is at step 5 of 7"):
        resumed(extend=2, step=5)


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    made = trainer()
    made.step()
    made.save(tmp_path)
    before = (tmp_path / "training_state.safetensors").read_bytes()
    made.model.hidden_bias.data[0] = float("nan")
    with pytest.raises(DivergenceError, match="step 1"):
        made.save(tmp_path)
    with pytest.raises(DivergenceError, match=r"NaN at step 2\. The checkpoint of step 1 is kept"):
        made.step()
    with pytest.raises(DivergenceError, match="validation loss became NaN"):
        made.evaluate()
    assert (tmp_path / "training_state.safetensors").read_bytes() == before
