import subprocess
import sys


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "bpe", *arguments], capture_output=True, text=True, check=False)


def test_cite_names_the_paper():
    done = run("cite")
    assert (done.returncode, done.stdout) == (
        0,
        "Neural Machine Translation of Rare Words with Subword Units (2016). https://arxiv.org/abs/1508.07909\n",
    )


def test_an_unknown_command_ends_with_2():
    assert run("nonsense").returncode == 2
