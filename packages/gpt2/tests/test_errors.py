"""Bad input is refused by name, and never computed into a wrong result."""

import json
import math
import re
import sys

import numpy as np
import pytest
import torch
from gpt2 import GPT2, Decoder, GPT2Config, OptimConfig, SamplingConfig, TrainConfig
from gpt2._common.errors import MissingDependencyError
from gpt2.config import SIZES
from gpt2.data import tokenizers
from gpt2.data.prepare import prepare
from gpt2.data.token_file import TokenFiles
from gpt2.data.tokenizers import ByteTokenizer, CharTokenizer
from gpt2.evaluation.benchmarks import evaluate_task, read_examples
from gpt2.evaluation.perplexity import evaluate_text
from gpt2.inference.generate_text import generate_text
from gpt2.pretrained.weights import load
from gpt2.training.finetune import Examples, finetune
from gpt2.training.finetune import read_examples as read_pairs
from helpers_models import random_ids, run, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from(["3", "", "adamw", "gelu", [1], {}, (), 10**400]),
)


@pytest.mark.parametrize("kind", [GPT2Config, SamplingConfig, OptimConfig, TrainConfig])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_configs_accept_only_values_of_the_right_type_and_range(kind, data):
    name = data.draw(st.sampled_from([n for n in kind.__dataclass_fields__ if n != "optim"]))
    value = data.draw(VALUES)
    complaint = ""
    try:
        config = kind(**{name: value})
    except ValueError as error:
        complaint = str(error)
    if complaint:
        assert f"`{name}`" in complaint
        assert "\n" not in complaint
    else:
        kept = getattr(config, name)
        assert kept is value
        assert not isinstance(kept, float) or math.isfinite(kept)
        assert isinstance(kept, bool) == isinstance(getattr(kind(), name), bool) or kept is None


@pytest.mark.parametrize("name", ["grad_clip", "warmup_steps", "final_lr", "weight_decay"])
def test_negative_optimizer_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        OptimConfig(**{name: -1})


def test_a_size_with_a_small_vocabulary_has_no_end_token_outside_it():
    assert GPT2Config.named("124M", vocab_size=257).eos_id is None
    assert GPT2Config.named("124M").eos_id == 50256
    assert list(SIZES) == ["124M", "355M", "774M", "1558M"]


# ------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_folders_load_and_train_in_float32(tmp_path, dtype):
    model = small_model(torch.float32)
    model.save_pretrained(tmp_path / "half", dtype=dtype)
    stored = load_file(tmp_path / "half/model.safetensors")
    assert {t.dtype for t in stored.values()} == {dtype}
    again = GPT2.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.equal(again.wte.weight, model.wte.weight.to(dtype).float())
    data = Examples([([1, 2, 3, 4], 0)] * 8, 24)
    config = TrainConfig(steps=2, batch_size=2, dtype="float32", optim=OptimConfig(lr=1e-4, warmup_steps=0))
    finetune(again, data, config, tmp_path / "run")
    written = load_file(tmp_path / "run/model.safetensors")
    assert {t.dtype for t in written.values()} == {torch.float32}
    changed = [(t != stored[name].float()).float().mean() for name, t in written.items() if "c_fc.weight" in name]
    assert min(changed) > 0.99  # no update is rounded away


@pytest.mark.parametrize("stated", [True, None])
def test_a_head_that_differs_from_the_embedding_is_kept(tmp_path, stated):
    transformers = pytest.importorskip("transformers")
    model = small_model(torch.float32, tie_embeddings=False)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("tie_word_embeddings")
    (tmp_path / "config.json").write_text(
        json.dumps(config | ({} if stated is None else {"tie_word_embeddings": stated}))
    )
    ids = random_ids(model, 2, 9)
    again = GPT2.from_pretrained(tmp_path)
    assert not again.config.tie_embeddings
    assert torch.equal(again(ids), model(ids))
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert (theirs(ids).logits - again(ids)).abs().max() < 1e-4


def test_a_file_with_the_head_only_is_read_as_tied(tmp_path):
    model = small_model(torch.float32)
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["lm_head.weight"] = state.pop("transformer.wte.weight")
    save_file(state, tmp_path / "model.safetensors")
    ids = random_ids(model, 2, 9)
    assert torch.equal(load(tmp_path)(ids), model(ids))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "must hold a JSON object, got list"),
        ('{"n_layer": "3"}', "`vocab_size` is missing"),
        ({"n_layer": "3"}, "`n_layer` must be an integer of at least 1, got '3'"),
        ({"n_embd": 2.5}, "`n_embd` must be an integer"),
        ({"resid_pdrop": "x", "embd_pdrop": "x", "attn_pdrop": "x"}, "`dropout` must be in"),
        ({"activation_function": ["gelu"]}, "`activation_function` must be one of"),
        ({"model_type": 7}, "`model_type` must be one of gpt2, got 7"),
        ({"tie_word_embeddings": "yes"}, "`tie_embeddings` must be True or False"),
    ],
)
def test_configs_of_the_wrong_types_are_refused(tmp_path, content, complaint):
    small_model(torch.float32).save_pretrained(tmp_path)
    if isinstance(content, dict):
        content = json.dumps(json.loads((tmp_path / "config.json").read_text()) | content)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"config\.json: {re.escape(complaint)}"):
        load(tmp_path)


# -------------------------------------------------------------------------------------------- tokenizers


def test_tokenizer_files_are_those_of_hugging_face(tmp_path):
    transformers = pytest.importorskip("transformers")
    texts = ["Hello, wörld!\n\n 你好 🙂", "a  b\tc", ""]
    for tokenizer, samples in ((ByteTokenizer(), texts), (CharTokenizer("abé \n"), ["ab é\nb", ""])):
        folder = tmp_path / type(tokenizer).__name__
        small_model(torch.float32, vocab_size=tokenizer.vocab_size, eos_id=tokenizer.eos_id).save_pretrained(folder)
        tokenizers.save(tokenizer, folder)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert len(theirs) == tokenizer.vocab_size
        assert theirs.eos_token_id == tokenizer.eos_id
        for text in samples:
            assert theirs(text)["input_ids"] == tokenizer.encode(text)
            assert theirs.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text
        again = tokenizers.load(folder)
        assert type(again) is type(tokenizer)
        assert tokenizers.fingerprint(again) == tokenizers.fingerprint(tokenizer)


def test_a_folders_own_tokenizer_is_used_or_refused(tmp_path, monkeypatch):
    small_model(torch.float32, vocab_size=50257).save_pretrained(tmp_path)
    content = ByteTokenizer().to_json()
    content["model"]["merges"] = ["t h"]  # a trained tokenizer, which only dlpapers-bpe can read
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    monkeypatch.setitem(sys.modules, "bpe", None)
    with pytest.raises(MissingDependencyError, match="dlpapers-bpe"):
        tokenizers.load(tmp_path)
    for command in (
        ["generate", tmp_path, "--prompt", "a"],
        ["evaluate", tmp_path, "--text", tmp_path / "config.json"],
    ):
        done = run(*command)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused():
    for tokenizer in (ByteTokenizer(), CharTokenizer("".join(chr(48 + i) for i in range(62)))):
        for use in (
            lambda t: generate_text(small_model(), t, ["01"], 3),
            lambda t: evaluate_text(small_model(), t, "0123"),
        ):
            with pytest.raises(ValueError, match="`tokenizer` must have at most the model's 61 tokens"):
                use(tokenizer)


def test_ids_beyond_the_tokenizer_are_never_sampled():
    model = small_model(torch.float32)
    with torch.no_grad():  # a padded vocabulary whose padding is the most probable token
        model.ln_f.weight.zero_()
        model.ln_f.bias.copy_(model.wte.weight[60] * 100)
    tokenizer = CharTokenizer("".join(chr(48 + i) for i in range(40)))
    for options in (SamplingConfig(temperature=0), SamplingConfig(), SamplingConfig(top_k=1)):
        (text,) = generate_text(model, tokenizer, ["01"], 12, options, seed=0)
        assert len(text) == 12
        assert set(text) <= set(tokenizer.chars)


# -------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("text", ["null", "5", '["a"]', "true", "{}"])
def test_documents_that_are_not_strings_are_refused_with_file_and_line(tmp_path, text):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n\n{"text": ' + text + "}\n")
    with pytest.raises(ValueError, match=r'a\.jsonl:3: must be a JSON object whose "text" is a string'):
        prepare([tmp_path / "a.jsonl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "b.jsonl").write_text('{"prompt": ' + text + ', "completion": "b"}\n')
    with pytest.raises(ValueError, match=r'b\.jsonl:1: must be a JSON object whose "prompt" and "completion"'):
        read_pairs(tmp_path / "b.jsonl", ByteTokenizer(), 24)
    (tmp_path / "c.jsonl").write_text('{"text": ' + text + "}\n")
    with pytest.raises(ValueError, match=r"c\.jsonl:1: `text` must be"):
        read_examples(tmp_path / "c.jsonl", "lambada")


def test_a_lone_surrogate_is_refused_with_file_and_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": "\\ud800"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: .*lone surrogate"):
        prepare([tmp_path / "a.jsonl"], tmp_path / "out")


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "a.txt.gz"])
def test_formats_that_are_not_plain_text_are_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=r"must be plain text, \.jsonl, or \.bin"):
        prepare([tmp_path / name], tmp_path / "out")


def test_a_failing_prepare_leaves_the_earlier_data_set_as_it_was(tmp_path):
    (tmp_path / "good.txt").write_text("good text. " * 50)
    prepare([tmp_path / "good.txt"], tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    (tmp_path / "bad.txt").write_bytes(b"more text. " * 50 + b"\xff")
    for chunk_bytes in (10**6, 100):
        with pytest.raises(ValueError, match=r"not UTF-8 \(byte 550"):
            prepare([tmp_path / "bad.txt"], tmp_path / "out", chunk_bytes=chunk_bytes)
        assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert TokenFiles(tmp_path / "out").tokens == 551


def test_line_ends_and_byte_order_marks_are_read_alike_by_every_command(tmp_path):
    plain, windows = "one\ntwo\n\nthree " * 30, tmp_path / "windows.txt"
    windows.write_bytes(b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())
    prepare([windows], tmp_path / "out", chunk_bytes=50)
    ids = TokenFiles(tmp_path / "out").read(0, len(plain) + 1).tolist()
    assert ids == [*plain.encode(), 256]
    small_model(torch.float32, vocab_size=257, eos_id=256).save_pretrained(tmp_path / "model")
    tokenizers.save(ByteTokenizer(), tmp_path / "model")
    done = run("evaluate", tmp_path / "model", "--text", windows)
    assert f"tokens: {len(plain)}\n" in done.stdout
    assert sum(len(row) - 1 for row, _ in read_pairs(windows, ByteTokenizer(), 24)) == len(plain) - 1
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n')
    assert prepare([lines], tmp_path / "lines")["documents"] == 2


# -------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("scale", [math.nan, 1e30])
def test_losses_that_are_not_finite_are_errors(tmp_path, scale):
    model = small_model(torch.float32, vocab_size=257)
    with torch.no_grad():
        model.ln_f.weight.mul_(scale)
        model.wte.weight.mul_(scale)
    with pytest.raises(ValueError, match="NaN or infinite"):
        evaluate_text(model, ByteTokenizer(), "some text")


def test_a_perplexity_beyond_floating_point_is_infinite():
    model = small_model(torch.float32, vocab_size=257)
    with torch.no_grad():
        model.ln_f.weight.mul_(1e4)
    found = evaluate_text(model, ByteTokenizer(), "some text")
    assert found["loss_per_token"] > 709
    assert found["perplexity_per_token"] == found["perplexity_per_word"] == math.inf


def records(**changes):
    return json.dumps({"ctx": "a", "endings": ["bb", "cc", "dd", "ee"], "label": 1} | changes) + "\n"


def test_labels_may_be_numbers_or_text(tmp_path):
    model = small_model(torch.float32, vocab_size=257, context_length=24, eos_id=256)
    for label in range(4):
        found = []
        for value in (label, str(label)):
            (tmp_path / "h.jsonl").write_text(records(label=value))
            found.append(evaluate_task(model, ByteTokenizer(), "hellaswag", tmp_path / "h.jsonl"))
        assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"label": 9}, "label"),
        ({"label": -1}, "label"),
        ({"label": "x"}, "label"),
        ({"label": True}, "label"),
        ({"label": 1.5}, "label"),
        ({"endings": "abcd"}, "endings"),
        ({"endings": []}, "endings"),
        ({"endings": ["a", None]}, "endings"),
        ({"ctx": None}, "ctx"),
    ],
)
def test_examples_of_the_wrong_form_are_refused_with_file_and_line(tmp_path, changes, name):
    (tmp_path / "h.jsonl").write_text(records() + records(**changes))
    with pytest.raises(ValueError, match=rf"h\.jsonl:2: `{name}` must be"):
        read_examples(tmp_path / "h.jsonl", "hellaswag")


@pytest.mark.parametrize("limit", [0, -1])
def test_limits_below_one_are_refused(tmp_path, limit):
    (tmp_path / "h.jsonl").write_text(records())
    with pytest.raises(ValueError, match="`limit` must be an integer of at least 1"):
        evaluate_task(small_model(vocab_size=257), ByteTokenizer(), "hellaswag", tmp_path / "h.jsonl", limit=limit)


@pytest.mark.parametrize("held_out", [0.0, -0.5, 1.5, math.nan])
def test_held_out_fractions_outside_0_to_1_are_refused(held_out):
    with pytest.raises(ValueError, match=r"`held_out` must be in \(0, 1\)"):
        Examples([([1, 2, 3], 0)] * 20, 24, held_out=held_out)


def test_the_largest_id_of_a_file_must_be_in_the_vocabulary(tmp_path):
    np.arange(300).astype("<u2").tofile(tmp_path / "a.bin")
    note = {"dtype": "<u2", "tokens": 300, "n_vocab": 257}
    (tmp_path / "a.bin.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match="has the id 299, but the tokenizer has 257 tokens"):
        prepare([tmp_path / "a.bin"], tmp_path / "out")


@pytest.mark.parametrize("vocab_size", [256, 258])
def test_ids_of_another_vocabulary_are_refused(tmp_path, vocab_size):
    np.arange(9).astype("<u2").tofile(tmp_path / "a.bin")
    note = {"dtype": "<u2", "tokens": 9, "n_vocab": vocab_size}
    (tmp_path / "a.bin.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match=f"ids of a vocabulary of {vocab_size}; the tokenizer has 257"):
        prepare([tmp_path / "a.bin"], tmp_path / "out")


def test_two_tokenizers_of_one_type_are_the_same_only_with_the_same_tokens(tmp_path):
    tokenizers.check_same(CharTokenizer("abc"), CharTokenizer("abc"), tmp_path)
    with pytest.raises(ValueError, match="`tokenizer` must be the one in"):
        tokenizers.check_same(CharTokenizer("abd"), CharTokenizer("abc"), tmp_path)


def test_weights_beyond_the_range_of_float16_are_refused(tmp_path):
    model = small_model(torch.float32)
    with torch.no_grad():
        model.h[0].mlp.c_fc.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match="NaN or infinite weights in float16"):
        Decoder(model, "float16")
    with pytest.raises(ValueError, match=r"c_fc\.weight has NaN or infinite weights in torch\.float16"):
        model.save_pretrained(tmp_path / "out", dtype=torch.float16)
    assert not (tmp_path / "out").exists()
    model.save_pretrained(tmp_path / "out", dtype=torch.bfloat16)


@pytest.mark.parametrize(("task", "option"), [("wikitext2", "limit"), ("lambada", "stride"), ("hellaswag", "stride")])
def test_options_that_a_benchmark_does_not_use_are_refused(task, option):
    with pytest.raises(ValueError, match=f"`{option}` must be omitted for {task}"):
        evaluate_task(small_model(vocab_size=257), ByteTokenizer(), task, **{option: 3})
