"""The shipped model: it reaches what its card says, and its name works wherever a run is read."""

import json
import os
from pathlib import Path

import lets_build_gpt
import pytest
import torch
from lets_build_gpt import Model
from lets_build_gpt.checkpoint import load_run
from lets_build_gpt.evaluate import score_run
from lets_build_gpt.page import export_page
from package_checks import assert_one_error_line, package_of, run

NAME = "pretrained:shakespeare"
FOLDER = Path(lets_build_gpt.__file__).parent / "pretrained" / "shakespeare"
PACKAGE = package_of(Path(__file__).parent.parent)


def test_the_card_says_what_was_recorded():
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{results['val_loss']:.4f} nats" in card
    assert f"{load_run(NAME)[0].num_parameters():,} parameters" in card
    assert results["command"] in card


def test_the_shipped_model_reaches_its_recorded_loss_on_the_text():
    data = os.environ.get("DLPAPERS_DATA_DIR")
    if not data:
        pytest.skip("needs tiny shakespeare in $DLPAPERS_DATA_DIR")
    text = (Path(data) / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    score = score_run(NAME, text, "shakespeare")
    assert score.part == "validation split"
    assert score.loss == pytest.approx(results["val_loss"], rel=1e-4)


def test_the_shipped_model_is_small_and_computes_in_float32():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
    model, tokenizer = load_run(NAME)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    logits = Model.from_pretrained(NAME)(torch.tensor([tokenizer.encode("ROMEO:")]))
    torch.testing.assert_close(logits, model(torch.tensor([tokenizer.encode("ROMEO:")])))


@pytest.mark.parametrize("name", ["pretrained:", "pretrained:Shakespeare", "pretrained:../shakespeare"])
def test_an_unknown_name_lists_the_shipped_models(name):
    with pytest.raises(ValueError, match="`run` must be a folder or one of pretrained:shakespeare, got 'pretrained:"):
        load_run(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "pretrained:hamlet", "--prompt", "x"], "one of pretrained:shakespeare, got 'pretrained:hamlet'"),
        (["evaluate", "pretrained:hamlet"], "one of pretrained:shakespeare"),
        (["plot", NAME], "`run` must be the folder of a run of yours"),
        (["generate", NAME, "--last"], "training_state.safetensors: not found"),
    ],
)
def test_commands_refuse_what_a_shipped_model_has_not(arguments, message, tmp_path):
    done = run(PACKAGE, *arguments, cwd=tmp_path)
    assert_one_error_line(done)
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_with_the_shipped_model(tmp_path):
    done = run(PACKAGE, "generate", NAME, "--prompt", "ROMEO:", "--max-new-tokens", "40", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ROMEO:")
    assert len(done.stdout) == len("ROMEO:") + 40 + 1
    assert not list(tmp_path.iterdir())


def test_its_page_is_written_into_the_current_folder(tmp_path):
    model, tokenizer = load_run(NAME)
    export_page(model, tokenizer, tmp_path / "expected.html", title="A GPT in your browser: pretrained:shakespeare")
    done = run(PACKAGE, "export", "--html", NAME, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "page.html"
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "expected.html").read_bytes()
