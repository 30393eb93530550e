"""The page of attention_html, opened and worked in a real browser by mouse, finger and keyboard."""

import json
import re

import helpers_browser
import numpy as np
import pytest
from dlpapers_shared.viz import attention_html

PROGRAM = helpers_browser.installed()
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium (Debian: apt-get install chromium)")

LAYERS, HEADS = 3, 2
TOKENS = ["<b>", "&amp;", '"', "'", "a\nb", "</script>", "🐕", " the", "<!--", "\\u003c"]
SEEN = ["<b>", "&amp;", '"', "'", "a⏎b", "</script>", "🐕", "␣the", "<!--", "\\u003c"]
N = len(TOKENS)


def causal(*shape):
    """Attention of every query over itself and what comes before it, as float32 holds it."""
    scores = np.random.default_rng(0).normal(0, 2, shape)
    weights = np.exp(scores) * np.tri(*shape[-2:])
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


ATTN = causal(LAYERS, HEADS, N, N)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    running = helpers_browser.Browser(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture
def page(chromium, tmp_path):
    """The page of ATTN, fresh."""
    chromium.open(attention_html(ATTN, TOKENS, tmp_path / "page.html", title="Who <looks> & where"))
    return chromium


def weights_shown(page, of="queries"):
    """The weight that stands behind the shade of every token."""
    return json.loads(
        page.js(f"JSON.stringify([...document.querySelectorAll('#{of} .token')].map(t => +t.dataset.weight))")
    )


def list_shown(page):
    """What can be read below "looks at": (token, percentage), most first."""
    found = page.js(
        "JSON.stringify([...document.querySelectorAll('#most li')].map(l => [...l.children].map(c => c.textContent)))"
    )
    return [(name, value) for name, _, value in json.loads(found)]


def expected_list(row, names):
    order = [k for k in np.argsort(-row, kind="stable") if row[k] > 0][:10]
    return [(f"{names[k]} ({k})", f"{100 * float(row[k]):.2f} %") for k in order]


def assert_shows(page, layer, head, query):
    row = ATTN[layer, head, query]
    assert page.js("document.getElementById('from').textContent") == (
        f"Layer {layer}, head {head}: {SEEN[query]} ({query}) looks at"
    )
    assert weights_shown(page) == [float(w) for w in row]
    assert list_shown(page) == expected_list(row, SEEN)
    assert page.js("[layer.value, head.value].join()") == f"{layer},{head}"
    pressed = "[...document.querySelectorAll('#overview button')].map(b => b.getAttribute('aria-pressed') === 'true')"
    assert page.js(f"{pressed}.indexOf(true)") == layer * HEADS + head
    assert page.js(f"{pressed}.filter(p => p).length") == 1


@needs_chromium
def test_the_page_opens_by_itself_and_asks_no_network(page):
    assert_shows(page, 0, 0, N - 1)
    assert page.js("document.title") == page.js("document.querySelector('h1').textContent") == "Who <looks> & where"
    addresses = [e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
    assert [a.rpartition("/")[2] for a in addresses] == ["page.html"]
    problems = [e for e in page.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert problems == []


@needs_chromium
def test_tokens_are_shown_as_they_are_whatever_they_hold(page):
    shown = page.js("JSON.stringify([...document.querySelectorAll('#queries .token')].map(t => t.textContent))")
    assert json.loads(shown) == SEEN
    assert page.js("document.querySelectorAll('#queries b').length") == 0


@needs_chromium
def test_pointing_at_a_token_shows_where_it_looks(page):
    for query in (2, 7, 0):
        page.mouse("#queries .token", query)
        assert_shows(page, 0, 0, query)
        assert page.js("document.querySelector('.token.from').textContent") == SEEN[query]


@needs_chromium
def test_the_shade_of_a_token_is_its_weight_on_the_scale(page):
    page.mouse("#queries .token", 6)
    row = ATTN[0, 0, 6]
    colors = page.js("JSON.stringify(data.colors)")
    rgb = [tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in json.loads(colors)]
    shades = page.js("JSON.stringify([...document.querySelectorAll('#queries .token')].map(t => t.style.background))")
    shown = [tuple(map(int, re.findall(r"\d+", s))) for s in json.loads(shades)]
    assert shown == [rgb[int(255 * float(w) / float(row.max()) + 0.5)] for w in row]
    assert page.js("document.getElementById('largest').textContent") == f"{100 * float(row.max()):.2f} %"


@needs_chromium
def test_layer_and_head_are_chosen_by_picture_or_by_list(page):
    page.mouse("#queries .token", 5)
    for layer, head in [(1, 0), (2, 1), (0, 1)]:
        page.mouse("#overview button", layer * HEADS + head, click=True)
        assert_shows(page, layer, head, 5)
    page.js(
        "layer.value = 2; layer.dispatchEvent(new Event('change'));"
        "head.value = 0; head.dispatchEvent(new Event('change'))"
    )
    assert_shows(page, 2, 0, 5)


@needs_chromium
def test_the_keyboard_does_it_all(page):
    page.js("document.getElementById('queries').querySelector('[tabindex=\"0\"]').focus()")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.key(key)
    assert_shows(page, 0, 0, 1)
    assert page.js("document.activeElement.textContent") == SEEN[1]
    page.key("ArrowDown")
    assert_shows(page, 0, 1, 1)
    page.key("ArrowDown")  # past the last head comes the first
    assert_shows(page, 0, 0, 1)
    page.key("PageDown")
    page.key("ArrowUp")
    assert_shows(page, 1, 1, 1)
    page.key("PageUp")
    page.key("End")
    assert_shows(page, 0, 1, N - 1)


@needs_chromium
def test_tab_reaches_the_tokens_once(page):
    for _ in range(LAYERS * HEADS + 3):  # every picture, the two lists, then the tokens
        page.key("Tab")
    assert page.js("document.activeElement.textContent") == SEEN[N - 1]
    page.key("Tab")
    assert page.js("document.activeElement.closest('#queries')") is None


@needs_chromium
def test_a_click_keeps_a_token_and_another_lets_it_go(page):
    page.mouse("#queries .token", 4, click=True)
    page.mouse("#queries .token", 8)
    assert_shows(page, 0, 0, 8)
    page.mouse("h1")  # away: back to what was kept
    assert_shows(page, 0, 0, 4)
    page.mouse("#queries .token", 4, click=True)
    page.mouse("#queries .token", 8)
    page.mouse("h1")
    assert_shows(page, 0, 0, 8)


@needs_chromium
def test_a_finger_taps_tokens_and_heads(page):
    page.tap("#queries .token", 3)
    assert_shows(page, 0, 0, 3)
    page.tap("#overview button", 3)
    assert_shows(page, 1, 1, 3)


@needs_chromium
def test_the_matrix_is_the_head_and_its_rows_can_be_pointed_at(page):
    page.mouse("#overview button", 4, click=True)
    pixels = page.js(
        "JSON.stringify([...document.getElementById('matrix').getContext('2d').getImageData(0, 0, 10, 10).data])"
    )
    shown = np.array(json.loads(pixels)).reshape(N, N, 4)
    darkness = 255 * 3 - shown[..., :3].sum(-1)
    weights = ATTN[2, 0]
    assert (darkness[weights == 0] == 0).all()  # what is masked is white
    assert np.unravel_index(darkness.argmax(), (N, N)) == np.unravel_index(weights.argmax(), (N, N))
    box = page.js("(r => [r.x, r.y, r.width, r.height])(document.getElementById('matrix').getBoundingClientRect())")
    at = {"x": box[0] + box[2] * 2.5 / N, "y": box[1] + box[3] * 6.5 / N}
    page.send("Input.dispatchMouseEvent", type="mouseMoved", **at)
    assert_shows(page, 2, 0, 6)
    assert page.js("document.getElementById('matrix').title") == f'🐕 (6) → " (2): {100 * float(weights[6, 2]):.2f} %'


@needs_chromium
def test_attention_over_another_sequence_has_two_rows_of_tokens(chromium, tmp_path):
    attn = np.random.default_rng(1).dirichlet(np.ones(3), size=(2, 4)).astype(np.float32)  # 2 heads, 4 over 3
    chromium.open(attention_html(attn, list("wxyz"), tmp_path / "x.html", keys=["A", "B", "<C>"]))
    chromium.mouse("#queries .token", 1)
    assert weights_shown(chromium, "keys") == [float(w) for w in attn[0, 1]]
    assert list_shown(chromium) == expected_list(attn[0, 1], ["A", "B", "<C>"])
    assert chromium.js("document.getElementById('keys').checkVisibility()")


@needs_chromium
def test_a_query_that_may_look_at_nothing_says_so(chromium, tmp_path):
    chromium.open(attention_html(np.zeros((2, 2)), None, tmp_path / "x.html"))
    assert chromium.js("document.getElementById('from').textContent") == "Layer 0, head 0: 1 looks at nothing"
    assert list_shown(chromium) == []


@needs_chromium
def test_a_phone_shows_the_page_without_sideways_scrolling(page):
    page.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    width = page.js("document.documentElement.scrollWidth")
    page.send("Emulation.clearDeviceMetricsOverride")
    assert width <= 360


# -------------------------------------------------------------------------------- without a browser, too


def test_the_file_is_one_whole_and_names_nothing_outside(tmp_path):
    path = attention_html(ATTN, TOKENS, tmp_path / "new" / "page.html", title="{{DATA}} </title><script>")
    text = path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]
    assert not re.search(r"https?:|\bsrc=|<link|@import|url\(", text)
    assert text.count("<script") == text.count("</script>") == 2
    assert "default-src 'none'" in text
    assert "&lt;/title&gt;&lt;script&gt;" in text


def test_more_than_a_browser_can_hold_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("dlpapers_shared.viz.page.LARGEST", ATTN.size - 1)
    with pytest.raises(ValueError, match="must have at most 599 weights, got 600"):
        attention_html(ATTN, path=tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []
