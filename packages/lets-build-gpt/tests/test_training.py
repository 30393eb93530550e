"""Training learns, resumes on the very same trajectory, and loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from lets_build_gpt import CharTokenizer, Model, storage
from lets_build_gpt.config import TrainConfig
from lets_build_gpt.train import make_optimizers, train

TEXT = "To be, or not to be, that is the question:\n" * 60


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def tiny(text, out, **more):
    base = TrainConfig(
        text=text,
        out=str(out),
        dtype="float32",
        context_length=16,
        d_model=32,
        h=2,
        n_layers=2,
        dropout=0.1,
        batch_size=4,
        tokens=30 * 64,
        evaluations=3,
        checkpoints=3,
        sample_length=5,
    )
    return replace(base, **more)


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in ("step", "loss", "val_loss", "lr") if key in line} for line in lines]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_overfits_one_batch(optimizer):
    torch.manual_seed(0)
    model = Model(16, 32, 2, 2, n_vocab=20, dropout=0.0)
    optimizers = make_optimizers(model, TrainConfig(optimizer=optimizer, lr=1e-2, d_model=32, h=2))
    ids, targets = torch.randint(20, (2, 4, 16))
    before = model.loss(ids, targets).item()
    for _ in range(150):
        loss = model.loss(ids, targets)
        loss.backward()
        for o in optimizers:
            o.step()
        model.zero_grad()
    assert before == pytest.approx(torch.tensor(20.0).log().item(), abs=0.2)  # a new model knows nothing
    assert loss.item() < 0.05


def test_every_parameter_is_trained_by_exactly_one_optimizer():
    model = Model(8, 16, 2, 2, 11, tie_embeddings=True)
    trained = [p for o in make_optimizers(model, TrainConfig()) for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_resumed_run_is_the_same_run(text, tmp_path, optimizer):
    whole = train(tiny(text, tmp_path / "whole", optimizer=optimizer))
    config = tiny(text, tmp_path / "parts", optimizer=optimizer)

    class Stopped(Exception):
        pass

    def stop_at_17(step, loss):
        if step == 17:
            raise Stopped  # as a crash would: seven steps after the last checkpoint

    with pytest.raises(Stopped):
        train(config, on_step=stop_at_17)
    assert storage.load_checkpoint(tmp_path / "parts")["step"] == 10
    parts = train(replace(config, resume=True))
    assert (parts.val_loss, parts.steps) == (whole.val_loss, whole.steps)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    ours, theirs = (Model.from_pretrained(tmp_path / name).state_dict() for name in ("parts", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_seed_decides(text, tmp_path):
    first = train(tiny(text, tmp_path / "a"))
    second = train(tiny(text, tmp_path / "b"))
    other = train(tiny(text, tmp_path / "c", seed=1))
    assert first.val_loss == second.val_loss != other.val_loss


def test_learns_a_text_and_its_metrics_say_so(text, tmp_path):
    result = train(tiny(text, tmp_path / "run", tokens=150 * 64, dropout=0.0))
    lines = metrics(tmp_path / "run")
    assert lines[0]["loss"] > 2.5
    assert result.val_loss < 0.5
    assert [line["step"] for line in lines if "val_loss" in line] == [50, 100, 150]
    model, tokenizer = storage.load_run(tmp_path / "run")
    ids = model.generate(torch.tensor([tokenizer.encode("To be, or")]), 16, temperature=0.0)
    assert tokenizer.decode(ids[0].tolist()) == "To be, or not to"


def test_bfloat16_trains_as_well(text, tmp_path):
    # the variable keeps oneDNN off matrix units that some virtual machines only claim to have
    code = (
        "import sys; from lets_build_gpt.config import TrainConfig; from lets_build_gpt.train import train;"
        "print(train(TrainConfig(text=sys.argv[1], out=sys.argv[2], dtype='bfloat16', context_length=16, d_model=32,"
        " h=2, n_layers=2, batch_size=4, tokens=9600, evaluations=1)).val_loss)"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
    command = [sys.executable, "-c", code, text, str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.6


def test_a_run_is_not_overwritten_and_not_resumed_by_other_settings(text, tmp_path):
    config = tiny(text, tmp_path / "run")
    train(config)
    with pytest.raises(ValueError, match="holds a run already"):
        train(config)
    with pytest.raises(ValueError, match=r"lr: 0\.5"):
        train(replace(config, resume=True, lr=0.5))
    with pytest.raises(ValueError, match="not there"):
        train(replace(config, resume=True, out=str(tmp_path / "nothing")))


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(text, tmp_path):
    config = tiny(text, tmp_path / "run", optimizer="adamw", lr=1e30, clip=0.0, warmup=0.0)
    with pytest.raises(ValueError, match="lower --lr"):
        train(config)


def test_control_c_ends_a_run_with_a_checkpoint_that_goes_on(text, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "lets_build_gpt", "train", "nanogpt-cpu", "--text", text, "--out", str(out)]
    command += [
        "--dtype",
        "float32",
        "--context-length",
        "16",
        "--d-model",
        "32",
        "--tokens",
        "3_000_000".replace("_", ""),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode == 130
    assert "--resume" in messages
    step = storage.load_checkpoint(out)["step"]
    assert step > 0
    assert f"after {step} steps" in messages


def test_saving_and_loading_give_the_same_model(tmp_path):
    for tie_embeddings in (False, True):
        model = Model(8, 16, 2, 2, 11, tie_embeddings=tie_embeddings).eval()
        model.save_pretrained(tmp_path / "m")
        again = Model.from_pretrained(tmp_path / "m")
        ids = torch.arange(8)[None]
        assert again.config == model.config
        assert torch.equal(again(ids), model(ids))
    assert not list((tmp_path / "m").glob("*.tmp"))


def test_damaged_files_are_named(tmp_path):
    folder = tmp_path / "m"
    Model(8, 16, 2, 2, 11).save_pretrained(folder)
    CharTokenizer.from_text("abc").save(folder / "vocabulary.json")
    with pytest.raises(ValueError, match="3 characters"):
        storage.load_run(folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:200])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Model.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["d_model"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="shape"):
        Model.from_pretrained(folder)
    for broken in ("{", "[]", '{"model": {"width": 3}}'):
        (folder / "config.json").write_text(broken)
        with pytest.raises(ValueError, match=r"config\.json"):
            Model.from_pretrained(folder)
    with pytest.raises(ValueError, match="is it the folder of a run"):
        Model.from_pretrained(tmp_path)
    (folder / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"checkpoint\.pt"):
        storage.load_checkpoint(folder)
