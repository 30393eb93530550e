"""The model behind the README's figures computes what its published activations state."""

import base64
import importlib.util
import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent.parent / "figures" / "sorting.py"


def sorting():
    spec = importlib.util.spec_from_file_location("sorting", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_forward_pass_matches_the_published_activations(data_file):
    partials = json.loads(data_file("models/gpt-nano-sort-t0-partials.json").read_text(encoding="utf-8"))
    data_file("models/gpt-nano-sort-model.json")
    published = {
        name: np.frombuffer(base64.b64decode(partials[name]["data"]), "<f4").reshape(partials[name]["shape"])
        for name in ("idx", "attSm", "lm_head")
    }
    module = sorting()
    parameters = module.load()
    for ids, attention, logits in zip(published["idx"], published["attSm"], published["lm_head"], strict=True):
        found_logits, found_attention = module.forward(parameters, ids.astype(int).tolist())
        np.testing.assert_allclose(found_attention[0], attention, atol=1e-5)
        np.testing.assert_allclose(found_logits, logits, atol=1e-4)
        assert np.abs(found_attention.sum(-1) - 1).max() < 1e-12


def test_model_sorts_the_prompt(data_file):
    data_file("models/gpt-nano-sort-model.json")
    module = sorting()
    parameters, ids = module.load(), ["ABC".index(letter) for letter in module.PROMPT]
    for _ in module.PROMPT:
        ids.append(int(module.forward(parameters, ids[-11:])[0][-1].argmax()))
    assert ids[6:] == sorted(ids[:6])
