"""Training learns, resumes exactly, and does not depend on how a batch is divided."""

import json

import pytest
import torch
from transformer_torch import TrainConfig, Trainer, Transformer, TransformerConfig
from transformer_torch._common.errors import DivergenceError
from transformer_torch._common.muon import orthogonalize
from transformer_torch._common.tensors import read_tensors
from transformer_torch.loss import LabelSmoothing
from transformer_torch.training import fused_loss
from transformer_torch.training.averaging import RunningMean
from transformer_torch.training.trainer import SummedLoss

CPU = {"device": "cpu", "dtype": "float32", "warmup_steps": 20}
PAIRS = [([4 + (i * k) % 9 for k in range(1, 2 + i % 5)] + [2], [1, 4 + i % 9, 4 + i % 7, 2]) for i in range(40)]


def model_of(dropout=0.0, dtype=torch.float32, **options):
    torch.manual_seed(7)
    config = TransformerConfig(13, 16, 2, 1, 32, dropout, max_length=16, **options)
    return Transformer(config).to(dtype)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_one_batch_is_memorized(optimizer):
    model = model_of()
    config = TrainConfig(200, 10_000, label_smoothing=0.0, lr_scale=0.3, optimizer=optimizer, **CPU)
    trainer = Trainer(model, config, PAIRS[:6])
    losses = [trainer.step([list(range(6))])["loss"] for _ in range(200)]
    assert losses[0] > 2
    assert losses[-1] < 0.02


def test_every_process_has_dropout_masks_of_its_own(monkeypatch):
    masks = []
    for rank in range(3):
        monkeypatch.setattr("transformer_torch.training.trainer.rank_and_world", lambda rank=rank: (rank, 1))
        Trainer(model_of(0.5), TrainConfig(10, 60, **CPU), PAIRS)
        masks.append(tuple(torch.nn.functional.dropout(torch.ones(100), 0.5).tolist()))
    assert len(set(masks)) == 3


def losses_of(trainer):
    seen = []
    trainer.fit(lambda metrics: seen.append((metrics["step"], metrics["loss"], metrics.get("val_loss"))))
    return seen


@pytest.mark.parametrize(
    "options",
    [{"average": 3, "average_every": 2}, {"patience": 50}, {"grad_clip": 0.5, "accumulate": 2}, {"optimizer": "muon"}],
)
def test_resumed_run_matches_uninterrupted_run_bit_for_bit(tmp_path, options):
    config = TrainConfig(12, 60, eval_every=4, **CPU, **options)
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    for folder in (whole, first):
        folder.mkdir()
    straight = Trainer(model_of(0.2), config, PAIRS, PAIRS[:5], whole)
    expected = losses_of(straight)
    started = Trainer(model_of(0.2), config, PAIRS, PAIRS[:5], first)
    started.fit(stopping=lambda: started.progress.step == 9)  # after the checkpoint of step 8, within an epoch
    assert started.interrupted
    first.rename(second)
    torch.manual_seed(99)
    resumed = Trainer(model_of(0.2), config, PAIRS, PAIRS[:5], second)
    resumed.load()
    assert losses_of(resumed) == expected[9:]
    ours, theirs = (read_tensors(f / "model.safetensors")[0] for f in (second, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    lines = [json.loads(line)["step"] for line in (second / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 13))


def test_pairs_that_change_with_the_epoch_are_resumed(tmp_path):
    config = TrainConfig(9, 100, eval_every=4, **CPU)
    asked = []

    def resample(epoch):
        asked.append(epoch)
        return [([*src[:-1], 4 + epoch, 2], tgt) for src, tgt in PAIRS]

    def trainer():
        return Trainer(model_of(0.2), config, PAIRS, PAIRS[:5], tmp_path, resample)

    expected = losses_of(trainer())
    assert asked == list(range(len(asked)))
    assert len(asked) > 2
    started = trainer()
    started.fit(stopping=lambda: started.progress.step == 5)
    resumed = trainer()
    resumed.load()
    assert losses_of(resumed) == expected[5:]
    fixed = losses_of(Trainer(model_of(0.2), config, PAIRS, PAIRS[:5]))
    assert fixed != expected


def gradients_after(batches):
    model = model_of(dtype=torch.float64)
    trainer = Trainer(model, TrainConfig(10, 60, **CPU), PAIRS)
    kept = {}
    trainer.optimizers[0].step = lambda: kept.update({n: p.grad.clone() for n, p in model.named_parameters()})
    metrics = trainer.step(batches)
    return metrics["smoothed_loss"], kept


def test_accumulated_gradients_match_those_of_the_large_batch():
    """The batches have different numbers of tokens, so a mean of means would be another gradient."""
    loss, whole = gradients_after([list(range(10))])
    loss_of_parts, parts = gradients_after([[0], [1, 2, 3, 4, 5, 6], [7, 8, 9]])
    assert abs(loss - loss_of_parts) < 1e-6
    assert all((whole[name] - parts[name]).abs().max() < 1e-12 for name in whole)


def test_gradient_is_that_of_the_mean_over_target_tokens():
    _, found = gradients_after([[0, 3, 4]])
    model = model_of(dtype=torch.float64)
    trainer = Trainer(model, TrainConfig(10, 60, **CPU), PAIRS)
    src, tgt = trainer.tensors([0, 3, 4])
    LabelSmoothing(0.1)(model(src, tgt[:, :-1]), tgt[:, 1:]).backward()
    assert all((found[n] - p.grad).abs().max() < 1e-12 for n, p in model.named_parameters())


def test_learning_rate_changes_once_per_step_with_accumulation():
    config = TrainConfig(10, 60, accumulate=3, **CPU)
    seen = []
    trainer = Trainer(model_of(), config, PAIRS)
    trainer.fit(lambda metrics: seen.append(metrics["lr"]))
    assert seen == [trainer.schedule(step) for step in range(1, 11)]
    (adam,) = (optimizer.defaults for optimizer in trainer.optimizers)
    assert (adam["betas"], adam["eps"]) == ((0.9, 0.98), 1e-9)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3)])
def test_orthogonalize_keeps_singular_vectors_and_equalizes_singular_values(shape):
    g = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u, s, vt = torch.linalg.svd(g, full_matrices=False)
    assert (s[:, 0] / s[:, -1]).max() > 1.5  # there is something to do
    values = u.mT @ orthogonalize(g, steps=8, dtype=torch.float64) @ vt.mT
    diagonal = values.diagonal(dim1=-2, dim2=-1)
    assert (values - diagonal.diag_embed()).abs().max() < 1e-10
    assert 0.65 < diagonal.min() <= diagonal.max() < 1.25
    as_trained = torch.linalg.svdvals(orthogonalize(torch.randn(4, 20, 50, generator=torch.Generator().manual_seed(1))))
    assert 0.6 < as_trained.min() <= as_trained.max() < 1.3


def test_state_of_another_optimizer_is_refused(tmp_path):
    trainer = Trainer(model_of(), TrainConfig(4, 60, **CPU), PAIRS, out=tmp_path)
    trainer.step([[0, 1, 2]])
    trainer.save()
    other = Trainer(model_of(), TrainConfig(4, 60, optimizer="muon", **CPU), PAIRS, out=tmp_path)
    with pytest.raises(ValueError, match="not the state of `optimizer` = 'muon'"):
        other.load()


def test_early_stopping_keeps_the_best_model(tmp_path):
    config = TrainConfig(400, 200, lr_scale=8.0, eval_every=5, patience=3, **CPU)
    valid = [([5, 6, 2], [1, 12, 11, 2])]
    trainer = Trainer(model_of(), config, PAIRS, valid, tmp_path)
    seen = []
    model = trainer.fit(lambda m: seen.append(m["val_loss"]) if "val_loss" in m else None)
    assert trainer.progress.step < 400
    assert len(seen) - seen.index(min(seen)) == 4
    assert trainer.evaluate() == pytest.approx(min(seen), abs=1e-6)
    saved, _ = read_tensors(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[n], p) for n, p in model.state_dict().items())


def test_the_running_mean_is_the_mean():
    mean = RunningMean()
    for values in ([1.0, 2.0], [3.0, 6.0], [8.0, 1.0]):
        mean.add({"w": torch.tensor(values)})
    assert mean.mean()["w"].tolist() == [4.0, 3.0]
    with pytest.raises(ValueError, match="of one model"):
        mean.add({"v": torch.tensor([1.0])})


def test_averaging_uses_the_last_snapshots():
    config = TrainConfig(10, 60, average=3, average_every=2, eval_every=10, **CPU)
    trainer = Trainer(model_of(), config, PAIRS)
    kept = {}
    trainer.fit(lambda metrics: kept.update({metrics["step"]: trainer.weights()}))
    for name, tensor in trainer.model.state_dict().items():
        expected = torch.stack([kept[step][name].double() for step in (6, 8, 10)]).mean(0)
        assert (tensor - expected).abs().max() < 1e-7


def test_a_full_disk_while_saving_loses_nothing(tmp_path, monkeypatch):
    trainer = Trainer(model_of(), TrainConfig(4, 60, **CPU), PAIRS, out=tmp_path)
    trainer.save()
    before = (tmp_path / "model.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformer_torch._common.atomic.os.fsync", full)
    trainer.step([[0, 1, 2]])
    with pytest.raises(OSError, match="No space left"):
        trainer.save()
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "training_state.safetensors"]


def test_a_checkpoint_of_another_size_is_named(tmp_path):
    Trainer(model_of(), TrainConfig(4, 60, **CPU), PAIRS, out=tmp_path).save()
    other = Transformer(TransformerConfig(13, 8, 2, 1, 32, max_length=16))
    with pytest.raises(ValueError, match=r"tensor decoder.0.* must have shape \(8,\), got \(16,\)"):
        Trainer(other, TrainConfig(4, 60, **CPU), PAIRS, out=tmp_path).load()


def test_validation_counts_every_token_once_without_smoothing():
    model = model_of(0.5)
    trainer = Trainer(model, TrainConfig(4, 20, **CPU), PAIRS, PAIRS[:11])
    found = trainer.evaluate()
    src, tgt = trainer.tensors(range(11))
    with torch.no_grad():
        loss, _ = SummedLoss(model.eval(), LabelSmoothing(0.0, reduction="sum"))(src, tgt)
    assert found == pytest.approx(float(loss) / sum(len(t) - 1 for _, t in PAIRS[:11]), abs=1e-5)


def test_nan_stops_the_run_with_its_step_and_keeps_the_checkpoint(tmp_path):
    trainer = Trainer(model_of(), TrainConfig(50, 60, eval_every=5, lr_scale=1e30, **CPU), PAIRS, PAIRS[:5], tmp_path)
    with pytest.raises(DivergenceError, match=r"(NaN|infinite) at step \d+\. No checkpoint was written\. Lower"):
        trainer.fit()
    assert not (tmp_path / "model.safetensors").exists()
    good = Trainer(model_of(), TrainConfig(50, 60, eval_every=5, **CPU), PAIRS, PAIRS[:5], tmp_path)

    def spoil(metrics):
        if metrics["step"] == 7:
            good.model.embedding.weight.data[5] = float("nan")

    with pytest.raises(DivergenceError, match=r"loss became NaN at step 8\. The checkpoint of step 5 is kept"):
        good.fit(spoil)
    saved, _ = read_tensors(tmp_path / "model.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in saved.values())
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    trainer = Trainer(model_of(), TrainConfig(4, 60, **CPU), PAIRS, out=tmp_path)
    trainer.model.embedding.weight.data[5] = float("inf")
    with pytest.raises(DivergenceError, match="a weight became NaN or infinite at step 0"):
        trainer.save()
    assert not list(tmp_path.iterdir())


def test_a_state_saved_on_a_cpu_needs_no_state_of_a_gpu(tmp_path):
    started = Trainer(model_of(), TrainConfig(4, 60, **CPU), PAIRS, out=tmp_path)
    started.step([[0, 1]])
    started.save()
    trainer = Trainer(model_of(), TrainConfig(4, 60, **CPU), PAIRS, out=tmp_path)
    trainer.device = torch.device("cuda")  # as on another machine; nothing is computed
    trainer.load()
    assert trainer.progress.step == 1


def test_evaluation_computes_no_gradients(monkeypatch):
    trainer = Trainer(model_of(), TrainConfig(4, 60, **CPU), PAIRS, PAIRS[:5])
    flags = []
    apply = fused_loss._ProjectedLoss.apply
    monkeypatch.setattr(fused_loss._ProjectedLoss, "apply", lambda *a: flags.append(a[-1]) or apply(*a))
    trainer.evaluate()
    assert flags
    assert not any(flags)
    trainer.step([[0, 1]])
    assert flags[-1]


def test_metrics_hold_comparable_losses():
    """`loss` is the cross-entropy, as `val_loss` is; the smoothed loss has a name of its own."""
    model = model_of()
    trainer = Trainer(model, TrainConfig(4, 60, **CPU), PAIRS)
    src, tgt = trainer.tensors([0, 1, 2])
    with torch.no_grad():
        logits = model(src, tgt[:, :-1])
    expected = [float(LabelSmoothing(eps)(logits, tgt[:, 1:])) for eps in (0.0, 0.1)]
    metrics = trainer.step([[0, 1, 2]])
    assert [metrics["loss"], metrics["smoothed_loss"]] == pytest.approx(expected, abs=1e-5)
