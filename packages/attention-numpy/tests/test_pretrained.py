"""The shipped model: it reaches what its card says, and its name works wherever a run is read."""

import json
from pathlib import Path

import attention_numpy
import numpy as np
import pytest
from attention_numpy._common.pretrained import find_run
from attention_numpy.checkpoint import load_run
from attention_numpy.data.source import open_source
from attention_numpy.evaluate import evaluate

FOLDER = Path(attention_numpy.__file__).parent / "pretrained" / "number-words"


def test_the_shipped_model_reaches_the_results_of_its_card():
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    loaded = load_run("pretrained:number-words")
    found = evaluate(loaded.model, open_source(loaded.config.data, results["eval_count"]))
    assert found["exact_match"] == results["exact_match"]
    assert found["val_loss"] == pytest.approx(results["val_loss"], rel=1e-3)
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{results['exact_match']:.2%}" in card
    assert results["command"] in card


def test_the_shipped_model_is_small_and_computes_in_float32():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    loaded = load_run("pretrained:number-words")
    assert loaded.model.dtype == np.float32
    assert loaded.translate("731,060") == "sieben hundert ein und dreißig tausend sechzig"


@pytest.mark.parametrize(
    "name", ["pretrained:", "pretrained:number_words", "pretrained:../number-words", "pretrained:/"]
)
def test_an_unknown_name_lists_the_shipped_models(name):
    with pytest.raises(ValueError, match="`run` must be a folder or one of pretrained:number-words, got 'pretrained:"):
        load_run(name)


def test_other_names_are_folders():
    assert find_run("runs/x", "attention_numpy") == Path("runs/x")
    assert find_run(Path("pretrained"), "attention_numpy") == Path("pretrained")
