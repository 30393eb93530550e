"""Mistakes that the suite has to notice."""

from mutation import Mutant

MUTANTS = [
    # data
    Mutant(
        "data.py", "bool(pooch.file_hash(str(path)) == wanted.sha256)", "True", "no hash is checked", "test_data.py"
    ),
    Mutant(
        "data.py", "(data_dir(), cache_dir()) if", "(cache_dir(), data_dir()) if", "the cache first", "test_data.py"
    ),
    Mutant("data.py", "Fraction(str(fraction))", "fraction", "0.29 of 100 is 28", "test_data.py"),
    Mutant("data.py", "if len(inside) != 1:", "if not inside:", "any of two members of one name", "test_data.py"),
    Mutant("data.py", "gzip.decompress(raw) if", "raw if", "compressed text is not unpacked", "test_data.py"),
    Mutant(
        "data.py",
        "if found is not None and found != cache_dir() / name:",
        "if found is not None:",
        "a spoilt cache is an error for ever",
        "test_download.py",
    ),
    Mutant(
        "data.py", "            response.raise_for_status()\n", "", "an error page taken for data", "test_download.py"
    ),
    Mutant("data.py", '"identity"', '"gzip"', "asks for a compressed form", "test_download.py"),
    Mutant("data.py", "None if progress else True", "True", "never a progress bar", "test_download.py"),
    Mutant("data.py", "isinstance(cause, TimeoutError)", "False", "a stall is not called one", "test_download.py"),
    Mutant("__main__.py", "sys.exit(130)", "sys.exit(0)", "an interrupted fetch reports success", "test_download.py"),
    Mutant("__main__.py", "        if wrong:\n", "        if not right:\n", "verify passes wrong files", "test_cli.py"),
    Mutant("files.py", "temporary.unlink(missing_ok=True)", "pass", "a failed write leaves its part", "test_files.py"),
    # timing
    Mutant(
        "timing.py",
        "theirs.on(clock) / ours.on(clock)",
        "ours.on(clock) / theirs.on(clock)",
        "upside down",
        "test_timing.py",
    ),
    Mutant(
        "timing.py",
        "median(self.ratios(peer, clock))",
        "self.seconds(peer, clock) / self.seconds(None, clock)",
        "the ratio of the medians",
        "test_timing.py",
    ),
    Mutant(
        "timing.py",
        "taken = [[timed(call) for call in sides] for _ in range(rounds)]",
        "taken = list(zip(*[[timed(call) for _ in range(rounds)] for call in sides]))",
        "A A B B, not in turn",
        "test_timing.py",
    ),
    Mutant("timing.py", "for _ in range(warmup):", "for _ in range(0):", "no warm-up", "test_timing.py"),
    Mutant(
        "timing.py", "return self.cpu if clock", "return self.wall if clock", "wall time for CPU time", "test_timing.py"
    ),
    # figures
    Mutant(
        "viz/attention.py",
        "axis.imshow(weights[layer, head],",
        "axis.imshow(weights[layer, head].T,",
        "transposed",
        "test_attention.py",
    ),
    Mutant(
        "viz/attention.py",
        "vmax=top",
        "vmax=weights[layer, head].max()",
        "each panel on its own scale",
        "test_attention.py",
    ),
    Mutant(
        "viz/attention.py",
        "y_labels[::every]",
        "y_labels[: -(-n_queries // every)]",
        "labels at other places",
        "test_attention.py",
    ),
    Mutant("viz/training.py", "ends - window)", "ends - window - 1)", "a mean over one too many", "test_curves.py"),
    Mutant(
        "viz/training.py",
        "pairs = pairs[np.isfinite(pairs).all(axis=1)]\n",
        "pass\n",
        "NaN spoils the mean",
        "test_curves.py",
    ),
    Mutant(
        "viz/training.py",
        "number > len(lines)",
        "number > len(lines) + 1",
        "an unfinished line is an error",
        "test_curves.py",
    ),
    Mutant("viz/positions.py", "unit @ unit.T", "table @ table.T", "products for cosines", "test_functions.py"),
    Mutant("viz/functions.py", "/ (2 * step)", "/ step", "twice the derivative", "test_functions.py"),
    Mutant(
        "viz/functions.py", "0.044715 * x**3))))", "0.44715 * x**3))))", "GELU's constant mistyped", "test_functions.py"
    ),
    Mutant("viz/tokens.py", "np.argsort(-values", "np.argsort(values", "the least probable tokens", "test_tokens.py"),
    Mutant("viz/tokens.py", "pair = min(", "pair = max(", "the last merge first", "test_tokens.py"),
    Mutant(
        "viz/style.py", '#fe571c", "#490003"', '#7a8800", "#490003"', "a colour that others resemble", "test_style.py"
    ),
    # the page
    Mutant("viz/page.py", '.replace("<", "\\\\u003c")', "", "a token ends the script", "test_page.py"),
    Mutant("viz/page.py", "html.escape(title)", "title", "the title is taken as HTML", "test_page.py"),
    Mutant(
        "viz/page.html",
        "(layer * data.heads + head)",
        "(head * data.layers + layer)",
        "layers and heads exchanged",
        "test_page.py",
    ),
    Mutant(
        "viz/page.html",
        "keys.map((_, k) => weight(layer, head, query, k))",
        "keys.map((_, k) => weight(layer, head, k, query))",
        "who looks here, not where it looks",
        "test_page.py",
    ),
    Mutant(
        "viz/page.html", "state.kept === query ? null : query", "query", "a kept token is never let go", "test_page.py"
    ),
    Mutant("viz/page.html", "row[b] - row[a]", "row[a] - row[b]", "the least looked at first", "test_page.py"),
]
