"""The command line from text to text. test_package.py runs the README's blocks as real processes."""

import io
import shutil
import sys

import pytest
import torch
from gpt2 import GPT2
from gpt2._common.errors import MissingDependencyError
from gpt2.commands.training import Train
from gpt2.data.corpora import python_docs
from gpt2.data.tokenizers import ByteTokenizer, CharTokenizer, load, make, save
from gpt2.demo import attention_map, previous_token_head
from helpers_models import run, small_model


def test_from_text_to_a_model_that_writes_and_is_exported(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 400)
    done = run("prepare", tmp_path / "a.txt", "--out", tmp_path / "data")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'data'}: 9,601 tokens in 1 document\n")
    sizes = ["--d-model", 32, "--n-heads", 2, "--n-layers", 1, "--context-length", 32]
    options = [
        "--steps",
        "150",
        "--batch-size",
        "8",
        "--lr",
        "0.01",
        "--warmup-steps",
        "5",
        "--dtype",
        "float32",
        "--eval-every",
        "150",
    ]
    done = run("train", tmp_path / "data", "--out", tmp_path / "run", *sizes, *options)
    assert done.returncode == 0, done.stderr
    assert "step    150" in done.stderr
    loss = float(done.stdout.split("val_loss ")[1])
    assert loss < 1.5
    found = run("evaluate", tmp_path / "run", "--text", tmp_path / "a.txt", "--stride", 32).stdout
    facts = dict(line.split(": ") for line in found.splitlines())
    assert float(facts["tokens"]) == 9600
    assert float(facts["loss_per_token"]) == pytest.approx(loss, rel=0.25)
    assert float(facts["bits_per_byte"]) == pytest.approx(float(facts["loss_per_token"]) / 0.693147, rel=1e-4)
    assert run("export", tmp_path / "run", "--out", tmp_path / "hf").returncode == 0
    writing = ["--prompt", "the c", "--max-new-tokens", 30, "--temperature", 0]
    first, second = (run("generate", tmp_path / name, *writing) for name in ("run", "hf"))
    assert first.stdout == second.stdout
    assert first.stdout.startswith("the c")
    assert len(first.stdout) == len("the c") + 30 + 1
    samples = run("generate", tmp_path / "hf", *writing[:4], "--samples", 3, "--seed", 1).stdout
    assert samples.count("\n---\n") == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    small_model(torch.float32).save_pretrained(folder)
    save(CharTokenizer("".join(chr(48 + i) for i in range(61))), folder)
    return folder


def test_without_a_prompt_on_a_terminal_the_session_is_interactive(folder, monkeypatch):
    lines = ["012", "é", "99"]

    def read(_):
        if not lines:
            raise EOFError
        return lines.pop(0)

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    done = run("generate", folder, "--max-new-tokens", 5)
    assert done.stderr.startswith("error: `text` must have only")  # and the session continues
    first, second = done.stdout.split()
    assert (first[:3], second[:2]) == ("012", "99")
    assert (len(first), len(second)) == (8, 7)


def test_fine_tuning_writes_a_new_model(folder, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "01", "completion": "23"}\n' * 20)
    options = [
        "--steps",
        40,
        "--patience",
        0,
        "--lr",
        0.05,
        "--warmup-steps",
        0,
        "--dtype",
        "float32",
        "--eval-every",
        20,
    ]
    done = run("finetune", folder, "--text", tmp_path / "a.jsonl", "--lora", 4, "--out", tmp_path / "f", *options)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("val_loss ")[1]) < 0.5  # one pair, which it was trained on
    assert (
        run("generate", tmp_path / "f", "--prompt", "01", "--max-new-tokens", 2, "--temperature", 0).stdout == "0123\n"
    )


def test_inspect_prints_config_and_size(folder):
    count = GPT2.from_pretrained(folder).num_parameters()
    out = run("inspect", folder).stdout
    assert f"parameters: {count:,}\n" in out
    assert "context_length: 24\n" in out


def test_cite_prints_the_paper():
    assert "better-language-models" in run("cite").stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["generate", "FOLDER", "--prompt", "0", "--top-p", "2"], "`top_p` must be in [0, 1], got 2.0"),
        (["generate", "FOLDER", "--prompt", "é"], "`text` must have only this model's 61 characters, got 'é'"),
        (["generate", "nowhere"], "nowhere: not found"),
        (["train", "FOLDER"], "has no index.json"),
        (["prepare", "nowhere.txt", "--out", "x"], "nowhere.txt: not found"),
        (["inspect", "FOLDER/config.json"], "must be a model folder or a .pt file"),
    ],
)
def test_bad_input_is_one_line_and_2(folder, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    done = run(*[a.replace("FOLDER", str(folder)) for a in arguments])
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_tokenizers_come_back_from_a_models_folder(tmp_path):
    for tokenizer in (ByteTokenizer(), CharTokenizer("ab é")):
        save(tokenizer, tmp_path)
        again = load(tmp_path)
        assert again.encode("a é") == tokenizer.encode("a é")
        assert again.decode(again.encode("a é")) == "a é"
        assert again.vocab_size == tokenizer.vocab_size
    with pytest.raises(ValueError, match="different characters"):
        CharTokenizer("aa")
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        load(tmp_path)


def test_a_missing_bpe_package_is_an_error_with_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "bpe", None)  # as if it were not installed
    with pytest.raises(MissingDependencyError, match=r"byte-level BPE needs dlpapers-bpe\. Install it: pip install"):
        make("gpt2")


def test_the_demos_parts():
    assert len(python_docs()) > 300_000
    attn = torch.zeros(2, 2, 5, 5)
    attn[..., 0] = 1.0
    attn[1, 0] = torch.eye(5).roll(-1, dims=1)
    assert previous_token_head(attn)[:2] == (1, 0)
    assert attention_map(torch.tensor([[1.0, 0.0], [0.05, 0.95]]), "a\n") == "  a ?\na @\n? . @"


def test_the_demo_runs_with_few_steps(tmp_path):
    out = tmp_path / "demo"
    done = run("demo", "--out", out, "--steps", 3)
    assert done.returncode == 0, done.stderr
    assert "step      3" in done.stderr
    assert "attends to the previous byte" in done.stdout
    assert GPT2.from_pretrained(out).config.context_length == 128
    assert run("generate", out, "--prompt", "def ", "--max-new-tokens", 3, "--seed", 1).returncode == 0


def test_logprobs_are_those_of_the_tokens(folder):
    done = run("generate", folder, "--prompt", "012", "--max-new-tokens", 4, "--temperature", 0, "--logprobs")
    text, *lines = done.stdout.splitlines()
    assert len(lines) == 4
    model, tokenizer = GPT2.from_pretrained(folder), load(folder)
    ids = tokenizer.encode(text)
    with torch.no_grad():
        expected = model(torch.tensor([ids[:-1]]))[0, 2:].log_softmax(-1).max(-1)
    assert [line.split()[1] for line in lines] == [repr(c) for c in text[3:]]
    assert [float(line.split()[0]) for line in lines] == pytest.approx(expected.values.tolist(), abs=1e-3)


@pytest.mark.parametrize("options", [["--weights", "float16"], ["--weights", "int8"], ["--compile"]])
def test_generate_with_smaller_weights(folder, options):
    if "--compile" in options and not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    writing = ["generate", folder, "--prompt", "012", "--max-new-tokens", 8, "--temperature", 0]
    done, plain = run(*writing, *options), run(*writing)
    assert done.returncode == 0
    assert done.stdout[:4] == plain.stdout[:4]  # int8 may differ later
    if "int8" not in options:
        assert done.stdout == plain.stdout


def test_the_prompt_is_read_from_stdin(folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("012\n"))
    piped = run("generate", folder, "--max-new-tokens", 4, "--temperature", 0).stdout
    monkeypatch.setattr(sys, "stdin", io.StringIO("012\n"))
    dash = run("generate", folder, "--prompt", "-", "--max-new-tokens", 4, "--temperature", 0).stdout
    assert piped == dash == run("generate", folder, "--prompt", "012", "--max-new-tokens", 4, "--temperature", 0).stdout
    monkeypatch.setattr(sys, "stdin", io.StringIO("0123"))
    assert "tokens: 3\n" in run("evaluate", folder, "--text", "-").stdout


def test_size_options_override_single_values_of_a_size():
    config = Train(size="355M", context_length=64, d_model=32)._model_config(257, 256)
    assert (config.n_layers, config.n_heads, config.context_length, config.d_model) == (24, 16, 64, 32)
    assert Train(n_layers=2)._model_config(257, 256).n_layers == 2


def test_export_never_overwrites_its_input_or_a_run(folder, tmp_path):
    for out in (folder, tmp_path / "run"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run/training_state.safetensors").write_text("")
        done = run("export", folder, "--out", out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
