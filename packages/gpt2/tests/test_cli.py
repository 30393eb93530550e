import subprocess
import sys


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "gpt2", *arguments], capture_output=True, text=True, check=False)


def test_cite_names_the_paper():
    done = run("cite")
    assert (done.returncode, done.stdout) == (
        0,
        "Language Models are Unsupervised Multitask Learners (2019). https://arxiv.org/abs/1904.00001\n",
    )


def test_an_unknown_command_ends_with_2():
    assert run("nonsense").returncode == 2
