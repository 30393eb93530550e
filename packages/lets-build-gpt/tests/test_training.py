"""Training learns, resumes bit for bit, and keeps the best weights."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lets_build_gpt import Model, ModelConfig, OptimConfig, TrainConfig
from lets_build_gpt._common.errors import DivergenceError
from lets_build_gpt.checkpoint import load_model, load_run, read_train_state
from lets_build_gpt.config import resolve_warmup
from lets_build_gpt.optim import make_optimizers
from lets_build_gpt.recipes import DEMO, RECIPES
from lets_build_gpt.run import train
from lets_build_gpt.train import Trainer

TEXT = "To be, or not to be, that is the question:\n" * 60
MODEL = ModelConfig(16, 32, 2, 2, dropout=0.1, bias=False, tie_embeddings=True)
OPTIM = OptimConfig()
TRAIN = TrainConfig(
    batch_size=4, steps=30, eval_every=10, checkpoint_every=5, sample_tokens=5, device="cpu", dtype="float32"
)


def tiny(out, text=TEXT, model=MODEL, optim=OPTIM, *, resume=False, overwrite=False, extend=None, on_step=None, **more):
    options = {"resume": resume, "overwrite": overwrite, "extend": extend, "on_step": on_step}
    return train(model, optim, replace(TRAIN, **more), text, out, **options)


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: line[key] for key in ("step", "loss", "val_loss", "lr", "grad_norm") if key in line} for line in lines
    ]


class Stopped(Exception):
    pass


def stop_at(wanted):
    def on_step(step, loss):
        if step == wanted:
            raise Stopped  # ends the run as a crash would, without a checkpoint

    return on_step


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_one_batch_is_overfitted(optimizer):
    torch.manual_seed(0)
    model = Model(16, 32, 2, 2, n_vocab=20, dropout=0.0)
    optimizers = make_optimizers(model, OptimConfig(optimizer=optimizer, lr=1e-2))
    ids, targets = torch.randint(20, (2, 4, 16))
    before = model.loss(ids, targets).item()
    for _ in range(150):
        loss = model.loss(ids, targets)
        loss.backward()
        for o in optimizers:
            o.step()
        model.zero_grad()
    assert before == pytest.approx(torch.tensor(20.0).log().item(), abs=0.2)  # uniform predictions
    assert loss.item() < 0.05


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_is_trained_by_exactly_one_optimizer(optimizer):
    model = Model(8, 16, 2, 2, 11, tie_embeddings=True)
    optimizers = make_optimizers(model, OptimConfig(optimizer=optimizer))
    trained = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_resumed_run_matches_uninterrupted_run_bit_for_bit(tmp_path, optimizer):
    optim = OptimConfig(optimizer=optimizer)
    whole = tiny(tmp_path / "whole", optim=optim)
    with pytest.raises(Stopped):
        tiny(tmp_path / "parts", optim=optim, on_step=stop_at(18))
    assert read_train_state(tmp_path / "parts" / "training_state.safetensors").step == 15
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 18, "lo')  # a line that was cut short
    parts = tiny(tmp_path / "parts", optim=optim, resume=True)
    assert (parts.val_loss, parts.best_val_loss, parts.step) == (whole.val_loss, whole.best_val_loss, whole.step)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("parts", "whole")]
    assert weights[0] == weights[1]
    ours, theirs = (load_model(tmp_path / name, last=True).state_dict() for name in ("parts", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_killed_between_the_two_files_of_a_checkpoint_is_repaired(tmp_path):
    tiny(tmp_path / "whole")
    with pytest.raises(Stopped):
        tiny(tmp_path / "killed", on_step=stop_at(11))
    (
        tmp_path / "killed" / "model.safetensors"
    ).unlink()  # as if the checkpoint of step 10 had ended after its first file
    tiny(tmp_path / "killed", resume=True)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]


def test_the_seed_determines_the_run(tmp_path):
    first, second, other = tiny(tmp_path / "a"), tiny(tmp_path / "b"), tiny(tmp_path / "c", seed=1)
    assert first.val_loss == second.val_loss != other.val_loss


def test_a_run_learns_its_text_and_its_metrics_show_it(tmp_path):
    result = tiny(tmp_path / "run", model=replace(MODEL, dropout=0.0), steps=150, eval_every=50)
    lines = metrics(tmp_path / "run")
    assert lines[0]["loss"] > 2.5
    assert result.val_loss < 0.5
    assert [line["step"] for line in lines if "val_loss" in line] == [50, 100, 150]
    model, tokenizer = load_run(tmp_path / "run")
    ids = model.generate(torch.tensor([tokenizer.encode("To be, or")]), 16, temperature=0.0)
    assert tokenizer.decode(ids[0].tolist()) == "To be, or not to"


def overfitting_text():
    """A text whose validation split is unlike its training split: more training makes its loss worse."""
    return "".join("abcdefghij"[(i * i) % 10] for i in range(1200)) + "jihgfedcba" * 14


def test_the_best_weights_are_kept_beside_the_last_and_over_fitting_is_reported(tmp_path):
    result = tiny(tmp_path / "run", overfitting_text(), steps=60, eval_every=5, checkpoint_every=5)
    losses = {line["step"]: line["val_loss"] for line in metrics(tmp_path / "run") if "val_loss" in line}
    assert result.best_val_loss == min(losses.values()) == losses[result.best_step]
    assert result.best_step < 60
    assert result.val_loss == losses[60] > 1.1 * result.best_val_loss
    assert f"at step {result.best_step} to" in result.overfitting()
    trainer = Trainer(
        replace(MODEL, vocab_size=10), replace(OPTIM, warmup_steps=3), replace(TRAIN, steps=60), overfitting_text(),
        tmp_path / "run",
    )  # fmt: skip
    from lets_build_gpt.evaluate import evaluate

    best, last = load_model(tmp_path / "run"), load_model(tmp_path / "run", last=True)
    assert evaluate(best, trainer.val_ids) == pytest.approx(result.best_val_loss, abs=1e-6)
    assert evaluate(last, trainer.val_ids) == pytest.approx(result.val_loss, abs=1e-6)


def test_over_fitting_is_not_reported_where_the_last_loss_is_the_lowest(tmp_path):
    result = tiny(tmp_path / "run")
    assert result.best_step == result.step == 30
    assert result.overfitting() is None


def test_bfloat16_trains_as_well(tmp_path):
    # the variable disables AMX, which crashes on some virtual machines
    code = (
        "import sys; from pathlib import Path; from lets_build_gpt import *; from lets_build_gpt.run import train;"
        "config = TrainConfig(4, 150, 150, device='cpu', dtype='bfloat16');"
        f"print(train(ModelConfig(16, 32, 2, 2), OptimConfig(), config, {TEXT!r}, Path(sys.argv[1])).val_loss)"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.6


def test_float16_on_a_cpu_keeps_the_state_of_its_gradient_scaler(tmp_path):
    tiny(tmp_path / "whole", dtype="float16")
    with pytest.raises(Stopped):
        tiny(tmp_path / "parts", dtype="float16", on_step=stop_at(13))
    assert read_train_state(tmp_path / "parts" / "training_state.safetensors").scaler["scale"] > 0
    tiny(tmp_path / "parts", dtype="float16", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_resuming_with_dtype_auto_takes_the_stored_dtype(tmp_path, monkeypatch):
    tiny(tmp_path / "run")
    monkeypatch.setattr("lets_build_gpt._common.device.bf16_speedup", lambda: 9.0)
    assert tiny(tmp_path / "run", dtype="auto", resume=True).finished
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["dtype"] == "float32"


def test_an_extended_run_resumes_with_the_schedule_of_the_longer_run(tmp_path):
    tiny(tmp_path / "run", steps=20)
    for _ in range(2):
        tiny(tmp_path / "run", steps=20, resume=True, extend=5)
    lines = metrics(tmp_path / "run")
    assert lines[-1]["step"] == 30
    assert 0 < lines[-1]["lr"] < lines[-2]["lr"]
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (settings["train"]["steps"], settings["extended_steps"]) == (30, 10)
    with pytest.raises(Stopped):
        tiny(tmp_path / "run", steps=20, resume=True, extend=10, on_step=stop_at(37))
    assert tiny(tmp_path / "run", steps=20, resume=True, extend=10).step == 40  # the same command is not extended twice


def test_a_nan_loss_keeps_the_checkpoint(tmp_path):
    out = tmp_path / "run"

    def poison(trainer):
        with torch.no_grad():
            trainer.model.norm.weight[0] = float("nan")

    trainer = Trainer(replace(MODEL, vocab_size=10), OPTIM, TRAIN, TEXT, out)
    trainer.step()
    trainer.save()
    before = (out / "training_state.safetensors").read_bytes()
    trainer.step()
    poison(trainer)
    with pytest.raises(DivergenceError, match=r"a weight became NaN at step 2\. The checkpoint of step 1 is kept"):
        trainer.save()
    with pytest.raises(DivergenceError, match=r"validation loss became NaN at step 2"):
        trainer.evaluate()
    with pytest.raises(DivergenceError, match=r"loss became NaN at step 3.*Lower the learning rate"):
        trainer.step()
    assert (out / "training_state.safetensors").read_bytes() == before


def test_saving_and_loading_give_the_same_model(tmp_path):
    for tie_embeddings in (False, True):
        model = Model(8, 16, 2, 2, 11, tie_embeddings=tie_embeddings).eval()
        model.save_pretrained(tmp_path / "m")
        again = Model.from_pretrained(tmp_path / "m")
        ids = torch.arange(8)[None]
        assert again.config == model.config
        assert torch.equal(again(ids), model(ids))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("recipe", [*RECIPES.values(), DEMO], ids=lambda recipe: recipe.name)
def test_every_recipe_fits_together(recipe):
    assert 0 < resolve_warmup(recipe.optim, recipe.train.steps) < recipe.train.steps
    assert recipe.train.eval_every <= recipe.train.steps
    with torch.device("meta"):
        assert Model.from_config(recipe.model).num_parameters() > 100_000


def test_golden_shakespeare_trains_as_recorded(data_file, tmp_path):
    text = Path(data_file("text/tinyshakespeare.txt")).read_text(encoding="utf-8")
    recipe = RECIPES["nanogpt-cpu"]
    config = replace(recipe.train, steps=40, eval_every=40, device="cpu", dtype="float32", sample_tokens=0)
    result = train(recipe.model, recipe.optim, config, text, tmp_path / "run")
    assert 2.2 < result.val_loss < 2.9
