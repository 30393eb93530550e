"""Bad settings, texts and files raise one clear ValueError, and nothing is written."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from lets_build_gpt import CharTokenizer, Model, ModelConfig, OptimConfig, TrainConfig, load_run, load_text
from lets_build_gpt.bigram import BigramModel, count_bigrams, fit_bigrams
from lets_build_gpt.checkpoint import load_model, save_weights
from lets_build_gpt.config import resolve_warmup
from lets_build_gpt.recipes import DEMO, RECIPES
from lets_build_gpt.run import train
from safetensors.torch import load_file, save_file

TEXT = "To be, or not to be, that is the question:\n" * 60
MODEL = ModelConfig(16, 32, 2, 2, tie_embeddings=True)
TRAIN = TrainConfig(batch_size=4, steps=6, eval_every=3, sample_tokens=5, device="cpu", dtype="float32")

INTEGERS = [
    (ModelConfig, "context_length"), (ModelConfig, "d_model"), (ModelConfig, "n_heads"), (ModelConfig, "n_layers"),
    (ModelConfig, "vocab_size"), (TrainConfig, "batch_size"), (TrainConfig, "steps"), (TrainConfig, "eval_every"),
    (TrainConfig, "checkpoint_every"), (TrainConfig, "num_threads"), (TrainConfig, "sample_tokens"),
    (TrainConfig, "seed"), (OptimConfig, "warmup_steps"), (ModelConfig, "d_ff"),
]  # fmt: skip
FRACTIONS = [
    (ModelConfig, "dropout"), (ModelConfig, "attention_dropout"), (OptimConfig, "momentum"), (OptimConfig, "beta2"),
]  # fmt: skip
POSITIVE = [(OptimConfig, "lr"), (OptimConfig, "muon_lr"), (ModelConfig, "logit_cap")]
NOT_NEGATIVE = [(OptimConfig, "weight_decay"), (OptimConfig, "grad_clip")]
OTHERS = [
    (ModelConfig, "activation"), (ModelConfig, "bias"), (ModelConfig, "tie_embeddings"), (OptimConfig, "optimizer"),
    (TrainConfig, "dtype"), (TrainConfig, "device"), (TrainConfig, "compile"), (ModelConfig, "attention"),
    (ModelConfig, "residual"), (ModelConfig, "norm_type"), (ModelConfig, "positions"), (ModelConfig, "qk_norm"),
    (ModelConfig, "value_embeddings"), (ModelConfig, "x0_skip"), (ModelConfig, "zero_init"),
]  # fmt: skip
NOT_NUMBERS = st.sampled_from(["3", b"3", True, [1], math.nan, math.inf, -math.inf, 1j])


def check_refused(kind, name, value):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        kind(**{name: value})
    if not isinstance(caught.value, TypeCheckError):  # of the annotations, where they are checked
        assert f"`{name}` must " in str(caught.value)


@given(st.sampled_from(INTEGERS), NOT_NUMBERS | st.floats() | st.integers(max_value=-1))
def test_integer_settings_refuse_everything_else(field, value):
    check_refused(*field, value)


@given(st.sampled_from(FRACTIONS), NOT_NUMBERS | st.floats(min_value=1) | st.floats(max_value=0, exclude_max=True))
def test_fractions_refuse_everything_else(field, value):
    check_refused(*field, value)


@given(st.sampled_from(POSITIVE), NOT_NUMBERS | st.floats(max_value=0))
def test_positive_numbers_refuse_everything_else(field, value):
    check_refused(*field, value)


@given(st.sampled_from(NOT_NEGATIVE), NOT_NUMBERS | st.floats(max_value=0, exclude_max=True))
def test_weight_decay_and_clipping_refuse_everything_else(field, value):
    check_refused(*field, value)


@given(st.sampled_from(OTHERS), st.sampled_from([None, 1, 0.5, ["relu"]]))
def test_names_and_flags_refuse_everything_else(field, value):
    check_refused(*field, value)


def test_every_setting_is_tested_above():
    tested = {*INTEGERS, *FRACTIONS, *POSITIVE, *NOT_NEGATIVE, *OTHERS}
    assert tested == {(kind, name) for kind in (ModelConfig, OptimConfig, TrainConfig) for name in kind.__annotations__}


def test_settings_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="`n_heads` must divide `d_model` = 8, got 3"):
        ModelConfig(d_model=8, n_heads=3)
    with pytest.raises(ValueError, match="`n_heads` must divide `d_model` = 8, got 3"):
        Model(d_model=8, h=3)
    with pytest.raises(ValueError, match="`warmup_steps` must be at most `steps` = 5, got 6"):
        resolve_warmup(OptimConfig(warmup_steps=6), 5)


# ---------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("recipe", [*RECIPES.values(), DEMO], ids=lambda recipe: recipe.name)
def test_a_text_too_short_for_a_split_of_a_recipe_is_refused_before_anything_is_written(tmp_path, recipe):
    text = "ab" * (5 * recipe.model.context_length)  # its last tenth is one character short of a window and its target
    least = 10 * recipe.model.context_length + 1
    with pytest.raises(ValueError, match=rf"`context_length` = {recipe.model.context_length} needs at least {least:,}"):
        train(recipe.model, recipe.optim, TRAIN, text, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"caf\xe9", r"not UTF-8 \(byte 3\)"), ("To be".encode("utf-16"), "not UTF-8")],
)
def test_texts_that_cannot_be_read_are_named(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"text\.txt: {message}"):
        load_text(path)


def test_line_ends_and_byte_order_marks_do_not_reach_the_vocabulary(tmp_path):
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert load_text(tmp_path / "windows.txt") == "a\nb\nc\n"


def test_bigrams_of_a_text_without_a_pair_in_a_split_are_refused():
    with pytest.raises(ValueError, match="at least 11 characters"):
        fit_bigrams("0123456789")
    assert fit_bigrams("01234567899").validation > 0
    with pytest.raises(ValueError, match="two tokens"):
        count_bigrams(torch.tensor([0]), 1)
    with pytest.raises(ValueError, match="vocab_size"):
        BigramModel(0)


def test_a_large_vocabulary_is_counted_but_not_trained():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 1100))) * 2
    assert fit_bigrams(text).trained is None


# ---------------------------------------------------------------------------------------------------- files


@pytest.fixture
def run(tmp_path):
    train(MODEL, OptimConfig(), TRAIN, TEXT, tmp_path / "run")
    return tmp_path / "run"


def test_damaged_models_are_named(run):
    weights = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(weights[:200])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a valid"):
        load_model(run)
    (run / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors: not found"):
        load_model(run)
    (run / "model.safetensors").write_bytes(weights)
    config = json.loads((run / "config.json").read_text())
    for broken, message in [
        ({"d_model": 64}, "must have shape"),
        ({"n_layers": 3}, "is missing"),
        ({"n_layers": 1}, "not part of this model"),
        ({"d_model": 2.5}, "d_model"),
        ({"width": 3}, "not a model of lets-build-gpt"),
    ]:
        (run / "config.json").write_text(json.dumps({**config, "model": {**config["model"], **broken}}))
        with pytest.raises(ValueError, match=message):
            load_model(run)
    for broken in ("{", "[]", '{"model": 3}', "{}"):
        (run / "config.json").write_text(broken)
        with pytest.raises(ValueError, match=r"config\.json"):
            load_model(run)
    with pytest.raises(ValueError, match=r"config\.json: not found\. Is .* a run folder\?"):
        load_model(run.parent)


def test_weights_that_are_not_finite_are_refused(run):
    model = load_model(run)
    with torch.no_grad():
        model.blocks[1].ffn.proj_up.weight[0, 0] = math.inf
    save_weights(model, run / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: tensor blocks\.1\.ffn\.proj_up\.weight holds NaN"):
        load_run(run)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"characters": 3}', '{"characters": ""}', '{"characters": "aa"}']
)
def test_foreign_tokenizers_are_named(run, content):
    (run / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_run(run)


def test_a_tokenizer_of_another_model_is_refused(run):
    CharTokenizer.from_text("abc").save(run / "tokenizer.json")
    with pytest.raises(ValueError, match="must have the model's 17 characters, got 3"):
        load_run(run)


def resume(run, **more):
    return train(MODEL, OptimConfig(), TRAIN, TEXT, run, resume=True, **more)


def test_foreign_and_damaged_training_states_are_named(run):
    path = run / "training_state.safetensors"
    tensors, good = load_file(path), path.read_bytes()
    state = {"lets_build_gpt": json.dumps({"step": 6})}
    name = next(n for n in tensors if n.endswith("exp_avg"))
    before = (run / "model.safetensors").read_bytes()
    for content, metadata in [
        (tensors, None),
        (tensors, {"gpt2": "{}"}),
        (tensors, {"lets_build_gpt": '{"steps": 6}'}),
        (tensors, {"lets_build_gpt": "[]"}),
        ({n: t for n, t in tensors.items() if n != name}, state),
        ({**tensors, name: torch.zeros(3)}, state),
        ({**tensors, "optimizer.1.99.exp_avg": torch.zeros(3)}, state),
        ({n: t for n, t in tensors.items() if not n.endswith("norm.weight")}, state),
        ({}, state),
    ]:
        save_file(content, path, metadata)
        with pytest.raises(ValueError, match=r"training_state\.safetensors"):
            resume(run)
    path.write_bytes(good[:100])
    with pytest.raises(ValueError, match=r"training_state\.safetensors: not a valid"):
        resume(run)
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["training_state.safetensors", "model.safetensors"])
def test_files_of_another_run_are_refused(run, tmp_path, name):
    other = tmp_path / "other"
    train(MODEL, OptimConfig(lr=1e-3), TRAIN, TEXT.replace("be", "eb"), other)
    (run / name).write_bytes((other / name).read_bytes())
    with pytest.raises(ValueError, match=rf"{name}: belongs to another run than config\.json"):
        load_run(run, last=name != "model.safetensors")
    if name == "training_state.safetensors":
        with pytest.raises(ValueError, match="belongs to another run"):
            resume(run)


def test_a_resumed_run_repairs_its_tokenizer(run):
    before = (run / "tokenizer.json").read_bytes()
    (run / "tokenizer.json").unlink()
    resume(run)
    assert (run / "tokenizer.json").read_bytes() == before


def test_a_damaged_line_of_metrics_is_named_and_a_torn_last_line_is_dropped(run):
    path = run / "metrics.jsonl"
    lines = path.read_text()
    path.write_text(lines + '{"step": 7, "l')
    assert resume(run).finished
    assert path.read_text() == lines
    path.write_text("{torn\n" + lines)
    with pytest.raises(ValueError, match=r"metrics\.jsonl:1: not a line of metrics"):
        resume(run)


def test_settings_of_a_run_that_are_damaged_are_named(run):
    for broken in ("{", '{"train": 3, "version": "0.2.0"}', "[]"):
        (run / "config.json").write_text(broken)
        with pytest.raises(ValueError, match=r"config\.json"):
            resume(run)


def test_extend_needs_a_finished_run(tmp_path):
    with pytest.raises(ValueError, match="add --resume"):
        train(MODEL, OptimConfig(), TRAIN, TEXT, tmp_path / "run", extend=3)
    with pytest.raises(ValueError, match="has none"):
        resume(tmp_path / "run", extend=3)
    with pytest.raises(ValueError, match="`extend` must be an integer of at least 1"):
        resume(tmp_path / "run", extend=0)
    assert not (tmp_path / "run").exists()


def test_the_current_folder_is_not_a_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="`out` must be a folder of its own"):
        train(MODEL, OptimConfig(), TRAIN, TEXT, Path(""))
    assert not list(tmp_path.iterdir())
