"""Machine code that is made once: numba compiles the kernels, llvmlite loads them ever after.

Importing numba takes longer than everything else a short run does. So the kernels are compiled on the first call
on a machine (`kernels/`, the only modules that import numba) into one object file, which is kept in a cache
folder; every later start hands that file to LLVM's linker and takes the addresses of its entry points.

Kernels see memory only through pointers, allocate nothing and raise nothing; numba's generic wrapper around them
mentions functions for raising, which are therefore never called.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

# Programs (compiled when one of their entry points is first wanted), their entry points and what these take: u8, u32
# and u64 a list of addresses of arrays of that width; `bytes` a Python bytes object; `b`, `p` and `q` the address of an
# array of 8, 32 and 64 bits; `i` an integer. All return an integer.
PROGRAMS: dict[str, dict[str, str]] = {
    "encoder": {
        "vocabulary": "u8 u32 u64 bytes i p p p",
        "encode": "u8 u32 u64 bytes i i i q p i q q",
        "split": "u8 u32 u64 bytes i i q",
        "decode": "p i q i bytes b",
        "decoded_size": "p i q i",
    },
    "trainer": {
        "count": "u8 u32 u64 bytes i i",
        "rehash": "u8 u32 u64 q",
        "words": "u8 u32 u64 q q",
        "lay_out": "u8 u32 u64 b q i",
        "train": "u8 u32 u64 i i i",
        "enter_again": "u8 u32 u64",
    },
}

# What numba's wrapper names for the case that a kernel raises; none does.
NEVER_CALLED = (
    "numba_gil_ensure",
    "numba_gil_release",
    "numba_unpickle",
    "numba_do_raise",
    "numba_runtime_build_excinfo_struct",
    "NRT_Free",
)

_lock = threading.Lock()
_loaded: dict[str, Any] = {}


def available() -> bool:
    """Whether the compiled engine can be used: the extra `fast` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "llvmlite"))


def entry_point(name: str) -> Any:
    """One compiled kernel as a ctypes function. It runs without the interpreter's lock."""
    if name not in _loaded:
        with _lock:
            if name not in _loaded:
                program = next(p for p, entries in PROGRAMS.items() if name in entries)
                _loaded.update(_load(program, _object_code(program)))
    return _loaded[name]


def cache_folder() -> Path:
    """Where compiled kernels are kept: $NUMBA_CACHE_DIR if set, else the user's cache."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "dlpapers-bpe"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dlpapers-bpe"


def _fingerprint() -> str:
    """What the machine code depends on: the sources, the compilers and the processor."""
    llvm = _llvm()
    here = Path(__file__).parent
    sources = [
        Path(__file__),
        here / "layout.py",
        here.parent / "unicode_classes.py",
        *sorted(here.glob("kernels/*.py")),
    ]
    parts = [source.read_bytes() for source in sources]
    host = f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite")]
    return hashlib.sha256(b"\0".join([*parts, host.encode(), *map(str.encode, versions)])).hexdigest()[:32]


def _object_code(program: str) -> bytes:
    """The object file of a program, from the cache or compiled now. An unwritable cache is no error."""
    path = cache_folder() / f"{program}-{_fingerprint()}.o"
    with suppress(OSError):
        digest, code = path.read_bytes()[:32], path.read_bytes()[32:]
        if hashlib.sha256(code).digest() == digest:  # a damaged file is compiled anew
            return code
    message = "compiling the %s for this machine; this happens once and takes some seconds"
    logging.getLogger("bpe").warning(message, program)
    code = _compile(program)
    with suppress(OSError):  # the next start compiles again
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, path)
    return code


def _llvm() -> Any:
    """llvmlite's binding, imported late; it has no types."""
    return importlib.import_module("llvmlite.binding")


def _target() -> Any:
    """LLVM's description of this machine."""
    llvm = _llvm()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = llvm.Target.from_triple(llvm.get_process_triple())
    features = llvm.get_host_cpu_features().flatten()
    return host.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="jitdefault", jit=True
    )


def _compile(program: str) -> bytes:
    """The kernels of a program in one object file; each entry point under its own name."""
    numba: Any = importlib.import_module("numba")
    functions = importlib.import_module("bpe.fast.kernels").FUNCTIONS
    llvm = _llvm()
    by_kind = {"u8": numba.uint8, "u32": numba.uint32, "u64": numba.uint64}
    pointer = numba.types.CPointer
    kinds = {kind: pointer(pointer(dtype)) for kind, dtype in by_kind.items()}
    kinds |= {
        "bytes": pointer(numba.uint8),
        "b": pointer(numba.uint8),
        "p": pointer(numba.uint32),
        "q": pointer(numba.uint64),
        "i": numba.int64,
    }
    linked = None
    for name, arguments in PROGRAMS[program].items():
        signature = numba.int64(*(kinds[kind] for kind in arguments.split()))
        compiled = numba.cfunc(signature, nopython=True, error_model="numpy")(functions[name])
        text = compiled.inspect_llvm().replace(compiled.native_name, f"bpe_{name}")
        for symbol in NEVER_CALLED:
            text = text.replace(f"@{symbol}(", f"@bpe_{symbol}(")  # so that numba's own are left alone
        module = llvm.parse_assembly(text)
        if linked is None:
            linked = module
        else:
            linked.link_in(module)
    return bytes(_target().emit_object(linked))


def _load(program: str, code: bytes) -> dict[str, Any]:
    """Link the object file into this process; its entry points by name."""
    llvm = _llvm()
    for symbol in NEVER_CALLED:
        llvm.add_symbol(f"bpe_{symbol}", ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value)
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    found: dict[str, Any] = {f"the engine of the {program}": engine}  # the engine owns the code
    for name, arguments in PROGRAMS[program].items():
        kinds = [{"bytes": ctypes.c_char_p, "i": ctypes.c_int64}.get(k, ctypes.c_void_p) for k in arguments.split()]
        found[name] = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address(f"bpe_{name}"))
    return found
