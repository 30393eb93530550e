"""Which implementations are refused, how reports look, and the command `python -m dlpapers_shared.check`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dlpapers_shared import check
from dlpapers_shared.check import cli
from torch import nn

# --------------------------------------------------------------------------------- what is refused, and the output


def one_parameter(x):
    return x


REFUSED = {
    "`one_parameter` must have the signature one_parameter(q, k, v, mask=…, causal=…), got one_parameter(x)": lambda: (
        check.attention(one_parameter)
    ),
    "`<lambda>` must have the signature <lambda>(x, gamma, beta, eps=…), got <lambda>(*arrays)": lambda: (
        check.layer_norm(lambda *arrays: arrays)
    ),
    "`exp` must have the signature exp(q, k, v, mask=…, causal=…), got ": lambda: check.attention(np.exp),
    "must be a function with the signature": lambda: check.attention(3),
    "`Bilinear` must have the signature Bilinear(x, axis=…), got Bilinear(input1, input2)": lambda: check.softmax(
        nn.Bilinear(2, 2, 2)
    ),
    "must have a constructor with the parameters d_model, n_heads": lambda: check.multi_head_attention(nn.Bilinear),
    "`n_heads` must be given, because Linears has no attribute n_heads": lambda: check.multi_head_attention(
        nn.ModuleDict and type("Linears", (nn.Module,), {"__init__": lambda s: _four(s), "forward": lambda s, x: x})
    ),
    "`dtype` must be one of float64, float32, got 'int8'": lambda: check.attention(one_parameter, dtype="int8"),
    "`seed` must be an integer of at least 0, got -1": lambda: check.softmax(one_parameter, seed=-1),
    "`ties` must be one of first, ids, bytes, got 'best'": lambda: check.bpe_trainer(one_parameter, ties="best"),
    "`one_parameter` must have the signature one_parameter(word, merges) or": lambda: check.bpe_encoder(one_parameter),
    "`one_parameter` must have the signature one_parameter(words, num_merges) or": lambda: check.bpe_trainer(
        one_parameter
    ),
    "`Plain` must have a method step() or step(grads)": lambda: check.adam(type("Plain", (), {})),
    "`warmup_steps` must be an integer of at least 1, got 0": lambda: check.schedule(one_parameter, warmup_steps=0),
    "`norm` must be one of pre, post, got 'rms'": lambda: check.decoder_block(one_parameter, norm="rms"),
}


def _four(module):
    nn.Module.__init__(module)
    module.q, module.k, module.v, module.o = (nn.Linear(8, 8) for _ in range(4))


@pytest.mark.parametrize("message", REFUSED, ids=lambda m: m[:40].replace(" ", "-"))
def test_unclear_implementations_are_refused_with_the_expected_form(message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        REFUSED[message]()
    assert str(error.value).startswith(message) or message in str(error.value)
    assert "\n" not in str(error.value)


def test_exceptions_and_missing_code_are_failed_checks():
    def unwritten(q, k, v):
        raise NotImplementedError("exercise 1")

    report = check.attention(unwritten)
    assert not report.passed
    assert {row.detail for row in report.failures} == {"is not implemented yet (exercise 1)"}
    report = check.attention(lambda q, k, v: 1 / 0)
    assert report.failures[0].detail == "raises ZeroDivisionError: division by zero"
    report = check.softmax(lambda x: x[:2])
    assert report.failures[0].detail == "output has shape (2, 4), must have (4, 4)"


def test_float32_arithmetic_is_named_and_passes_in_float32():
    def low(q, k, v):
        q, k, v = (t.float() for t in (q, k, v))
        return torch.softmax(q @ k.transpose(-1, -2) / q.size(-1) ** 0.5, -1) @ v

    assert "as small as float32 rounding" in check.attention(low).failures[0].detail
    assert check.attention(low, dtype="float32")


def test_a_notebook_shows_a_table_and_a_terminal_shows_text():
    report = check.schedule(lambda step, d_model, warmup: d_model**-0.5 * max(step**-0.5, step * warmup**-1.5))
    page = report._repr_html_()
    assert page.startswith("<table>")
    assert page.count("<tr>") == len(report.rows) == 2
    assert "<b>This matches a common mistake: max instead of min of the two terms.</b>" in page
    assert "0 of 2 checks pass" in page
    assert "<lambda>" not in page  # escaped
    assert str(report).endswith("0 of 2 checks pass")


# ---------------------------------------------------------------------------------------------- the command line

MODULE = """
import numpy as np

def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)

def wrong(x):
    e = np.exp(x - x.max())
    return e / e.sum()

def attention(q, k, v):
    return softmax(q @ k.swapaxes(-1, -2)) @ v
"""


def run(folder, *arguments):
    command = [sys.executable, "-m", "dlpapers_shared.check", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_exit_status_is_0_for_correct_1_for_wrong_and_2_for_refused(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    done = run(tmp_path, "softmax", "mine:softmax")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("softmax: mine:softmax (NumPy)\n  ok ")
    done = run(tmp_path, "attention", "mine.py:attention")
    assert (done.returncode, done.stderr) == (1, "")
    assert "This matches a common mistake: attention without the 1/√d_k" in done.stdout
    done = run(tmp_path, "attention", "mine:softmax")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: `softmax` must have the signature softmax(q, k, v, mask=…, causal=…), got ")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine", "`target` must be MODULE:NAME or FILE.py:NAME, got 'mine'"),
        ("mine:nothing", "`target` must name something in mine, got 'nothing'"),
        ("absent:f", "`target` must be importable, got ModuleNotFoundError in absent: No module named 'absent'"),
        ("broken:f", "`target` must be importable, got ZeroDivisionError in broken: division by zero"),
    ],
)
def test_a_target_that_cannot_be_imported_is_one_error_line(tmp_path, target, message):
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    done = run(tmp_path, "softmax", target)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_each_subject_has_an_example_and_no_internals(command, capsys, monkeypatch):
    from package_checks import INTERNALS

    monkeypatch.setattr(sys, "argv", ["check", command, "--help"])
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"Example: python -m dlpapers_shared.check {command} " in out
    assert not INTERNALS.search(out.replace("__main__", ""))


def test_the_readme_shows_what_its_command_prints(tmp_path):
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    code = readme.partition("cat > mymodule.py <<'EOF'\n")[2].partition("EOF\n")[0]
    shown = readme.partition("```\nattention: mymodule")[2].partition("exit status 1\n")[0]
    assert code
    (tmp_path / "mymodule.py").write_text(code, encoding="utf-8")
    assert run(tmp_path, "attention", "mymodule:attention").stdout == f"attention: mymodule{shown}"


def test_a_missing_target_is_one_error_line(tmp_path):
    done = run(tmp_path, "softmax")
    assert (done.returncode, done.stdout) == (2, "")
    command = "python -m dlpapers_shared.check softmax"
    assert done.stderr == f"error: `{command}` needs TEXT. `{command} --help` describes it\n"


def test_numpy_functions_are_checked_where_torch_cannot_be_imported(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    code = "import sys; sys.modules['torch'] = None; import mine; from dlpapers_shared import check; "
    code += "print(check.softmax(mine.softmax).passed, check.attention(mine.attention).passed)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_help_lists_all_subjects_and_imports_nothing_slow(tmp_path):
    done = run(tmp_path, "--help")
    assert all(f"\n  {name} " in done.stdout for name in cli.COMMANDS)
    assert run(tmp_path, "--version").stdout.startswith("python -m dlpapers_shared.check 0.")
    wrong = run(tmp_path, "atention", "x:y")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "Did you mean attention?" in wrong.stderr
    code = "import sys, dlpapers_shared.check.cli; print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_report_without_any_check_does_not_pass():
    assert not check.Report("softmax", "f", "NumPy")
