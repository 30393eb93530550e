"""Processes, threads and containers: forks, pools, no home folder, unwritable caches, a broken numba."""

import os
import subprocess
import sys
import textwrap

import pytest
from bpe.fast import aot

POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def run(code, *, check=True, without=(), **environment):
    """Run a script in a new process and return it."""
    code = textwrap.dedent(code)
    env = {key: value for key, value in os.environ.items() if key not in without} | environment
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=env, check=False, timeout=300
    )
    assert not check or done.returncode == 0, done.stderr
    return done


TOKENIZER = """
import os, sys, threading
import bpe
from pydoc_data.topics import topics
texts = [topics[name] for name in sorted(topics)][:40]
textbook = bpe.train_from_iterator(texts[:5], vocab_size=500, engine="python")
tok = bpe.Tokenizer(textbook.ranks, engine={engine!r})
expected = [textbook.encode(text) for text in texts]
"""


@POSIX
def test_after_a_fork_both_processes_give_the_right_ids(engine):
    """The tables must be private: a shared mapping would let one process read slots that the other has written."""
    code = TOKENIZER.format(engine=engine) + (
        """
words = ["qxzjkvwqpxz", " supercalifragilistic", "x" * 300]
want = [textbook.encode(w) for w in words]
tok.encode("warm up")
pid = os.fork()
if pid == 0:
    right = [tok.encode(w) for w in words] == want and tok.encode_batch(texts, num_threads=2) == expected
    os._exit(0 if right else 1)
_, status = os.waitpid(pid, 0)
assert status == 0, "wrong ids in the child"
assert [tok.encode(w) for w in words] == want, "wrong ids in the parent"
assert [tok.encode(text) for text in texts] == expected
"""
    )
    assert run(code).returncode == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_give_the_right_ids(method, tmp_path):
    if method != "spawn" and not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    code = f"""
import multiprocessing
import bpe
from pydoc_data.topics import topics

def encode(text):  # after a fork, with the tokenizer of the parent
    return tok.encode(text)

if __name__ == "__main__":
    texts = [topics[name] for name in sorted(topics)][:40]
    textbook = bpe.train_from_iterator(texts[:5], vocab_size=500, engine="python")
    expected = [textbook.encode(text) for text in texts]
    tok = bpe.Tokenizer(textbook.ranks, engine="numba")
    tok.encode("warm up")
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        function = encode if {method!r} == "fork" else tok.encode
        assert pool.map(function, texts, chunksize=5) == expected
    assert [tok.encode(text) for text in texts] == expected
"""
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@POSIX
def test_a_fork_while_other_threads_encode(engine):
    code = TOKENIZER.format(engine=engine) + (
        """
stop = threading.Event()
def work():
    while not stop.is_set():
        for text in texts[:10]:
            tok.encode_ordinary(text)
            bpe.count_texts([text], "gpt2", compiled=tok.engine == "numba")
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
statuses = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        right = [tok.encode(text) for text in texts] == expected
        right = right and bpe.train_from_iterator(texts[:3], vocab_size=300, engine=tok.engine).n_vocab == 300
        os._exit(0 if right else 1)
    statuses.append(os.waitpid(pid, 0)[1])
stop.set()
for thread in threads:
    thread.join()
assert statuses == [0] * 5, statuses
"""
    )
    assert run(code).returncode == 0


@POSIX
def test_counters_count_on_after_a_fork():
    """Each process has its own table, which it may fill and grow."""
    done = run(
        """
        import os
        from bpe.fast import PretokenCounter

        counter = PretokenCounter("gpt2")
        counter.add(b"warm up")
        def count(start):
            counter.add(" ".join(f"{'abcdefghij'[start]}{'abcdefghijklmnop'[i % 16] * (i // 16 % 7)}" + str(i)
                                 for i in range(60_000)).encode())
            return counter.counts()
        children = []
        for start in range(3):
            pid = os.fork()
            if pid == 0:
                counts = count(start)
                os._exit(0 if counts[b"warm"] == 1 and counts[b"0"] == 1 and len(counts) > 60_000 else 1)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
        assert counter.counts() == {b"warm": 1, b" up": 1}
        """
    )
    assert done.returncode == 0


ENCODES = """
import bpe
tok = bpe.Tokenizer({bytes([b]): b for b in range(256)}, engine="auto")
assert tok.encode("hi") == [104, 105]
assert bpe.train_from_iterator(["abab"], vocab_size=257).merges == [(97, 98)]
print(tok.engine)
"""


@pytest.mark.slow
def test_without_a_home_folder(tmp_path):
    """A container's user may have neither $HOME nor an entry in the password database."""
    code = """
    import pathlib
    def no_home(*arguments):
        raise RuntimeError("Could not determine home directory.")
    pathlib.Path.home = no_home
    """
    temporary = str(tmp_path)
    program = textwrap.dedent(code) + ENCODES
    done = run(program, without=("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), TMPDIR=temporary)
    assert done.stdout == "numba\n"
    again = run(program, without=("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), TMPDIR=temporary)
    assert (again.stdout, again.stderr) == ("numba\n", "")  # the temporary folder has the kernels


@pytest.mark.slow
def test_another_folder_is_used_where_the_cache_cannot_be_written(tmp_path):
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder can be made here")
    (tmp_path / "tmp").mkdir()
    environment = {"NUMBA_CACHE_DIR": str(nowhere), "XDG_CACHE_HOME": str(nowhere), "TMPDIR": str(tmp_path / "tmp")}
    assert "compiling the encoder" in run(ENCODES, **environment).stderr
    assert run(ENCODES, **environment).stderr == ""
    (folder,) = (tmp_path / "tmp").iterdir()
    if hasattr(os, "getuid"):
        folder.chmod(0o777)  # others could plant machine code there
        assert "compiling the encoder" in run(ENCODES, **environment).stderr


@pytest.fixture
def broken_numba(tmp_path):
    """The environment of a process in which numba is installed but cannot be imported."""
    (tmp_path / "modules" / "numba").mkdir(parents=True)
    init = tmp_path / "modules" / "numba" / "__init__.py"
    init.write_text('raise ImportError("Numba needs NumPy 1.26 or less")')
    cache = str(tmp_path / "cache")
    return {"PYTHONPATH": str(tmp_path / "modules"), "NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": cache, "TMPDIR": cache}


def test_auto_falls_back_with_one_warning_where_numba_is_broken(broken_numba):
    done = run(ENCODES, **broken_numba)
    assert done.stdout == "python\n"
    warnings = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert len(warnings) == 1
    assert "Numba needs NumPy 1.26 or less" in warnings[0]
    assert "Continuing with the python engine" in warnings[0]


def test_numba_by_name_is_one_error_where_it_is_broken(broken_numba):
    code = ENCODES.replace('"auto"', '"numba"')
    done = run(code, check=False, **broken_numba)
    last = done.stderr.splitlines()[-1]
    assert "CompilationError: the compiled engine cannot be used: Numba needs NumPy" in last
    command = [sys.executable, "-m", "bpe", "demo", "--engine", "numba"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **broken_numba})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the compiled engine cannot be used: Numba needs NumPy")


@pytest.mark.slow
def test_kernels_are_compiled_where_numba_s_jit_is_disabled(tmp_path):
    done = run(ENCODES, NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout == "numba\n"


@POSIX
@pytest.mark.slow
def test_two_processes_may_compile_at_once(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", ENCODES]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) for _ in "ab"]
    assert [process.communicate()[0] for process in both] == [b"numba\n", b"numba\n"]
    assert run(ENCODES, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {".o": 0o666 & ~umask}  # readable for other users of a shared folder


def test_cache_folders_need_no_home_folder(monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(aot.Path, "home", no_home)
    monkeypatch.setattr(aot.tempfile, "gettempdir", lambda: str(tmp_path))
    (only,) = aot.cache_folders()
    assert only.parent == tmp_path


def test_the_first_writable_cache_folder_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(aot, "_compile", lambda program: f"code of {program}".encode())
    monkeypatch.setattr(aot.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "file").write_text("no folder can be made here")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, path = aot._object_code("trainer")
    assert (code, path.parent.parent) == (b"code of trainer", tmp_path / "tmp")
    monkeypatch.setattr(aot, "_compile", lambda program: b"compiled again")
    assert aot._object_code("trainer") == (code, path)
    path.write_bytes(path.read_bytes()[:-1])  # damaged
    assert aot._object_code("trainer")[0] == b"compiled again"
    if hasattr(os, "getuid"):
        path.parent.chmod(0o777)  # others could plant machine code there
        monkeypatch.setattr(aot, "_compile", lambda program: b"compiled once more")
        assert aot._object_code("trainer") == (b"compiled once more", None)


def test_get_encoding_returns_the_same_object(data_file, engine):
    import bpe

    data_file("tokenizer/encoder.json")
    assert bpe.get_encoding("gpt2", engine=engine) is bpe.get_encoding("gpt2", engine=engine)
