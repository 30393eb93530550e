import subprocess
import sys


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "{{MODULE}}", *arguments], capture_output=True, text=True, check=False)


def test_cite_names_the_paper():
    done = run("cite")
    assert (done.returncode, done.stdout) == (0, "{{TITLE}} ({{YEAR}}). https://arxiv.org/abs/{{ARXIV}}\n")


def test_an_unknown_command_ends_with_2():
    assert run("nonsense").returncode == 2
