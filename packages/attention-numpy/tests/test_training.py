"""Training learns, resumes bit for bit, and its files belong together."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from attention_numpy import (
    RECIPES,
    Adam,
    DataConfig,
    ModelConfig,
    TrainConfig,
    Trainer,
    Transformer,
    TransformerConfig,
    clip_gradients,
    cross_entropy,
    load_run,
    read_safetensors,
    write_safetensors,
)
from attention_numpy._common.errors import DivergenceError
from attention_numpy.layers import new_rng

SIZES = ModelConfig(d_model=16, d_ff=32, n_layers=1, dropout=0.1)
TRAIN = TrainConfig(steps=12, batch_size=8, warmup_steps=4, eval_every=5, eval_count=10)
COPY = DataConfig(task="copy")


def tiny(train=TRAIN, data=COPY, sizes=SIZES):
    return Trainer(sizes, train, data)


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
    assert model.generate(src, bos_id=1, eos_id=2, max_new_tokens=7) == tgt[:, 1:].tolist()


def test_a_task_is_learned_on_held_out_inputs(tmp_path):
    train = TrainConfig(steps=120, batch_size=32, warmup_steps=20, lr=5e-3, eval_count=100)
    trainer = Trainer(ModelConfig(d_model=32, d_ff=64, n_layers=1), train, DataConfig(task="number-digits"))
    before = trainer.evaluate()
    after = trainer.fit(tmp_path)
    assert before["exact_match"] == 0
    assert after["val_loss"] < 0.35 * before["val_loss"]


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_times(metrics):
    return [[m.get(key) for key in ("step", "tokens", "loss", "lr", "grad_norm", "val_loss")] for m in metrics]


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(tmp_path):
    curves = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tiny(replace(TRAIN, seed=seed)).fit(tmp_path / name)
        curves.append(without_times(lines(tmp_path / name)))
    assert curves[0] == curves[1] != curves[2]


def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 60, encoding="utf-8")
    return path


def data_of(kind, tmp_path):
    return COPY if kind == "task" else DataConfig(task="text", text=text_file(tmp_path), context_length=16)


@pytest.mark.parametrize("kind", ["task", "text"])
@pytest.mark.parametrize("stop", [0, 5, 7, 11])
def test_a_resumed_run_matches_the_uninterrupted_run_bit_for_bit(kind, stop, tmp_path):
    data = data_of(kind, tmp_path)
    whole = tiny(data=data)
    whole.fit(tmp_path / "whole")
    first = tiny(data=data)
    first.fit(tmp_path / "parts", should_stop=lambda: first.step_number == stop)
    second = tiny(data=data)
    second.load(tmp_path / "parts")
    assert second.step_number == stop
    second.fit(tmp_path / "parts")
    np.testing.assert_array_equal(second.model.parameters().data, whole.model.parameters().data)
    assert without_times(lines(tmp_path / "parts")) == without_times(lines(tmp_path / "whole"))


@pytest.mark.parametrize("place", ["forward", "backward", "optimizer", "evaluation", "batch"])
def test_an_exception_inside_a_step_leaves_the_last_checkpoint_and_it_resumes_bit_for_bit(place, tmp_path, monkeypatch):
    whole = tiny()
    whole.fit(tmp_path / "whole")
    first = tiny()
    owner, name = {
        "forward": (first.model.decoder.layers[0].feed_forward.linear2, "forward"),
        "backward": (first.model.encoder.layers[0].self_attn, "backward"),
        "optimizer": (first.optimizer, "_update"),
        "evaluation": (first, "evaluate"),
        "batch": (first.source, "batch"),
    }[place]
    method = getattr(owner, name)

    def interrupted(*arguments, **keywords):
        result = method(*arguments, **keywords)
        if first.step_number >= 8:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path / "parts")
    monkeypatch.undo()
    second = tiny()
    second.load(tmp_path / "parts")
    assert second.step_number == 5
    second.fit(tmp_path / "parts")
    np.testing.assert_array_equal(second.model.parameters().data, whole.model.parameters().data)
    assert without_times(lines(tmp_path / "parts")) == without_times(lines(tmp_path / "whole"))


def test_another_configuration_is_not_resumed(tmp_path):
    tiny().fit(tmp_path)
    with pytest.raises(ValueError, match=r"`seed` must be 0 to resume .*, got 3"):
        tiny(replace(TRAIN, seed=3)).load(tmp_path)
    (tmp_path / "config.json").write_text('{"nonsense": 1}')
    with pytest.raises(ValueError, match=r"config\.json: `model` must be a JSON object"):
        tiny().load(tmp_path)


def test_a_folder_with_a_run_is_not_overwritten_by_accident(tmp_path):
    tiny().fit(tmp_path)
    with pytest.raises(ValueError, match="holds a run"):
        tiny().fit(tmp_path)
    tiny().fit(tmp_path, overwrite=True)


def test_a_finished_run_is_loaded_and_gives_the_same_outputs(tmp_path):
    trainer = tiny()
    trainer.fit(tmp_path)
    run = load_run(tmp_path)
    source = run.tokenizer.encode("hello")
    assert run.model.generate(source) == trainer.model.generate(source)
    with pytest.raises(ValueError, match=r"config\.json: not found"):
        load_run(tmp_path / "nowhere")


def test_a_language_model_learns_a_text_and_no_longer_needs_the_file(tmp_path):
    path = text_file(tmp_path)
    sizes = ModelConfig(d_model=32, d_ff=64, n_layers=1, norm="pre")
    train = TrainConfig(steps=80, batch_size=16, eval_count=4)
    trainer = Trainer(sizes, train, DataConfig(task="text", text=path, context_length=24))
    before = trainer.evaluate()["val_loss"]
    after = trainer.fit(tmp_path / "run")["val_loss"]
    assert before > 3
    assert after < 0.7
    path.unlink()
    run = load_run(tmp_path / "run")
    ids = run.model.generate(run.tokenizer.encode("the qu"), 9, temperature=0)
    assert run.tokenizer.decode(ids) == "ick brown"
    with pytest.raises(ValueError, match="got 'Z'"):
        run.tokenizer.encode("Z")
    with pytest.raises(ValueError, match="does not translate"):
        run.translate("the")


def test_a_text_that_is_too_short_is_refused(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("too short")
    with pytest.raises(ValueError, match=r"short\.txt: must have more than 650 characters .*, got 9"):
        tiny(data=DataConfig(task="text", text=path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(steps=0), "`steps` must be an integer of at least 1, got 0"),
        (lambda: TrainConfig(steps=2.5), "`steps` must be an integer of at least 1, got 2.5"),
        (lambda: TrainConfig(batch_size="3"), "`batch_size` must be an integer of at least 1, got '3'"),
        (lambda: TrainConfig(seed=True), "`seed` must be an integer from 0 to .*, got True"),
        (lambda: TrainConfig(seed=-1), "`seed` must be an integer from 0 to .*, got -1"),
        (lambda: TrainConfig(lr=-1.0), "`lr` must be a finite number of at least 0, got -1.0"),
        (lambda: TrainConfig(lr=float("nan")), "`lr` must be a finite number of at least 0, got nan"),
        (lambda: TrainConfig(grad_clip=float("inf")), "`grad_clip` must be a finite number of at least 0, got inf"),
        (lambda: TrainConfig(schedule="wsd"), "`schedule` must be one of linear, cosine, noam, got 'wsd'"),
        (lambda: DataConfig(text="x"), "`text` must be left out with task number-words, got 'x'"),
        (lambda: DataConfig(sum_reversed=1), "`sum_reversed` must be True or False, got 1"),
        (lambda: ModelConfig(dropout=1.0), r"`dropout` must be in \[0, 1\), got 1.0"),
        (lambda: tiny(data=DataConfig(task="text")), "`text` must be the path of a text file, got none"),
        (lambda: tiny(data=DataConfig(task="addition", digits=1)), "`eval_count` must be at most 2, .*, got 10"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("digits", "count"), [(1, 2), (2, 492)])
def test_a_task_with_few_held_out_inputs_counts_them_instead_of_hanging(digits, count):
    task = tiny(replace(TRAIN, eval_count=2), DataConfig(task="addition", digits=digits)).source.tokenizer
    assert len(task.held_out_pairs(new_rng(1), count)) == count
    with pytest.raises(ValueError, match=f"at most {count}"):
        task.held_out_pairs(new_rng(1), count + 1)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "noam"])
def test_every_schedule_can_be_chosen(schedule):
    trainer = tiny(replace(TRAIN, schedule=schedule, lr=0.1, lr_scale=2.0))
    trainer.step()
    assert trainer.optimizer.lr == pytest.approx(2 * 16**-0.5 * 4**-1.5 if schedule == "noam" else 0.1 / 4)


def test_gradient_clipping_can_be_disabled():
    norms = {clip: tiny(replace(TRAIN, grad_clip=clip)).step()["grad_norm"] for clip in (0.0, 0.5)}
    assert norms[0.0] == norms[0.5] > 0.5, "the norm before clipping"


def test_all_recipes_are_named_and_can_start(tmp_path):
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        data = replace(recipe.data, text=text_file(tmp_path)) if name == "text" else recipe.data
        assert Trainer(recipe.model, replace(recipe.train, eval_count=5), data).step_number == 0


@pytest.mark.parametrize("what", ["loss", "gradient norm", "validation loss"])
def test_divergence_stops_the_run_and_keeps_the_last_checkpoint(what, tmp_path):
    trainer = tiny()

    def poison(metrics):
        if metrics["step"] == 7:
            bias = trainer.model.generator.bias
            if what == "loss":
                bias.data[0] = np.nan
            elif what == "validation loss":
                trainer.evaluate = lambda: {"val_loss": float("nan"), "exact_match": 0.0}
            else:
                backward = trainer.model.backward
                trainer.model.backward = lambda dy: (backward(dy), trainer.model.generator.bias.grad.fill(np.inf))

    with pytest.raises(
        DivergenceError, match=rf"{what} became (NaN|infinite) at step \d+\. The checkpoint of step 5 is"
    ):
        trainer.fit(tmp_path, on_step=poison)
    assert read_safetensors(tmp_path / "model.safetensors")[1]["step"] == "5"
    assert load_run(tmp_path).translate("abc") is not None


# ------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "training_state.safetensors"])
def test_a_file_of_another_run_is_refused(name, tmp_path):
    tiny().fit(tmp_path / "a")
    data = DataConfig(task="addition", digits=4) if name in ("config.json", "tokenizer.json") else COPY
    tiny(replace(TRAIN, seed=1), data).fit(tmp_path / "b")
    (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    if name != "training_state.safetensors":
        with pytest.raises(ValueError, match=r"belong"):
            load_run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"belong|to resume"):
        tiny().load(tmp_path / "a")


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("model", "d_model", "64", "`d_model` must be an integer of at least 1, got '64'"),
        ("model", "dropout", None, r"`dropout` must be in \[0, 1\), got None"),
        ("train", "steps", 1.5, "`steps` must be an integer"),
        ("data", "task", 5, "`task` must be one of"),
        ("data", "text", 5, "`text` must be a path, got 5"),
        ("train", "banana", 5, "`banana` is not known to this version"),
    ],
)
def test_a_damaged_configuration_is_one_clear_error(group, key, value, message, tmp_path):
    tiny().fit(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[group][key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"config\.json: {group}: {message}"):
        load_run(tmp_path)


ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.c": np.array(2.5), "n": np.array([], np.int64)}
ARRAYS |= {"half": np.array([0.5, -65504], np.float16)}


def test_safetensors_files_are_exchanged_with_the_reference_implementation(tmp_path):
    write_safetensors(tmp_path / "ours", ARRAYS, {"note": "ä"})
    theirs = safetensors.numpy.load_file(tmp_path / "ours")
    safetensors.numpy.save_file(ARRAYS, tmp_path / "theirs", metadata={"note": "ä"})
    ours, metadata = read_safetensors(tmp_path / "theirs")
    assert metadata == {"note": "ä"}
    for found in (theirs, ours):
        assert set(found) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    assert [p.name for p in tmp_path.glob(".*")] == [], "nothing temporary is left"


def framed(header):
    text = header.encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b[:-3],
        lambda b: b + b"123",
        lambda b: b[:20],
        lambda b: b"",
        lambda b: b"\xff" * 64,
        lambda b: framed("[" * 5000 + "]" * 5000),
        lambda b: framed('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, true]}}'),
        lambda b: framed('{"a": {"dtype": "BF16", "shape": [0], "data_offsets": [0, 0]}}'),
        lambda b: framed('{"a": 5}'),
        lambda b: framed("[1]"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(spoil, tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, ARRAYS)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"x\.safetensors: not a safetensors file"):
        read_safetensors(path)


def test_an_array_that_the_format_lacks_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="complex128"):
        write_safetensors(tmp_path / "x", {"a": np.zeros(2, complex)})
    assert not any(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------- memory


def saved_bytes(model):
    """Bytes of everything that is saved for backward, each buffer once."""
    buffers = {}
    for _, module in model.named_modules():
        for values in module._saved:
            for value in values:
                while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
                    value = value.base
                if isinstance(value, np.ndarray):
                    buffers[id(value)] = value.nbytes
    return sum(buffers.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_step_allocates_at_most_half_again_what_it_must_save(dropout):
    model = Transformer(TransformerConfig(100, 100, 64, 4, 2, 256, dropout), seed=0)
    optimizer = Adam(model.parameters())
    rng = np.random.default_rng(0)
    src, tgt = rng.integers(1, 100, (16, 24)), rng.integers(1, 100, (16, 25))

    def step(measure=lambda: None):
        logits = model(src, tgt[:, :-1])
        saved = measure()
        _, dlogits = cross_entropy(logits, tgt[:, 1:], label_smoothing=0.1, ignore_index=0)
        model.backward(dlogits)
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return saved

    step()
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        saved = step(lambda: saved_bytes(model))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert saved > 4_000_000
    assert peak - start <= 1.5 * saved
