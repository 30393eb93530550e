"""The shipped model: it reaches what its card says, and its name works wherever a run is read."""

import json
from pathlib import Path

import pytest
import torch
import transformer_torch
from package_checks import assert_one_error_line, package_of, run
from transformer_torch.demo import N_TESTED, score_on_held_out_days
from transformer_torch.inference.translate import Translator

NAME = "pretrained:dates"
FOLDER = Path(transformer_torch.__file__).parent / "pretrained" / "dates"
PACKAGE = package_of(Path(__file__).parent.parent)


def test_the_shipped_model_reaches_the_results_of_its_card():
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    _, exact = score_on_held_out_days(Translator.load(NAME))
    assert (exact, N_TESTED) == (results["exact"], results["tested"])
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{exact} of {N_TESTED} dates" in card
    assert results["command"] in card


def test_the_shipped_model_is_small_and_computes_in_float32():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3_000_000
    translator = Translator.load(NAME)
    assert {parameter.dtype for parameter in translator.model.parameters()} == {torch.float32}
    assert not translator.model.training
    assert translator.translate(["le 14 juillet 1989"]) == ["1989-07-14"]


@pytest.mark.parametrize("name", ["pretrained:", "pretrained:Dates", "pretrained:../dates"])
def test_an_unknown_name_lists_the_shipped_models(name):
    with pytest.raises(ValueError, match="`run` must be a folder or one of pretrained:dates, got 'pretrained:"):
        Translator.load(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "pretrained:times"], "one of pretrained:dates, got 'pretrained:times'"),
        (["plot", NAME], "`run` must be the folder of a run of yours"),
        (["evaluate", NAME, "--src", "a", "--tgt", "b", "--store"], "`run` must be the folder of a run of yours"),
        (["train", "dates", "--init-from", "pretrained:times"], "one of pretrained:dates, got 'pretrained:times'"),
        (
            ["train", "dates", "--init-from", NAME, "--d-model", "32"],
            "`d_model` must be 64 to start from pretrained:dates, got 32",
        ),
    ],
)
def test_commands_refuse_what_a_shipped_model_has_not(arguments, message, tmp_path):
    done = run(PACKAGE, *arguments, cwd=tmp_path)
    assert_one_error_line(done)
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_training_starts_from_the_shipped_model(tmp_path):
    options = ["--steps", "1", "--decay-steps", "1", "--warmup-steps", "1", "--dtype", "float32", "--device", "cpu"]
    done = run(PACKAGE, "train", "dates", "--init-from", NAME, *options, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["loss"] < 0.5  # of the first batch; an untrained model has about 4
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["init_from"] == NAME


def test_the_command_line_translates_with_the_shipped_model(tmp_path):
    (tmp_path / "dates.txt").write_text("le 14 juillet 1989\n30 september 2003\n", encoding="utf-8")
    done = run(PACKAGE, "translate", NAME, "--input", "dates.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1989-07-14", "2003-09-30"]
