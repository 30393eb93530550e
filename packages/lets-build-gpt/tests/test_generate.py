"""Sampling filters against transformers; streaming, several samples, the interactive prompt."""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lets_build_gpt import CharTokenizer, Model, ModelConfig, OptimConfig, TrainConfig
from lets_build_gpt.cli import main
from lets_build_gpt.evaluate import score_run
from lets_build_gpt.generate import filter_logits, generate, sample_next, stream
from lets_build_gpt.run import train

TEXT = "To be, or not to be, that is the question:\n" * 60
quick = settings(max_examples=60)


def small_model(seed=0):
    torch.manual_seed(seed)
    return Model(8, 16, 2, 2, n_vocab=13, dropout=0.3).double().train()


@quick
@given(
    st.integers(0, 2**31),
    st.integers(1, 40),
    st.floats(0.05, 5),
    st.none() | st.integers(1, 50),
    st.none() | st.floats(0.001, 1, exclude_max=True),
    st.floats(0.1, 20),
)
def test_filtered_logits_equal_those_of_transformers(seed, vocab, temperature, top_k, top_p, scale):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = scale * torch.randn(3, vocab, generator=torch.Generator().manual_seed(seed))
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p is not None:
        expected = TopPLogitsWarper(top_p)(None, expected)
    assert torch.equal(filter_logits(logits, temperature, top_k, top_p), expected)


def test_top_p_keeps_the_smallest_set_that_reaches_the_probability():
    p = torch.tensor([[0.5, 0.1, 0.25, 0.15]])
    for top_p, kept in ((1e-9, [0]), (0.45, [0]), (0.55, [0, 2]), (0.8, [0, 2, 3]), (0.95, [0, 1, 2, 3])):
        assert filter_logits(p.log(), top_p=top_p)[0].isfinite().nonzero().flatten().tolist() == kept
    samples = sample_next(p.log().expand(500, 4), top_p=0.6, generator=torch.Generator().manual_seed(0))
    assert set(samples.flatten().tolist()) == {0, 2}


@pytest.mark.parametrize("overflow", ["context_shift", "crop"])
def test_streamed_tokens_are_those_of_generate(overflow):
    model, start = small_model(), torch.tensor([[1, 2], [3, 4]])
    options = {"temperature": 0.9, "top_k": 9, "top_p": 0.95, "overflow": overflow}
    tokens = list(stream(model, start, 20, generator=torch.Generator().manual_seed(5), **options))
    assert all(token.shape == (2, 1) for token in tokens)
    text = generate(model, start, max_new_tokens=20, generator=torch.Generator().manual_seed(5), **options)
    assert torch.equal(torch.cat([start, *tokens], dim=1), text)


def test_a_stream_that_is_left_early_restores_the_mode_of_the_model():
    model = small_model()
    tokens = stream(model, torch.zeros(1, 1, dtype=torch.long), 20)
    assert model.training
    next(tokens)
    assert not model.training
    tokens.close()
    assert model.training


def test_options_are_checked_before_the_first_token():
    model, start = small_model(), torch.zeros(2, 1, dtype=torch.long)
    for options, named in [
        ({"top_p": 0.0}, r"`top_p` must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, "`top_p` must be in"),
        ({"temperature": -1.0}, "`temperature`"),
        ({"generator": [torch.Generator()]}, "`generator` must be one per row, 2, got 1"),
        ({"overflow": "slide"}, "overflow"),
    ]:
        with pytest.raises((ValueError, TypeError), match=named):
            stream(model, start, 3, **options)


def test_with_a_generator_per_row_a_text_does_not_depend_on_the_other_rows():
    model = small_model()
    start = torch.tensor([[7]])
    alone = [model.generate(start, 20, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4, 5)]
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4, 5)]
    assert torch.equal(model.generate(start.expand(3, 1), 20, generator=generators), torch.cat(alone))


# ------------------------------------------------------------------------------------------ the command line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate") / "run"
    config = TrainConfig(4, 60, 60, sample_tokens=0, device="cpu", dtype="float32")
    train(ModelConfig(16, 32, 2, 2, positions="rope", norm_type="rms"), OptimConfig(), config, TEXT, folder)
    return folder


class Terminal:
    """A stdin that is a terminal, on which some lines are typed before Ctrl-D."""

    def __init__(self, *lines):
        self.lines = list(lines)

    def isatty(self):
        return True

    def readline(self):
        return self.lines.pop(0) + "\n" if self.lines else ""


def command(monkeypatch, capsys, *arguments, stdin=None):
    monkeypatch.setattr(sys, "argv", ["lets-build-gpt", *map(str, arguments)])
    monkeypatch.setattr("lets_build_gpt._common.cli._use_utf8", lambda: None)
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", stdin)
    main()
    return capsys.readouterr()


def test_sample_i_is_the_text_of_seed_plus_i(run, monkeypatch, capsys):
    options = ["generate", run, "--prompt", "To be", "--max-new-tokens", 30, "--top-p", 0.9, "--device", "cpu"]
    single = [command(monkeypatch, capsys, *options, "--seed", seed).out for seed in (7, 8, 9)]
    assert all(text.startswith("To be") and len(text) == 36 for text in single)
    several = command(monkeypatch, capsys, *options, "--seed", 7, "--samples", 3).out
    assert several == "---\n".join(single)


def test_characters_are_printed_while_they_are_sampled(run, monkeypatch, capsys):
    printed = []

    def stop_after_five(model, start, count, **options):
        for number, token in enumerate(stream(model, start, count, **options)):
            if number == 5:
                printed.append(capsys.readouterr().out)
            yield token

    monkeypatch.setattr("lets_build_gpt.generate.stream", stop_after_five)
    command(monkeypatch, capsys, "generate", run, "--prompt", "To", "--max-new-tokens", 9, "--device", "cpu")
    assert len(printed[0]) == len("To") + 5


def test_a_terminal_without_a_prompt_is_an_interactive_session(run, monkeypatch, capsys):
    options = ["--max-new-tokens", 5, "--device", "cpu", "--temperature", 0]
    lines = Terminal("To be", "€", "not")
    done = command(monkeypatch, capsys, "generate", run, *options, stdin=lines)
    expected = [command(monkeypatch, capsys, "generate", run, *options, "--prompt", p).out for p in ("To be", "not")]
    assert done.out == f"> {expected[0]}> > {expected[1]}> \n"
    assert "error: `prompt` must use only the 17 characters" in done.err


def test_perplexity_is_the_exponential_of_the_loss(run):
    score = score_run(run, TEXT, "text", split="all")
    assert score.perplexity == pytest.approx(math.exp(score.loss))
    assert score.bits == pytest.approx(math.log2(score.perplexity))
    uniform = Model(16, 32, 2, 2, n_vocab=17)
    with torch.no_grad():
        uniform.head.weight.zero_()
    uniform.save_pretrained(run.parent / "uniform")
    CharTokenizer.from_text(TEXT).save(run.parent / "uniform" / "tokenizer.json")
    assert score_run(run.parent / "uniform", TEXT, "text").perplexity == pytest.approx(17, rel=1e-5)
