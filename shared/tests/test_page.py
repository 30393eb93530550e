"""The attention explorer, opened in a real browser and operated by mouse, touch and keyboard."""

import html
import json
import re

import browser
import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz import attention_html

PROGRAM = browser.installed()
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium (Debian: apt-get install chromium)")

LAYERS, HEADS = 3, 2
TOKENS = ["<b>", "&amp;", '"', "'", "a\nb", "</script>", "🐕", " the", "<!--", "\\u003c"]
SHOWN = ["<b>", "&amp;", '"', "'", "a⏎b", "</script>", "🐕", "␣the", "<!--", "\\u003c"]
N = len(TOKENS)
COLUMNS = HEADS + 1  # of the thumbnails: the last is the mean of the heads


def causal(*shape):
    """Random causal attention in float32."""
    scores = np.random.default_rng(0).normal(0, 2, shape)
    weights = np.exp(scores) * np.tri(*shape[-2:])
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


ATTN = causal(LAYERS, HEADS, N, N)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    running = browser.Browser(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture
def page(chromium, tmp_path):
    """The page of ATTN."""
    chromium.open(attention_html(ATTN, TOKENS, tmp_path / "page.html", title="Who <looks> & where"))
    yield chromium
    assert problems(chromium) == []


def problems(page):
    """Exceptions and messages of the console, but not advice on how tests read canvases."""
    found = [e for e in page.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    return [e for e in found if e["params"].get("entry", {}).get("source") != "rendering"]


def values(page, expression):
    return json.loads(page.js(f"JSON.stringify({expression})"))


def wait_until(page, condition):
    """Wait until a JavaScript expression is true."""
    page.js(f"new Promise(done => {{ const check = () => {condition} ? done() : setTimeout(check, 10); check(); }})")


def weights_shown(page, of="queries"):
    """The weight of every token."""
    return values(page, f"[...document.querySelectorAll('#{of} .token')].map(t => +t.dataset.weight)")


def shades_shown(page, of="queries"):
    """The background color of every token as (r, g, b)."""
    found = values(page, f"[...document.querySelectorAll('#{of} .token')].map(t => t.style.background)")
    return [tuple(map(int, re.findall(r"\d+", text))) for text in found]


def list_shown(page, of="most"):
    """The bars: (token, percentage), largest first."""
    rows = values(page, f"[...document.querySelectorAll('#{of} li')].map(l => [...l.children].map(c => c.textContent))")
    return [(name, value) for name, _, value in rows]


def percentage(weight):
    return "< 0.01 %" if 0 < weight < 0.00005 else f"{100 * float(weight):.2f} %"


def expected_list(row, names):
    order = [k for k in np.argsort(-row, kind="stable") if row[k] > 0][:10]
    return [(f"{names[k]} ({k})", percentage(row[k])) for k in order]


def choose(page, name, value):
    """Change a select box as a user does."""
    page.js(f"{name}Box = document.getElementById('{name}'); {name}Box.value = {value!r};"
            f"{name}Box.dispatchEvent(new Event('change'))")  # fmt: skip


def assert_shows(page, layer, head, query):
    row = ATTN[layer, head, query]
    heading = page.js("document.getElementById('from').textContent")
    assert heading == f"Layer {layer}, head {head}: {SHOWN[query]} ({query}) attends to"
    assert weights_shown(page) == [float(w) for w in row]
    assert list_shown(page) == expected_list(row, SHOWN)
    assert page.js("[element('layer').value, element('head').value].join()") == f"{layer},{head}"
    pressed = values(page, "[...document.querySelectorAll('#overview button')].map(b => b.ariaPressed === 'true')")
    assert [i for i, one in enumerate(pressed) if one] == [layer * COLUMNS + head]


@needs_chromium
def test_page_opens_without_network(page):
    assert_shows(page, 0, 0, N - 1)
    assert page.js("document.title") == page.js("document.querySelector('h1').textContent") == "Who <looks> & where"
    addresses = [e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
    assert [a.rpartition("/")[2] for a in addresses] == ["page.html"]
    assert page.js("document.getElementById('size').textContent") == "3 layers · 2 heads · 10 tokens"


@needs_chromium
def test_tokens_are_shown_literally(page):
    assert values(page, "[...document.querySelectorAll('#queries .token')].map(t => t.textContent)") == SHOWN
    assert page.js("document.querySelectorAll('#queries b').length") == 0


@needs_chromium
def test_pointing_at_a_token_shows_what_it_attends_to(page):
    for query in (2, 7, 0):
        page.mouse("#queries .token", query)
        assert_shows(page, 0, 0, query)
        assert page.js("document.querySelector('.token.from').textContent") == SHOWN[query]


@needs_chromium
def test_other_direction_shows_what_attends_to_a_token(page):
    page.mouse("input[value=in]", click=True)
    page.mouse("#queries .token", 4)
    column = ATTN[0, 0, :, 4]
    assert weights_shown(page) == [float(w) for w in column]
    assert list_shown(page) == expected_list(column, SHOWN)
    assert page.js("document.getElementById('from').textContent") == "Layer 0, head 0: a⏎b (4) is attended to by"


@needs_chromium
@pytest.mark.parametrize("scale", ["full", "head", "token"])
@pytest.mark.parametrize("power", [1, 0.5, 0.25])
def test_color_is_the_declared_function_of_the_weight(page, scale, power):
    choose(page, "scale", scale)
    choose(page, "power", str(power))
    page.mouse("#queries .token", 6)
    head = ATTN[0, 0].astype(np.float64)
    limit = {"full": 1, "head": head.max(), "token": head[6].max()}[scale]
    colors = [tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in values(page, "data.colors.light")]
    levels = np.floor(255 * (head[6] / limit) ** power + 0.5).astype(int)
    assert np.abs(np.array(shades_shown(page)) - np.array([colors[i] for i in levels])).max() <= 6  # at most one level
    ticks = values(page, "[...document.querySelectorAll('#ticks span')].map(t => parseFloat(t.textContent))")
    np.testing.assert_allclose(ticks, [0, 100 * limit * 0.5 ** (1 / power), 100 * limit], atol=0.6)


@needs_chromium
def test_text_on_tokens_has_contrast(page):
    for theme in ("light", "dark"):
        page.js(f"state.theme = '{theme}'; applyTheme(); showAll()")
        found = values(page, "[...document.querySelectorAll('#queries .token')].map(t => getComputedStyle(t).color)")
        inks = [sum(map(int, re.findall(r"\d+", text))) / 3 for text in found]
        for ink, shade in zip(inks, shades_shown(page), strict=True):
            assert abs(ink - np.dot(shade, (0.299, 0.587, 0.114))) > 90


@needs_chromium
def test_layer_and_head_are_chosen_by_thumbnail_or_by_list(page):
    page.mouse("#queries .token", 5)
    for layer, head in [(1, 0), (2, 1), (0, 1)]:
        page.mouse("#overview button", layer * COLUMNS + head, click=True)
        assert_shows(page, layer, head, 5)
    choose(page, "layer", "2")
    choose(page, "head", "0")
    assert_shows(page, 2, 0, 5)


@needs_chromium
def test_mean_of_heads_is_a_head_of_its_own(page):
    page.mouse("#overview button", 1 * COLUMNS + HEADS, click=True)
    assert "Layer 1, mean of heads" in page.js("document.getElementById('from').textContent")
    np.testing.assert_allclose(weights_shown(page), ATTN[1].mean(0)[N - 1], rtol=1e-5)


@needs_chromium
def test_first_and_special_tokens_can_be_left_out_and_the_rest_renormalized(chromium, tmp_path):
    tokens = ["<s>", "a", "b", "<pad>", "[SEP]", "<b", "c"]
    attn = causal(1, 1, 7, 7)
    chromium.open(attention_html(attn, tokens, tmp_path / "x.html"))
    row = attn[0, 0, 6].copy()
    chromium.mouse("#first", click=True)
    row[0] = 0
    np.testing.assert_array_equal(weights_shown(chromium), row)
    chromium.mouse("#special", click=True)
    row[[3, 4]] = 0
    np.testing.assert_array_equal(weights_shown(chromium), row)
    chromium.mouse("#renormalize", click=True)
    np.testing.assert_allclose(weights_shown(chromium), row / row.sum(), rtol=1e-5)
    assert "left-out" in chromium.js("document.querySelectorAll('#queries .token')[3].className")
    chromium.mouse("#queries .token", 0)  # attends to nothing else
    assert "attends to nothing" in chromium.js("document.getElementById('from').textContent")


def kinds():
    """Heads of known kinds: (layer, head) by kind, and their attention."""
    tokens = list("abcdabcdef")
    n = len(tokens)
    attn = np.zeros((2, 3, n, n))
    attn[0, 0, np.arange(n), np.maximum(0, np.arange(n) - 1)] = 1
    attn[0, 1, :, 0] = 1
    attn[0, 2] = np.eye(n)
    attn[1, 0] = np.tri(n) / np.tri(n).sum(-1, keepdims=True)
    attn[1, 1] = 0.5 * attn[0, 2] + 0.5 * attn[1, 0]
    attn[1, 2] = attn[0, 1]
    for q in range(4, 8):
        attn[1, 2, q] = np.eye(n)[q - 3]
    return tokens, attn


@needs_chromium
@pytest.mark.parametrize(
    ("sort", "first"),
    [("previous", "0.0"), ("first", "0.1"), ("same", "0.2"), ("induction", "1.2"), ("focused", "0."), ("broad", "1.0")],
)
def test_heads_are_sorted_by_kind(chromium, tmp_path, sort, first):
    tokens, attn = kinds()
    chromium.open(attention_html(attn, tokens, tmp_path / "x.html"))
    choose(chromium, "sort", sort)
    labels = values(chromium, "[...document.querySelectorAll('#overview button b')].map(b => b.textContent)")
    assert len(labels) == 6
    assert labels[0].startswith(first)
    chromium.mouse("#overview button", 0, click=True)
    assert chromium.js("document.getElementById('kind').textContent").startswith(f"Layer {first[0]}, head ")
    assert problems(chromium) == []


@needs_chromium
def test_keyboard_operates_everything(page):
    page.js("document.getElementById('queries').querySelector('[tabindex=\"0\"]').focus()")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.key(key)
    assert_shows(page, 0, 0, 1)
    assert page.js("document.activeElement.textContent") == SHOWN[1]
    page.key("ArrowDown")
    assert_shows(page, 0, 1, 1)
    page.key("ArrowDown")  # the first head follows the last
    assert_shows(page, 0, 0, 1)
    page.key("PageDown")
    page.key("ArrowUp")
    assert_shows(page, 1, 1, 1)
    page.key("PageUp")
    page.key("End")
    assert_shows(page, 0, 1, N - 1)


@needs_chromium
def test_tab_visits_the_tokens_once(page):
    visited = []
    for _ in range(40):
        page.key("Tab")
        visited.append(page.js("document.activeElement.className + '|' + document.activeElement.textContent"))
    assert visited.count(f"token from|{SHOWN[N - 1]}") in (1, 2)  # again after the end of the page
    assert sum(one.startswith("token") for one in visited) <= 2


@needs_chromium
def test_click_pins_a_token_and_another_releases_it(page):
    page.mouse("#queries .token", 4, click=True)
    page.mouse("#queries .token", 8)
    assert_shows(page, 0, 0, 8)
    page.mouse("h1")  # away: back to the pinned token
    assert_shows(page, 0, 0, 4)
    page.mouse("#queries .token", 4, click=True)
    page.mouse("#queries .token", 8)
    page.mouse("h1")
    assert_shows(page, 0, 0, 8)


@needs_chromium
def test_taps_choose_tokens_and_heads(page):
    page.tap("#queries .token", 3)
    assert_shows(page, 0, 0, 3)
    page.tap("#overview button", 1 * COLUMNS + 1)
    assert_shows(page, 1, 1, 3)


def cell_center(page, query, key):
    """The position of a cell of the matrix on the screen."""
    page.js("document.getElementById('matrix').scrollIntoView({block: 'center'})")
    box = values(page, "(r => [r.x, r.y])(document.getElementById('matrix').getBoundingClientRect())")
    left, top, wide, high = values(page, "[layout.left, layout.top, layout.wide, layout.high]")
    return {"x": box[0] + left + (key + 0.5) * wide, "y": box[1] + top + (query + 0.5) * high}


@needs_chromium
def test_matrix_shows_the_head_with_labels_and_its_cells_can_be_read(page):
    page.mouse("#overview button", 2 * COLUMNS + 0, click=True)
    code = """[...Array(10).keys()].map(q => [...Array(10).keys()].map(k => {
        const d = document.getElementById('matrix').width / parseFloat(document.getElementById('matrix').style.width);
        const x = (layout.left + (k + 0.5) * layout.wide) * d, y = (layout.top + (q + 0.5) * layout.high) * d;
        return [...document.getElementById('matrix').getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3);
    }))"""
    darkness = 255 * 3 - np.array(values(page, code)).sum(-1)
    weights = ATTN[2, 0]
    assert (darkness[weights == 0] == 0).all()  # masked cells are white
    order = np.argsort(weights, axis=None)
    assert (np.diff(darkness.reshape(-1)[order]) >= 0).all()  # darker means a larger weight
    labels = """[...document.getElementById('matrix').getContext('2d')
        .getImageData(0, layout.top, layout.left - 3, 100).data].some((v, i) => i % 4 === 3 && v > 0)"""
    assert page.js(labels)
    page.send("Input.dispatchMouseEvent", type="mouseMoved", **cell_center(page, 6, 2))
    assert_shows(page, 2, 0, 6)
    assert page.js("document.getElementById('cell').textContent") == f'🐕 (6) → " (2): {percentage(weights[6, 2])}'


@needs_chromium
def test_lines_connect_a_token_to_what_it_attends_to(page):
    page.mouse("#queries .token", 6, click=True)
    code = """(k => {
        const canvas = document.getElementById('lines'), d = canvas.width / parseFloat(canvas.style.width);
        const right = parseFloat(canvas.style.width) - room.keys - 2, y = (k + 0.5) * 20 + 2;
        const found = [...canvas.getContext('2d').getImageData((right - 3) * d, (y - 3) * d, 3, 6 * d).data];
        let most = 0;
        for (let i = 0; i < found.length; i += 4) most = Math.max(most, (found[i + 2] - found[i]) * found[i + 3] / 255);
        return most;
    })"""
    blue = [page.js(f"{code}({k})") for k in range(N)]
    row = ATTN[0, 0, 6]
    assert max(blue[k] for k in range(N) if row[k] == 0) < 40
    assert blue[int(row.argmax())] > 60


@needs_chromium
def test_click_on_a_line_label_chooses_token_and_direction(page):
    page.js("document.getElementById('lines').scrollIntoView({block: 'center'})")
    box = values(page, "(r => [r.x, r.y, r.width])(document.getElementById('lines').getBoundingClientRect())")
    at = {"x": box[0] + box[2] - 10, "y": box[1] + 2 + 3.5 * 20}
    for kind in ("mousePressed", "mouseReleased"):
        page.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)
    assert page.js("document.getElementById('from').textContent") == "Layer 0, head 0: ' (3) is attended to by"


@needs_chromium
def test_next_tokens_are_the_softmax_of_the_logits(chromium, tmp_path):
    logits = np.random.default_rng(1).normal(0, 3, (N, 30))
    vocabulary = [f" w{i}" for i in range(30)]
    chromium.open(attention_html(ATTN, TOKENS, tmp_path / "x.html", logits=logits, vocabulary=vocabulary))
    chromium.mouse("#queries .token", 2)
    probs = np.exp(logits[2]) / np.exp(logits[2]).sum()
    order = np.argsort(-probs)[:10]
    assert list_shown(chromium, "next") == [(f"␣w{i}", percentage(probs[i])) for i in order]
    assert chromium.js("document.getElementById('next-name').textContent") == 'Next token after " (2)'
    chromium.mouse("input[value=in]", click=True)
    assert not chromium.js("document.getElementById('next-part').checkVisibility()")


@needs_chromium
def test_cross_attention_has_two_rows_of_tokens_and_both_directions(chromium, tmp_path):
    attn = np.random.default_rng(1).dirichlet(np.ones(3), size=(2, 4)).astype(np.float32)  # 2 heads, 4 queries, 3 keys
    chromium.open(attention_html(attn, list("wxyz"), tmp_path / "x.html", keys=["A", "B", "<C>"]))
    chromium.mouse("#queries .token", 1)
    assert weights_shown(chromium, "keys") == [float(w) for w in attn[0, 1]]
    assert list_shown(chromium) == expected_list(attn[0, 1], ["A", "B", "<C>"])
    chromium.mouse("#keys .token", 2)
    assert weights_shown(chromium, "queries") == [float(w) for w in attn[0, :, 2]]
    assert list_shown(chromium) == expected_list(attn[0, :, 2], list("wxyz"))
    assert problems(chromium) == []


@needs_chromium
def test_pinned_query_is_shown_again_after_pointing_at_keys(chromium, tmp_path):
    attn = np.random.default_rng(1).dirichlet(np.ones(3), size=(2, 4)).astype(np.float32)
    chromium.open(attention_html(attn, list("wxyz"), tmp_path / "x.html", keys=["A", "B", "C"]))
    heading = "document.getElementById('from').textContent"
    chromium.mouse("#queries .token", 3, click=True)
    chromium.mouse("#keys .token", 2)
    assert chromium.js(heading) == "Layer 0, head 0: C (2) is attended to by"
    chromium.mouse("h1")
    assert chromium.js(heading) == "Layer 0, head 0: z (3) attends to"
    assert "pinned" in chromium.js("document.querySelectorAll('#queries .token')[3].className")
    assert problems(chromium) == []


@needs_chromium
def test_query_that_may_attend_to_nothing_says_so(chromium, tmp_path):
    chromium.open(attention_html(np.zeros((2, 2)), None, tmp_path / "x.html"))
    assert chromium.js("document.getElementById('from').textContent") == "Layer 0, head 0: 1 attends to nothing"
    assert list_shown(chromium) == []
    assert problems(chromium) == []


# ------------------------------------------------------------------------- themes, address, sizes, notebooks


@needs_chromium
def test_dark_mode_follows_the_system_and_the_button(page):
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.js(background) == "rgb(255, 255, 255)"
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    wait_until(page, "document.documentElement.dataset.theme === 'dark'")
    dark = page.js(background)
    darkest = min(shades_shown(page), key=sum)
    page.send("Emulation.setEmulatedMedia", features=[])
    wait_until(page, "document.documentElement.dataset.theme === 'light'")
    assert sum(map(int, re.findall(r"\d+", dark))) < 120
    assert sum(darkest) < 120  # no weight is no light
    page.mouse("#theme", click=True)
    assert page.js(background) == dark
    page.mouse("#theme", click=True)
    assert page.js(background) == "rgb(255, 255, 255)"


@needs_chromium
def test_address_holds_the_settings(page, tmp_path):
    page.mouse("input[value=in]", click=True)
    choose(page, "scale", "head")
    choose(page, "power", "0.25")
    choose(page, "sort", "broad")
    page.mouse("#first", click=True)
    page.mouse("#overview button", 3, click=True)
    page.mouse("#queries .token", 2, click=True)
    fragment, before = page.js("location.hash"), values(page, "state")
    shown = weights_shown(page)
    page.open(tmp_path / "page.html", fragment)
    assert values(page, "state") == before
    assert weights_shown(page) == shown
    page.js("location.hash = '#layer=1&head=1&token=3'")
    wait_until(page, "state.layer === 1")
    assert_shows(page, 1, 1, 3)


@needs_chromium
@pytest.mark.parametrize(
    "fragment",
    [
        "#layer=99&head=-5&token=1e9",
        "#layer=x&scale=red&power=7&sort=hue&theme=pink&direction=up",
        "#%%%&&==&=",
        "#token=9.5",
    ],
)
def test_address_with_bad_settings_is_ignored(chromium, tmp_path, fragment):
    chromium.open(attention_html(ATTN, TOKENS, tmp_path / "x.html"), fragment)
    assert_shows(chromium, 0, 0, N - 1)
    assert problems(chromium) == []


@needs_chromium
def test_phone_needs_no_sideways_scrolling_and_has_large_targets(chromium, tmp_path):
    chromium.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    chromium.send("Emulation.setTouchEmulationEnabled", enabled=True)
    chromium.send(
        "Emulation.setEmulatedMedia",
        features=[{"name": "pointer", "value": "coarse"}, {"name": "hover", "value": "none"}],
    )
    try:
        chromium.open(attention_html(ATTN, TOKENS, tmp_path / "x.html"))
        width = chromium.js("document.documentElement.scrollWidth")
        sizes = values(chromium, "[...document.querySelectorAll('.token')].map(t => t.offsetHeight)")
        order = chromium.js("element('queries').offsetTop < element('overview').offsetTop")
    finally:
        chromium.send("Emulation.clearDeviceMetricsOverride")
        chromium.send("Emulation.setTouchEmulationEnabled", enabled=False)
        chromium.send("Emulation.setEmulatedMedia", features=[])
    assert width <= 360
    assert min(sizes) >= 32
    assert order  # the tokens come first


@needs_chromium
def test_thumbnails_of_200_tokens_show_thin_lines_and_open_within_5_seconds(chromium, tmp_path):
    n = 200
    attn = np.zeros((12, 12, n, n), np.float32)
    attn[:, 0::3, np.arange(n), np.maximum(0, np.arange(n) - 1)] = 1  # previous token
    attn[:, 1::3, :, 0] = 1  # first token
    attn[:, 2::3] = np.tri(n) / np.tri(n).sum(-1, keepdims=True)
    chromium.open(attention_html(attn, None, tmp_path / "x.html"))
    assert chromium.js("performance.getEntriesByType('navigation')[0].loadEventEnd") < 5000
    code = """thumbnails.map(({ canvas }) => {
        const { width, height } = canvas, d = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        const sum = (y, x) => d[4 * (y * width + x)] + d[4 * (y * width + x) + 1] + d[4 * (y * width + x) + 2];
        return [...Array(height).keys()].map(y => Math.min(...[...Array(width).keys()].map(x => sum(y, x))));
    })"""
    darkest = values(chromium, code)
    for number, rows in enumerate(darkest):
        if number % 13 < 12 and number % 13 % 3 < 2:
            assert max(rows) < 150  # every row of pixels has a dark one
    queries = "document.getElementById('queries')"
    visible = f"document.querySelector('.from').offsetTop < {queries}.scrollTop + {queries}.clientHeight"
    assert chromium.js(visible)  # the last token is scrolled into view


@needs_chromium
def test_uniform_head_is_not_dark(chromium, tmp_path):
    chromium.open(attention_html(np.full((150, 150), 1 / 150), None, tmp_path / "x.html"))
    assert min(sum(shade) for shade in shades_shown(chromium)) > 600


@needs_chromium
def test_notebook_displays_the_page_inline(chromium, tmp_path):
    shown = attention_html(ATTN, TOKENS, tmp_path / "x.html", title="Inline")
    (tmp_path / "notebook.html").write_text(f"<!doctype html><body>{shown._repr_html_()}</body>", encoding="utf-8")
    chromium.open(tmp_path / "notebook.html")
    inside = "document.querySelector('iframe').contentDocument"
    assert chromium.js(f"{inside}.title") == "Inline"
    assert chromium.js(f"{inside}.querySelectorAll('#queries .token').length") == N
    chromium.js(f"{inside}.querySelector('#theme').click()")
    assert chromium.js(f"{inside}.documentElement.dataset.theme") == "dark"
    assert problems(chromium) == []


# -------------------------------------------------------------------------------- tests without a browser


def test_page_is_one_file_without_external_addresses(tmp_path):
    path = attention_html(ATTN, TOKENS, tmp_path / "new" / "page.html", title="{{DATA}} </title><script>")
    text = path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]
    assert not re.search(r"https?:|\bsrc=|<link|@import|url\(", text)
    assert text.count("<script") == text.count("</script>") == 3
    assert "default-src 'none'" in text
    assert "{{DATA}} &lt;/title&gt;&lt;script&gt;" in text


def test_large_page_is_not_embedded_in_a_notebook(tmp_path, monkeypatch):
    path = attention_html(ATTN, path=tmp_path / "<x>.html")
    assert html.escape(path.read_text(encoding="utf-8")) in path._repr_html_()
    monkeypatch.setattr("dlpapers_shared.viz.page.INLINE", 100)
    assert "&lt;x&gt;.html: too large" in path._repr_html_()
    assert path.parent._repr_html_() is None


def test_too_many_weights_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("dlpapers_shared.viz.page.LARGEST", ATTN.size - 1)
    with pytest.raises(ValueError, match="must have at most 599 weights, got 600"):
        attention_html(ATTN, path=tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"logits": np.zeros((3, 5))}, r"`logits` must have shape \(10, vocab_size\), got \(3, 5\)"),
        ({"logits": np.zeros(10)}, "`logits` must have shape"),
        ({"logits": np.full((10, 5), np.nan)}, "`logits` must be finite"),
        ({"logits": np.zeros((10, 5)), "vocabulary": "abc"}, "`vocabulary` must hold one token for each of 5"),
    ],
)
def test_bad_logits_are_an_error(tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        viz.attention_html(ATTN, path=tmp_path / "x.html", **options)
    assert list(tmp_path.iterdir()) == []
