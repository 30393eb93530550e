"""The exported page, opened in a real browser: it computes and translates what Python does."""

import json

import browser
import numpy as np
import pytest
from attention_numpy.checkpoint import Run, RunConfig
from attention_numpy.config import DataConfig, LanguageModelConfig, TrainConfig, TransformerConfig
from attention_numpy.data import make_task
from attention_numpy.data.tasks import EOS_ID
from attention_numpy.data.text import CharTokenizer
from attention_numpy.language_model import LanguageModel
from attention_numpy.model import Transformer
from attention_numpy.page import export_page

PROGRAM = browser.installed()
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium (Debian: apt-get install chromium)")
OPTIONS = [
    {"task": "number-words"},
    {"task": "number-digits", "norm": "pre", "n_layers": 1, "n_heads": 1},
    {"task": "addition", "norm": "post", "final_norm": True},
    {"task": "reverse", "tie_embeddings": True},
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    running = browser.Browser(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


def random_run(seed, task, **options):
    """A run with a random model whose weights are exact in float16."""
    task = make_task(task)
    sizes = {"d_model": 24, "n_heads": 3, "n_layers": 2, "d_ff": 40} | options
    config = TransformerConfig(len(task.source_names), len(task.target_names), **sizes)
    model = Transformer(config, seed=seed)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters().named.values():  # a tied matrix occurs more than once
        noisy = parameter.data + 0.1 * rng.normal(size=parameter.data.shape)
        parameter.data[...] = noisy.astype(np.float16)
    return Run(RunConfig(config, TrainConfig(), DataConfig()), task, model.eval()), task


def sources(task, count):
    """Held-out inputs as texts."""
    pairs = task.held_out_pairs(np.random.default_rng(5), count)
    return [task.separator.join(source) for source, _ in pairs]


@needs_chromium
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_page_has_the_logits_and_the_attention_of_the_model(chromium, tmp_path, options):
    run, task = random_run(1, **options)
    export_page(run, tmp_path / "page.html")
    chromium.open(tmp_path / "page.html")
    for text in sources(task, 3):
        src = task.encode(text)
        tgt = np.random.default_rng(2).integers(3, len(task.target_names), (1, 7))
        logits, found = run.model.forward(src, tgt, return_intermediates=True)
        code = f"""(() => {{
          const memory = encoder.encode(encode({json.dumps(text)})).xs, cache = decoder.newCache(memory);
          return JSON.stringify({tgt[0].tolist()}.map(id => {{
            const s = decoder.step(id, cache);
            return [[...s.logits], s.attn.map(l => l.cross_attn.map(w => [...w]))];
          }}));
        }})()"""
        steps = json.loads(chromium.js(code))
        np.testing.assert_allclose([s[0] for s in steps], logits[0], atol=1e-4, rtol=0)
        for layer in range(run.model.config.n_layers):
            expected = found[f"decoder.layers.{layer}.multihead_attn"][0]  # (heads, queries, keys)
            cross = np.array([s[1][layer] for s in steps])  # (queries, heads, keys)
            np.testing.assert_allclose(cross.swapaxes(0, 1), expected, atol=1e-5, rtol=0)


@needs_chromium
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_greedy_decoding_and_beam_search_are_those_of_python(chromium, tmp_path, options):
    run, task = random_run(3, **options)
    different = 0
    for bias in (-0.5, 0, 0.25, 2):  # of the end: hypotheses end late, or early and at different lengths
        run.model.generator.bias.data[EOS_ID] = bias
        export_page(run, tmp_path / "page.html")
        chromium.open(tmp_path / "page.html")
        for text in sources(task, 4):
            outputs = [run.translate(text, beam_size) for beam_size in (1, 3, 5)]
            code = f"""[1, 3, 5].map(beamSize => {{
              const found = beamSearch(encoder.encode(encode({json.dumps(text)})).xs, beamSize);
              const isEnd = (node) => Number(node.score !== undefined);
              const ends = (node) => node.children.reduce((n, child) => n + ends(child), isEnd(node));
              return [decode(found.ids), ends(found.root)];
            }})"""
            found = chromium.js(code)
            assert [text for text, _ in found] == outputs
            assert all(0 < n_finished <= beam for (_, n_finished), beam in zip(found, (1, 3, 5), strict=True))
            different += len(set(outputs)) > 1
    assert different > 0  # so that beam search is seen to be one


@needs_chromium
def test_the_page_shows_tokens_attention_and_hypotheses(chromium, tmp_path):
    run, _ = random_run(4, "number-words")
    export_page(run, tmp_path / "page.html", title="<b>&", text="forty-two")
    chromium.open(tmp_path / "page.html")
    assert chromium.js("find('h1').textContent") == "<b>&"
    n_tokens = len(run.translate("forty-two").split()) + 1
    assert chromium.js("find('#target').children.length") == n_tokens
    header = chromium.js("[...document.querySelectorAll('#cross th[scope=col]')].map(e => e.textContent)")
    assert header == ["forty", "two", "■"]
    assert chromium.js("find('#hypotheses').hidden") is True
    chromium.js("find('#beam').value = 4; find('#beam').dispatchEvent(new Event('input'))")
    assert chromium.js("find('#hypotheses').hidden") is False
    best = run.translate("forty-two", 4)
    assert chromium.js("[...document.querySelectorAll('#target .token')].map(e => e.textContent).join(' ')") in (
        f"{best} ■".strip(),
    )
    chromium.mouse("#target .token", 0, click=True)
    assert chromium.js("find('#step-name').textContent") == "Token 1: probabilities"
    for text, error in (("forty zwei", "“zwei”"), ("", "Write some text"), ("<s>", "“<s>”")):
        chromium.js(f"find('#source').value = {text!r}; find('#source').dispatchEvent(new Event('input'))")
        assert error in chromium.js("find('#error').textContent")
    chromium.js("find('#source').value = 'Nine Hundred AND one'; find('#source').dispatchEvent(new Event('input'))")
    assert chromium.js("find('#error').textContent") == ""
    found = [e for e in chromium.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert found == []


def test_what_the_page_cannot_show_is_refused_before_anything_is_written(tmp_path):
    run, _ = random_run(5, "copy")
    with pytest.raises(ValueError, match="`text` must consist of"):
        export_page(run, tmp_path / "page.html", text="€")
    config = LanguageModelConfig(3, d_model=8, n_heads=2, n_layers=1, d_ff=8)
    model = LanguageModel(config)
    language_model = Run(RunConfig(config, TrainConfig(), DataConfig(task="text")), CharTokenizer("abc"), model)
    with pytest.raises(ValueError, match="this run holds a language model"):
        export_page(language_model, tmp_path / "page.html")
    run.model.generator.bias.data[0] = 1e5
    with pytest.raises(ValueError, match=r"`head\.bias` must have finite values"):
        export_page(run, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
