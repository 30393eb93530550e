# Vendored: edit shared/vendored/cli.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""One behavior for every command line: errors, help, signals, pipes, encodings.

Bad input is one line `error: …` on stderr and status 2. Ctrl-C is one line and status 130. A closed pipe is silent.
stdin and stdout are UTF-8 whatever the locale. Options are the fields of a dataclass, parsed by tyro.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from .errors import DivergenceError

Command = Callable[[], object]


@dataclass(frozen=True)
class Presets:
    """A command whose first argument names a preset of its options, such as a training recipe.

    values: name -> (one-line description, instance of the command). default: the name for arguments that name none.
    """

    description: str
    values: Mapping[str, tuple[str, Command]]
    default: Callable[[Sequence[str]], str]


def start(module: str) -> None:
    """Import a package's `cli` module and call its `main`: Ctrl-C during the imports is one line, too."""
    try:
        importlib.import_module(module).main()
    except KeyboardInterrupt as error:
        _leave(f"{error}" or "interrupted", 130)


def run(
    commands: Mapping[str, type | Presets], *, prog: str, description: str, arguments: Sequence[str] | None = None
) -> None:
    """Parse the command line, run the command, and end the process if something failed.

    commands: each a dataclass whose instances are called, documented by its docstring (first line: what it does; a
    line `Example: …`), or Presets. prog: the name of the console script and of the distribution dlpapers-PROG.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _use_utf8()
        command = _parse(commands, prog, description, arguments)
        command()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as error:
        _leave(str(error) or "interrupted", 130)
    except DivergenceError as error:
        _leave(f"error: {error}", 1)
    except (ValueError, OSError, ImportError, EOFError, MemoryError) as error:
        _leave(f"error: {_one_line(error)}", 2)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is imported by few commands
            raise
        _leave("error: out of memory on the device. Use a smaller batch or model", 2)


def say(*text: object) -> None:
    """Print a message on stderr; stdout is for results."""
    print(*text, file=sys.stderr, flush=True)


def command_line(prog: str, *more: str) -> str:
    """Return the command that is running, with `more` options: what a user types to repeat or resume it.

    `--overwrite` is left out, because repeating it would delete what the run has saved.
    """
    arguments = [a for a in sys.argv[1:] if a != "--overwrite"]
    return shlex.join([prog, *arguments, *(option for option in more if option not in arguments)])


def _leave(message: str, status: int) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        say(message)
    sys.exit(status)


def _one_line(error: BaseException) -> str:
    """An exception as one line: for a system error `path: reason`."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
        text = text[:1].lower() + text[1:] if error.filename is None else text
    else:
        unnamed = {"MemoryError": "out of memory", "EOFError": "unexpected end of the input"}
        text = str(error) or unnamed.get(type(error).__name__, type(error).__name__)
    with suppress(UnicodeEncodeError):  # arguments that Python decoded in a locale other than UTF-8
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _use_utf8() -> None:
    for stream, errors in ((sys.stdin, "strict"), (sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


# ------------------------------------------------------------------------------------------------ parsing


def _parse(commands: Mapping[str, type | Presets], prog: str, description: str, arguments: list[str]) -> Command:
    """Return the command that the arguments ask for. Prints help or the version and exits where they ask for that."""
    if arguments[:1] == ["--version"]:
        print(f"{prog} {metadata.version('dlpapers-shared' if prog == 'dlpapers-data' else f'dlpapers-{prog}')}")
        sys.exit(0)
    rows = {name: c.description if isinstance(c, Presets) else _summary(c) for name, c in commands.items()}
    name = _choose(prog, description, "command", "COMMAND", rows, arguments)
    chosen, rest = commands[name], arguments[1:]
    if not isinstance(chosen, Presets):
        return _instance(chosen, f"{prog} {name}", rest)
    if rest[:1] and (not rest[0].startswith("-") or rest[0] in ("-h", "--help")):
        about = {key: text for key, (text, _) in chosen.values.items()}
        preset = _choose(f"{prog} {name}", chosen.description, "recipe", "RECIPE", about, rest)
        rest = rest[1:]
    else:
        preset = chosen.default(rest)
    default = chosen.values[preset][1]
    return _instance(type(default), f"{prog} {name} {preset}", rest, default)


def _choose(
    prog: str, description: str, kind: str, metavar: str, rows: Mapping[str, str], arguments: Sequence[str]
) -> str:
    """Return the first argument if it is one of `rows`; print the rows for --help; else an error with a suggestion."""
    first = arguments[0] if arguments else "--help"
    if first in rows:
        return first
    if first in ("-h", "--help"):
        width = max(map(len, rows))
        version = " [--version]" if kind == "command" else ""
        print(f"usage: {prog} [-h]{version} {metavar} [OPTIONS]\n\n{description.strip()}\n")
        print(f"{metavar.lower()}s:" if kind == "command" else f"{kind}s:")
        for name, text in rows.items():
            print(f"  {name:{width}}  {text}")
        print(f"\nRun `{prog} {metavar} --help` for options and an example.")
        sys.exit(0 if arguments else 2)
    near = difflib.get_close_matches(first, rows, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"`{prog} --help` lists them"
    raise ValueError(f"`{kind}` must be one of {', '.join(rows)}, got {first!r}. {hint}")


def _summary(command: type) -> str:
    return (command.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _instance(command: Any, prog: str, arguments: list[str], default: Any = None) -> Command:
    """Parse options with tyro. What tyro rejects becomes a ValueError of one line instead of its box."""
    import tyro

    options: dict[str, Any] = {} if default is None else {"default": default}
    wide = {"COLUMNS": "100000"} if not {"-h", "--help"} & set(arguments) else {}
    before = {key: os.environ.get(key) for key in wide}
    os.environ.update(wide)
    rejected = io.StringIO()
    try:
        with redirect_stderr(rejected):
            parsed: Command = tyro.cli(
                command,
                prog=prog,
                args=arguments,
                registry=_registry(),
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.HelptextFromCommentsOff,
                    tyro.conf.FlagCreatePairsOff,
                ),
                **options,
            )
    except SystemExit as ended:
        if not ended.code:
            raise
        raise ValueError(_from_box(rejected.getvalue(), prog)) from None
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
    return parsed


def _from_box(box: str, prog: str) -> str:
    """Reduce tyro's error box to its first statement, without the names of internal objects."""
    rows = [re.sub(r"^[│|] ?|\s*[│|]$", "", line) for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((i for i, row in enumerate(rows) if row.startswith("─")), len(rows))
    text = " ".join(" ".join(rows[:rule]).split())
    about = re.match(r"Error parsing (?P<what>[^:]+): (?P<message>.*)", text)
    if about:
        message = about["message"]
        return f"`{_field(about['what'])}` {message}" if message.startswith("must be ") else message
    if missing := re.match(r"Missing from [^:]*: *(.*)", text):
        names = re.findall(r"--[\w-]+|\b[A-Z]{2,}\b(?= |$)", missing[1])
        named = [n for i, n in enumerate(names) if n.startswith("--") or i == 0 or not names[i - 1].startswith("--")]
        return f"`{prog}` needs {' and '.join(named) or missing[1]}. `{prog} --help` describes it"
    if choice := re.match(
        r"invalid choice (?P<got>.*) for argument '(?P<what>[^']+)'\. Expected one of \((?P<all>.*)\)", text
    ):
        names = re.findall(r"'([^']*)'", choice["all"])
        return f"`{_field(choice['what'])}` must be one of {', '.join(names)}, got {choice['got']}"
    if valueless := re.match(r"Missing value for argument '([^']+)'", text):
        return f"`{_field(valueless[1])}` needs a value. `{prog} --help` describes it"
    if unknown := re.match(r"Unrecognized options: (.*)", text):
        return f"unknown options: {unknown[1]}. `{prog} --help` lists what is accepted"
    return text or f"these arguments are not accepted. `{prog} --help` lists what is"


def _field(flag: str) -> str:
    """The name of an option as errors state it: --d-model is `d_model`."""
    return flag.split("/")[-1].lstrip("-").replace("-", "_")


def _registry() -> Any:
    """Parsing rules for tyro: messages in the form of this project, and help texts without Python types."""
    from types import NoneType, UnionType
    from typing import Union, get_args, get_origin

    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    def number(kind: type, noun: str, metavar: str) -> PrimitiveConstructorSpec[Any]:
        def read(words: list[str]) -> Any:
            try:
                value = kind(words[0])
                if value - value != 0:  # NaN and the infinities
                    raise ValueError
            except ValueError:
                raise ValueError(f"must be {noun}, got {words[0]!r}") from None
            return value

        return PrimitiveConstructorSpec(1, metavar, read, lambda x: isinstance(x, kind), lambda x: [str(x)])

    @registry.primitive_rule
    def _scalars(info: PrimitiveTypeInfo) -> Any:
        if info.type is int:
            return number(int, "an integer", "N")
        if info.type is str:
            return PrimitiveConstructorSpec(1, "TEXT", lambda w: w[0], lambda x: isinstance(x, str), lambda x: [x])
        return number(float, "a finite number", "X") if info.type is float else None

    def inner(info: PrimitiveTypeInfo, annotation: Any) -> Any:
        made = PrimitiveTypeInfo.make(annotation, info.markers)
        return ConstructorRegistry.get_primitive_spec(made)

    @registry.primitive_rule
    def _optional(info: PrimitiveTypeInfo) -> Any:
        if get_origin(info.type) not in (Union, UnionType):
            return None
        kinds = [t for t in get_args(info.type) if t is not NoneType]
        if len(kinds) != 1 or len(kinds) == len(get_args(info.type)):
            return None
        spec = inner(info, kinds[0])
        return PrimitiveConstructorSpec(
            spec.nargs,
            spec.metavar,
            spec.instance_from_str,
            lambda x: x is None or spec.is_instance(x),
            lambda x: ["none"] if x is None else spec.str_from_instance(x),
            choices=spec.choices,
        )

    @registry.primitive_rule
    def _several(info: PrimitiveTypeInfo) -> Any:
        origin, kinds = get_origin(info.type), get_args(info.type)
        if not (origin is list and len(kinds) == 1) and not (origin is tuple and kinds[1:] == (Ellipsis,)):
            return None
        spec = inner(info, kinds[0])
        if spec.nargs != 1:
            return None
        return PrimitiveConstructorSpec(
            "*",
            f"{spec.metavar} ...",
            lambda words: origin(spec.instance_from_str([word]) for word in words),
            lambda x: isinstance(x, origin) and all(map(spec.is_instance, x)),
            lambda x: [s for each in x for s in spec.str_from_instance(each)] or ["none"],
            choices=spec.choices,
        )

    return registry
