import json

import pytest
import torch
from gpt2 import GPT2
from gpt2.config import OptimConfig, TrainConfig
from gpt2.data.tokenizers import ByteTokenizer, CharTokenizer
from gpt2.training.finetune import Examples, finetune, read_examples
from gpt2.training.lora import LoRA, add_lora, merge_lora
from gpt2.training.trainer import held_out_loss
from helpers_models import random_ids, small_model


def test_lora_starts_as_the_model_and_merges_into_the_same_function():
    model = small_model()
    ids = random_ids(model, 2, 9)
    before = model(ids)
    add_lora(model, 4)
    assert torch.equal(model(ids), before)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 2 * 4 * model.config.n_layers
    with torch.no_grad():
        for parameter in trained:
            parameter.normal_(0.0, 0.1)
    changed = model(ids)
    assert (changed - before).abs().max() > 0.1
    merge_lora(model)
    assert not any(isinstance(m, LoRA) for m in model.modules())
    assert (model(ids) - changed).abs().max() < 1e-10
    with pytest.raises(ValueError, match="`rank` must be an integer from 1 to 32, got 33"):
        add_lora(small_model(), 33)


def test_the_loss_of_a_pair_covers_the_completion_only(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "ab", "completion": "cd"}\n{"prompt": "", "completion": "xyz"}\n')
    examples = read_examples(path, ByteTokenizer(), 24)
    ids, targets = Examples([*examples, *examples], 24, held_out=0.5).batch(0, 2)
    rows = {tuple(a): b for a, b in zip(ids.tolist(), targets.tolist(), strict=True)}
    assert rows == {
        (97, 98, 99, 100): [-100, 99, 100, 256],
        (120, 121, 122, 0): [121, 122, 256, -100],
    }
    path.write_text('{"prompt": "ab"}\n')
    with pytest.raises(ValueError, match=r'a.jsonl:1: must be a JSON object whose "prompt" and "completion"'):
        read_examples(path, ByteTokenizer(), 24)


@pytest.mark.parametrize("lora", [0, 4])
def test_fine_tuning_the_trained_character_model_lowers_its_held_out_loss(data_file, golden_file, tmp_path, lora):
    expected = json.loads(golden_file("gpt2_char_expected.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(expected["config"]))
    (tmp_path / "model.safetensors").symlink_to(data_file("models/gpt2_char_tinyshakespeare_hf.safetensors"))
    known = set(expected["chars"])  # a few characters are not in the vocabulary of the model
    text = "".join(c for c in data_file("text/the-verdict.txt").read_text() if c in known)
    (tmp_path / "a.txt").write_text(text)
    model = GPT2.from_pretrained(tmp_path, dropout=0.0)
    data = Examples(read_examples(tmp_path / "a.txt", CharTokenizer(expected["chars"]), 64), 64)
    before = held_out_loss(model, data, 32)
    optim = OptimConfig(lr=1e-2 if lora else 1e-3, warmup_steps=5)
    config = TrainConfig(steps=60, batch_size=8, optim=optim, eval_every=20, patience=2, dtype="float32")
    finetune(model, data, config, tmp_path / "run", lora)
    after = held_out_loss(GPT2.from_pretrained(tmp_path / "run"), data, 32)
    assert after < before - 0.2
