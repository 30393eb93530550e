"""Ahead-of-time compiled kernels: numba compiles them once; later processes load the object file with llvmlite.

Importing numba takes longer than everything else that a short run does. So the first call on a machine compiles the
kernels (`kernels/`, the only modules that import numba) into object files in a cache folder. Every later process hands
these files to LLVM's linker and takes the addresses of their entry points.

Kernels access memory only through pointers; they allocate nothing and raise nothing. The generic wrapper that numba
generates around a kernel refers to functions for raising exceptions, which are therefore never called.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.metadata
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bpe._common.atomic import write_bytes
from bpe.locks import building

# Programs (compiled when one of their entry points is first used), their entry points, and the arguments of these:
# u8, u32 and u64 a list of addresses of arrays of that width; `bytes` a Python bytes object; `b`, `p` and `q` the
# address of an array of 8, 32 and 64 bits; `i` an integer. All return an integer.
PROGRAMS: dict[str, dict[str, str]] = {
    "encoder": {
        "vocabulary": "u8 u32 u64 bytes i p p p",
        "encode": "u8 u32 u64 bytes i i i q p i q q",
        "copy_table": "u8 u32 u64 q i",
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
        "rebuild_table": "u8 u32 u64",
    },
}

# What numba's wrapper refers to for kernels that raise; ours do not. Tested with numba 0.60 to 0.68.
NEVER_CALLED = (
    "numba_gil_ensure",
    "numba_gil_release",
    "numba_unpickle",
    "numba_do_raise",
    "numba_runtime_build_excinfo_struct",
    "NRT_Free",
)

DIGEST_BYTES = 32


class CompilationError(ValueError):
    """Raised when the kernels cannot be compiled or loaded, such as with a broken installation of numba."""


_loaded: dict[str, Any] = {}
_failures: dict[str, CompilationError] = {}


def entry_point(name: str) -> Any:
    """Return one compiled kernel as a ctypes function, which runs without the GIL."""
    if name not in _loaded:
        with building:
            if name not in _loaded:
                _load_once(next(p for p, entries in PROGRAMS.items() if name in entries))
    return _loaded[name]


def _load_once(program: str) -> None:
    if program in _failures:
        raise _failures[program]
    try:
        _loaded.update(_load(program, _object_code(program)[0]))
    except Exception as error:  # whatever a broken numba or LLVM raises
        reason = " ".join(str(error).split())
        _failures[program] = CompilationError(f"the compiled engine cannot be used: {reason}. Use engine='python'")
        raise _failures[program] from error


def warm_up() -> list[Path | None]:
    """Compile all kernels if necessary, and return their files; None for one that no folder could store."""
    paths = []
    for program in PROGRAMS:
        entry_point(next(iter(PROGRAMS[program])))
        paths.append(_object_code(program)[1])
    return paths


def cache_folders() -> Iterator[Path]:
    """Yield folders for compiled kernels, best first: $NUMBA_CACHE_DIR, the user's cache, a temporary folder."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen) / "dlpapers-bpe"
    with suppress(RuntimeError, KeyError):  # no home folder
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        yield base / "dlpapers-bpe"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"dlpapers-bpe-{user}"


def _fingerprint() -> str:
    """Return a hash of what the machine code depends on: the sources, the compilers and the instruction set."""
    llvm = _llvm()
    here = Path(__file__).parent
    sources = [
        Path(__file__),
        here / "struct_layout.py",
        here.parent / "unicode_classes.py",
        *sorted(here.glob("kernels/*.py")),
    ]
    parts = [source.read_bytes() for source in sources]
    host = f"{llvm.get_process_triple()} {llvm.get_host_cpu_features().flatten()}"
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite")]
    return hashlib.sha256(b"\0".join([*parts, host.encode(), *map(str.encode, versions)])).hexdigest()[:32]


def _object_code(program: str) -> tuple[bytes, Path | None]:
    """Return the object file of a program, from a cache folder or compiled now, and where it is stored."""
    name = f"{program}-{_fingerprint()}.o"
    folders = list(cache_folders())
    for folder in folders:
        with suppress(OSError):
            if not _is_trusted(folder):
                continue
            content = (folder / name).read_bytes()
            digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
            if hashlib.sha256(code).digest() == digest:  # a damaged file is compiled again
                return code, folder / name
    message = "compiling the %s for this machine; this happens once and takes some seconds"
    logging.getLogger("bpe").warning(message, program)
    code = _compile(program)
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700 if _is_temporary(folder) else 0o777)
            if _is_trusted(folder):
                write_bytes(folder / name, hashlib.sha256(code).digest() + code)
                return code, folder / name
    return code, None


def _is_temporary(folder: Path) -> bool:
    return folder.parent == Path(tempfile.gettempdir())


def _is_trusted(folder: Path) -> bool:
    """Return whether nobody else can plant machine code in a temporary folder; other folders are the user's choice."""
    if not hasattr(os, "getuid") or not _is_temporary(folder):
        return True
    status = folder.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _llvm() -> Any:
    """Import llvmlite's binding late; it has no type annotations."""
    return importlib.import_module("llvmlite.binding")


def _target() -> Any:
    """Return LLVM's description of this machine."""
    llvm = _llvm()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = llvm.Target.from_triple(llvm.get_process_triple())
    features = llvm.get_host_cpu_features().flatten()
    return host.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="jitdefault", jit=True
    )


def _compile(program: str) -> bytes:
    """Return the kernels of a program in one object file, each entry point under its own name."""
    numba: Any = importlib.import_module("numba")
    disabled = numba.config.DISABLE_JIT  # by $NUMBA_DISABLE_JIT, for debugging other code
    numba.config.DISABLE_JIT = 0
    try:
        return _compiled(program, numba, importlib.import_module("bpe.fast.kernels").FUNCTIONS)
    finally:
        numba.config.DISABLE_JIT = disabled


def _compiled(program: str, numba: Any, functions: dict[str, Any]) -> bytes:
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
            text = text.replace(f"@{symbol}(", f"@bpe_{symbol}(")  # so that numba's own functions stay untouched
        module = llvm.parse_assembly(text)
        if linked is None:
            linked = module
        else:
            linked.link_in(module)
    return bytes(_target().emit_object(linked))


def _load(program: str, code: bytes) -> dict[str, Any]:
    """Link the object file into this process and return its entry points by name."""
    llvm = _llvm()
    for symbol in NEVER_CALLED:
        llvm.add_symbol(f"bpe_{symbol}", ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value)
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    entries: dict[str, Any] = {f"the engine of the {program}": engine}  # it owns the machine code
    for name, arguments in PROGRAMS[program].items():
        kinds = [{"bytes": ctypes.c_char_p, "i": ctypes.c_int64}.get(k, ctypes.c_void_p) for k in arguments.split()]
        entries[name] = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address(f"bpe_{name}"))
    return entries
