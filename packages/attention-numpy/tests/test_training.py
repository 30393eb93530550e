"""Training learns, resumes bit for bit, and its files hold what they say."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from attention_numpy import Adam, Transformer, TransformerConfig, checkpoint, clip_gradients, cross_entropy
from attention_numpy.allocator import reuse_memory
from attention_numpy.training import TrainConfig, Trainer, load_run

TINY = TrainConfig(task="copy", steps=12, batch=8, warmup=4, d_model=16, d_ff=32, n_layers=1, dropout=0.1)


def test_one_batch_is_overfitted():
    rng = np.random.default_rng(0)
    src, tgt = rng.integers(3, 20, (8, 7)), rng.integers(3, 20, (8, 8))
    tgt[:, 0] = 1
    model = Transformer(TransformerConfig(20, 20, 32, 4, 1, 64, 0.0), seed=0)
    optimizer = Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(120):
        loss, dlogits = cross_entropy(model(src, tgt[:, :-1]), tgt[:, 1:])
        model.backward(dlogits)
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
    assert losses[0] > 2.5
    assert losses[-1] < 0.05
    assert model.generate(src, bos=1, eos=2, max_length=7) == tgt[:, 1:].tolist()


def test_a_task_is_learned_on_inputs_never_seen(tmp_path):
    config = TrainConfig(task="number-digits", steps=120, batch=32, warmup=20, lr=5e-3, d_model=32, d_ff=64, n_layers=1)
    trainer = Trainer(config)
    before = trainer.evaluate(100)
    after = trainer.run(tmp_path, eval_count=100)
    assert before["exact_match"] == 0
    assert after["val_loss"] < 0.35 * before["val_loss"]


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(tmp_path):
    curves = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer = Trainer(replace(TINY, seed=seed))
        trainer.run(tmp_path / name, eval_every=6, eval_count=10)
        curves.append([(m["step"], m["loss"], m["lr"], m.get("val_loss")) for m in trainer.curve])
    assert curves[0] == curves[1] != curves[2]


def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 60, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["task", "text"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(kind, tmp_path):
    config = TINY if kind == "task" else replace(TINY, task="text", text=text_file(tmp_path), length=16, norm="pre")
    whole = Trainer(config)
    whole.run(tmp_path / "whole", eval_every=5, eval_count=10)

    def stop_at_seven(metrics):
        if metrics["step"] == 7:
            raise KeyboardInterrupt

    first = Trainer(config)
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "parts", eval_every=5, eval_count=10, on_step=stop_at_seven)
    second = Trainer(config)
    second.restore(tmp_path / "parts")
    assert second.step_number == 7
    second.run(tmp_path / "parts", eval_every=5, eval_count=10)
    np.testing.assert_array_equal(second.model.parameters().data, whole.model.parameters().data)
    keys = ("step", "tokens", "loss", "lr", "val_loss")
    assert [[m.get(k) for k in keys] for m in second.curve] == [[m.get(k) for k in keys] for m in whole.curve]
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 13))


def test_another_configuration_is_not_resumed(tmp_path):
    Trainer(TINY).save(tmp_path)
    with pytest.raises(ValueError, match=r"resume: .* has another d_model, seed"):
        Trainer(replace(TINY, d_model=32, seed=3)).restore(tmp_path)
    (tmp_path / "config.json").write_text('{"nonsense": 1}')
    with pytest.raises(ValueError, match="no configuration of this version"):
        Trainer(TINY).restore(tmp_path)


def test_a_finished_run_is_loaded_and_gives_the_same_outputs(tmp_path):
    trainer = Trainer(TINY)
    trainer.run(tmp_path)
    run = load_run(tmp_path)
    source = run.objective.task.encode("hello")
    assert run.model.generate(source) == trainer.model.generate(source)
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_run(tmp_path / "nowhere")


def test_a_language_model_learns_a_text_and_needs_it_no_more(tmp_path):
    path = text_file(tmp_path)
    config = TrainConfig(
        task="text", text=path, steps=80, batch=16, length=24, d_model=32, d_ff=64, n_layers=1, norm="pre"
    )
    trainer = Trainer(config)
    before = trainer.evaluate(4)["val_loss"]
    after = trainer.run(tmp_path / "run", eval_count=4)["val_loss"]
    assert before > 3
    assert after < 0.7
    (tmp_path / "text.txt").unlink()
    run = load_run(tmp_path / "run")
    ids = run.model.generate(run.objective.encode("the qu"), 9, top_k=1)
    assert run.objective.decode(ids) == "ick brown"
    with pytest.raises(ValueError, match="'Z' does not occur"):
        run.objective.encode("Z")


def test_a_text_that_is_too_short_is_refused(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("too short")
    with pytest.raises(ValueError, match="9 characters met, more than 650"):
        Trainer(TrainConfig(task="text", text=str(path)))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "steps: 0"), ({"clip": 0.0}, "clip: 0.0"), ({"task": "text"}, "text: the task text needs a file")],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


def test_the_noam_schedule_can_be_chosen():
    trainer = Trainer(replace(TINY, schedule="noam", lr=1.0, warmup=4))
    trainer.step()
    assert trainer.optimizer.lr == pytest.approx(16**-0.5 * 4**-1.5)


# ------------------------------------------------------------------------------------------------------ files


ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.c": np.array(2.5), "n": np.array([], np.int64)}


def test_checkpoints_are_safetensors_both_ways(tmp_path):
    checkpoint.save(tmp_path / "ours", ARRAYS, {"note": "ä"})
    theirs = safetensors.numpy.load_file(tmp_path / "ours")
    safetensors.numpy.save_file(ARRAYS, tmp_path / "theirs", metadata={"note": "ä"})
    ours, metadata = checkpoint.load(tmp_path / "theirs")
    assert metadata == {"note": "ä"}
    for found in (theirs, ours):
        assert set(found) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    assert [p.name for p in tmp_path.glob(".*")] == [], "nothing temporary is left"


@pytest.mark.parametrize("spoil", [lambda b: b[:-3], lambda b: b[:20], lambda b: b"", lambda b: b"\xff" * 64])
def test_a_spoilt_checkpoint_is_refused(spoil, tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, ARRAYS)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="no safetensors file"):
        checkpoint.load(path)


def test_an_array_that_the_format_lacks_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="complex128"):
        checkpoint.save(tmp_path / "x", {"a": np.zeros(2, complex)})
    assert not any(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------- memory


def kept_bytes(model):
    """The memory of all that the stacks hold, each buffer once."""
    buffers = {}
    for _, layer in model.named_layers():
        for values in layer._stack:
            for value in values:
                while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
                    value = value.base
                if isinstance(value, np.ndarray):
                    buffers[id(value)] = value.nbytes
    return sum(buffers.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_step_allocates_at_most_half_again_what_it_must_keep(dropout):
    model = Transformer(TransformerConfig(100, 100, 64, 4, 2, 256, dropout), seed=0)
    optimizer = Adam(model.parameters())
    rng = np.random.default_rng(0)
    src, tgt = rng.integers(1, 100, (16, 24)), rng.integers(1, 100, (16, 25))

    def step(measure=lambda: None):
        logits = model(src, tgt[:, :-1])
        kept = measure()
        _, dlogits = cross_entropy(logits, tgt[:, 1:], label_smoothing=0.1, ignore_index=0)
        model.backward(dlogits)
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return kept

    step()
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        kept = step(lambda: kept_bytes(model))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept > 4_000_000
    assert peak - start <= 1.5 * kept


def test_memory_reuse_says_whether_it_could_be_set():
    assert isinstance(reuse_memory(), bool)
