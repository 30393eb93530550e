"""Bad input raises one ValueError that names what is wrong, and nothing is written."""
# Replace: the settings and the files of your package.

import json
import math

import hypothesis
import hypothesis.strategies as st
import jaxtyping
import pytest
from MODULE import CharTokenizer, load_run, run_training
from MODULE._common.errors import MissingDependencyError
from MODULE.config import DataConfig, ModelConfig, SamplingConfig, TrainConfig
from MODULE.recipes import Recipe

settings = hypothesis.settings(deadline=None, derandomize=True)  # a slow machine is not a failure
NOT_A_COUNT = st.one_of(st.integers(max_value=-1), st.floats(), st.text(), st.booleans(), st.none())
INTEGERS = [
    *((ModelConfig, name) for name in ("context_length", "d_model", "d_ff")),
    *((TrainConfig, name) for name in ("steps", "batch_size", "eval_every", "warmup_steps", "seed")),
    (SamplingConfig, "max_new_tokens"),
]
NUMBERS = [
    (ModelConfig, "dropout"),
    *((TrainConfig, name) for name in ("lr", "weight_decay", "grad_clip")),
    (DataConfig, "held_out"),
    (SamplingConfig, "temperature"),
]


@pytest.mark.parametrize(("config", "name"), INTEGERS, ids=lambda value: getattr(value, "__name__", value))
@settings
@hypothesis.given(NOT_A_COUNT)
def test_a_count_must_be_an_integer(config, name, value):
    with pytest.raises(ValueError, match=f"^`{name}` must be an integer"):
        config(**{name: value})


@pytest.mark.parametrize(("config", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, "0.1", True, None])
def test_a_number_must_be_finite_and_in_its_range(config, name, value):
    with pytest.raises(ValueError, match=f"^`{name}` must be"):
        config(**{name: value})


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match=r"^`dtype` must be one of auto, float32, bfloat16, got 'int8'"):
        TrainConfig(dtype="int8")


@pytest.fixture(autouse=True, scope="module")
def no_shape_checks():
    """The errors are those that users see: for them, nothing checks the annotations first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


RECIPE = Recipe(
    "", "", ModelConfig(d_model=2, d_ff=3), TrainConfig(steps=4, eval_every=2, device="cpu", dtype="float32")
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_training(RECIPE, folder)
    return folder


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"model": 1}', b"\xff\x00", b'{"characters": 3}'])
def test_a_damaged_file_of_a_run_is_named(run, tmp_path, name, content):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        load_run(tmp_path)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_damaged_training_state_is_named(run, tmp_path, length):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "training_state.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="training_state"):
        run_training(RECIPE, tmp_path, resume=True)


def test_a_model_of_another_size_is_refused(run, tmp_path):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    stored = json.loads((tmp_path / "config.json").read_text("utf-8"))
    stored["model"]["d_ff"] = 5
    (tmp_path / "config.json").write_text(json.dumps(stored), "utf-8")
    with pytest.raises(ValueError, match=r"model\.safetensors: tensor hidden_bias must have shape"):
        load_run(tmp_path)


@pytest.mark.parametrize("text", ["", "one line"])
def test_a_text_that_is_too_short_is_refused_before_anything_is_written(tmp_path, text):
    (tmp_path / "a.txt").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"^`text` must have at least two lines"):
        run_training(RECIPE, tmp_path / "run", text=tmp_path / "a.txt")
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_is_not_extended(tmp_path):
    with pytest.raises(ValueError, match=r"^`extend` must be used with --resume"):
        run_training(RECIPE, tmp_path / "run", extend=3)
    assert not (tmp_path / "run").exists()


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match=r"^`text` must have only characters of the vocabulary, got 'z'"):
        CharTokenizer.from_text("ab").encode("az")


def test_figures_need_matplotlib_and_say_how_to_install_it(run, tmp_path, monkeypatch):
    from MODULE import plots

    def missing(module, purpose):
        raise MissingDependencyError(f"{purpose} needs matplotlib")

    monkeypatch.setattr(plots, "require", missing)
    with pytest.raises(ImportError, match="drawing figures needs matplotlib"):
        plots.plot_loss([run], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
