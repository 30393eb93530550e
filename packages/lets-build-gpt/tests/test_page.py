"""The exported page, opened in a real browser: it computes and writes what Python does."""

import json

import browser
import pytest
import torch
from lets_build_gpt import CharTokenizer, Model
from lets_build_gpt.page import export_page

PROGRAM = browser.installed()
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium (Debian: apt-get install chromium)")
CHARACTERS = "\n !<>\"'&\\abcdefghijklmnopqrstuvwxyzéß🐕"
OPTIONS = [
    {},
    {"activation": "gelu", "bias": False},
    {"tie_embeddings": True, "n_layers": 1, "h": 1, "d_ff": 20},
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    running = browser.Browser(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


def random_model(seed, **options):
    """A model whose weights are exact in float16, large enough that its text is not one character."""
    torch.manual_seed(seed)
    sizes = {"context_length": 16, "d_model": 24, "h": 3, "n_layers": 2, "n_vocab": len(CHARACTERS)} | options
    model = Model(**sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * 8 + 0.1 * torch.randn_like(parameter)).half().float())
    return model


@needs_chromium
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_page_has_the_logits_and_the_attention_of_the_model(chromium, tmp_path, options):
    model, tokenizer = random_model(1, **options), CharTokenizer(CHARACTERS)
    export_page(model, tokenizer, tmp_path / "page.html")
    chromium.open(tmp_path / "page.html")
    ids = torch.randint(len(CHARACTERS), (1, 16))
    logits, found = model(ids, return_intermediates=True)
    steps = chromium.js(
        f"(() => {{ const cache = model.newCache(); return {ids[0].tolist()}.map(id => {{"
        " const s = model.step(id, cache);"
        " return [[...s.logits], s.attn.map(l => l.self_attn.map(w => [...w]))] }) })()"
    )
    torch.testing.assert_close(torch.tensor([s[0] for s in steps]), logits[0], atol=1e-4, rtol=0)
    for query, (_, attn) in enumerate(steps):
        expected = found.attn[:, 0, :, query, : query + 1]
        torch.testing.assert_close(torch.tensor(attn, dtype=torch.float32), expected, atol=1e-5, rtol=0)


@needs_chromium
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_greedy_text_of_the_page_is_that_of_python_for_500_characters(chromium, tmp_path, options):
    model, tokenizer = random_model(2, **options), CharTokenizer(CHARACTERS)
    export_page(model, tokenizer, tmp_path / "page.html", prompt="a <b> 🐕")
    chromium.open(tmp_path / "page.html")
    start = torch.tensor([tokenizer.encode("a <b> 🐕")])
    expected = tokenizer.decode(model.generate(start, max_new_tokens=500, temperature=0.0)[0].tolist())
    assert len(set(expected)) > 5
    for use_cache in ("true", "false"):
        chromium.js(f"find('#temperature').value = 0; find('#cache').checked = {use_cache}; start()")
        chromium.js("for (let i = 0; i < 500; i++) writeOne(); show()")
        assert chromium.js("find('#text').textContent") == expected
    assert problems(chromium) == []


@needs_chromium
def test_top_k_and_temperature_keep_the_probabilities_of_python(chromium, tmp_path):
    model, tokenizer = random_model(3), CharTokenizer(CHARACTERS)
    export_page(model, tokenizer, tmp_path / "page.html", prompt="abc")
    chromium.open(tmp_path / "page.html")
    logits = model(torch.tensor([tokenizer.encode("abc")]))[0, -1].detach()
    for temperature, top_k in ((0.5, 0), (1.5, 5), (1.0, 1), (0.7, 1000)):
        chromium.js(f"find('#temperature').value = {temperature}; find('#top-k').value = {top_k}")
        scaled = logits / temperature
        if 0 < top_k < len(CHARACTERS):
            scaled[scaled < scaled.topk(top_k).values[-1]] = -torch.inf
        found = torch.tensor(json.loads(chromium.js("JSON.stringify([...probabilities()])")), dtype=torch.float32)
        torch.testing.assert_close(found, torch.softmax(scaled, 0), atol=1e-5, rtol=0)


@needs_chromium
def test_the_page_samples_each_character_as_often_as_its_probability(chromium, tmp_path):
    export_page(random_model(3), CharTokenizer(CHARACTERS), tmp_path / "page.html")
    chromium.open(tmp_path / "page.html")
    counts = chromium.js(
        "(() => { const r = randomNumbers(7), n = [0, 0, 0];"
        " for (let i = 0; i < 20000; i++) n[sample([.2, 0, .8], r)]++; return n })()"
    )
    assert counts[1] == 0
    assert counts[0] == pytest.approx(4000, abs=4 * (20000 * 0.2 * 0.8) ** 0.5)


@needs_chromium
def test_the_page_refuses_unknown_characters_and_goes_on_with_known_ones(chromium, tmp_path):
    export_page(random_model(4), CharTokenizer(CHARACTERS), tmp_path / "page.html", title="<i>&", prompt="abc")
    chromium.open(tmp_path / "page.html")
    assert chromium.js("find('h1').textContent") == "<i>&"
    type_prompt = "find('#prompt').value = {!r}; find('#prompt').dispatchEvent(new Event('input'))"
    chromium.js(type_prompt.format("aZ%b"))
    assert chromium.js("find('#error').textContent") == "The model does not know Z %"
    chromium.js(type_prompt.format("ab"))
    assert chromium.js("find('#error').textContent") == ""
    chromium.mouse("#one", click=True)
    assert chromium.js("find('#text').textContent.length") in (3, 4)  # the dog has two code units
    assert chromium.js("document.querySelectorAll('#heads canvas').length") == 6
    chromium.mouse("#heads button", 4, click=True)
    assert chromium.js("find('#head-name').textContent") == "Layer 2, head 2"
    chromium.mouse("#tokens .token", 0, click=True)
    assert chromium.js("find('#query-name').textContent") == "“a”, character 1 of the context, attends to"
    assert chromium.js("[...document.querySelectorAll('#most .value')].map(e => e.textContent)") == ["100.0 %"]
    assert problems(chromium) == []


def problems(chromium):
    """Exceptions and messages of the console, but not advice on how tests read canvases."""
    found = [e for e in chromium.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    return [e for e in found if e["params"].get("entry", {}).get("source") != "rendering"]


@pytest.mark.parametrize(
    "option",
    [
        {"activation": "swiglu"},
        {"attention": "mean", "h": 1},
        {"residual": False},
        {"norm_type": "rms"},
        {"norm_type": "none"},
        {"positions": "rope"},
        {"qk_norm": True},
        {"value_embeddings": True},
        {"x0_skip": True},
        {"logit_cap": 15.0},
        {"d_ff": 0},
    ],
    ids=str,
)
def test_a_part_that_the_page_does_not_compute_is_refused_by_name(tmp_path, option):
    sizes = {"context_length": 8, "d_model": 24, "h": 3, "n_layers": 1, "n_vocab": 3} | option
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be .* for a page"):
        export_page(Model(**sizes), CharTokenizer("abc"), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_model_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    model, path = random_model(5), tmp_path / "page.html"
    with pytest.raises(ValueError, match="`tokenizer` must have the model's 38 characters, got 3"):
        export_page(model, CharTokenizer("abc"), path)
    with pytest.raises(ValueError, match="`prompt` must use only the 38 characters of the training text, got 'Z'"):
        export_page(model, CharTokenizer(CHARACTERS), path, prompt="Z")
    with torch.no_grad():
        model.head.bias[3] = 1e5
    with pytest.raises(ValueError, match=r"`head\.bias` must have finite values of at most 65,504 in magnitude"):
        export_page(model, CharTokenizer(CHARACTERS), path)
    assert not path.exists()
