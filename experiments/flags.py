"""The bridge between the command line and the library, and the only one.

A dataclass of options becomes absl flags of the same names; what was given becomes
that dataclass, validated; and a configuration becomes a flagfile that repeats it. A
mistake ends the program with one sentence on standard error and the exit code of its
kind (`ncf_jax.errors`); nothing has been read or written by then.
"""

import _thread
import dataclasses
import difflib
import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from experiments import stopping
from ncf_jax import processes
from ncf_jax.config import Options
from ncf_jax.errors import ConfigError, NcfError
from ncf_jax.xla import fix_threads, keep_compiled

OptionsT = TypeVar("OptionsT", bound=Options)
DATA_DIR_VARIABLE = "NCF_JAX_DATA_DIR"
NOUNS: dict[type, str] = {int: "a whole number", float: "a number", str: "text"}


class _Parser(flags.ArgumentParser):
    """Parses one value and says in plain words what was wanted."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind
        self.syntactic_help = NOUNS[kind]

    def parse(self, argument: Any) -> Any:
        """The value of `argument`, or a ValueError that absl puts the flag before."""
        try:
            return self.kind(argument)
        except ValueError:
            raise ValueError(f"wants {NOUNS[self.kind]}; found {argument!r}") from None

    def flag_type(self) -> str:
        """For absl's help."""
        return self.kind.__name__


class _ListParser(flags.ArgumentParser):
    """Parses values between commas, each as a `_Parser` would."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.each = _Parser(kind)
        self.syntactic_help = f"{self.each.syntactic_help}, or several between commas"

    def parse(self, argument: Any) -> Any:
        """A tuple of values."""
        if isinstance(argument, tuple):
            return argument
        return tuple(self.each.parse(part) for part in argument.split(",") if part)

    def flag_type(self) -> str:
        """For absl's help."""
        return "list"


class _ListSerializer(flags.ArgumentSerializer):
    """Values between commas, as they are given."""

    def serialize(self, value: Any) -> str:
        """`10,5,20`."""
        return ",".join(map(str, value))


class _BooleanParser(flags.BooleanParser):
    """absl's own, with a sentence for people."""

    def parse(self, argument: Any) -> bool:
        """True or False."""
        try:
            return super().parse(argument)
        except (ValueError, TypeError):
            raise ValueError(f"wants true or false; found {argument!r}") from None


def define(options: type[Options]) -> flags.FlagValues:
    """One flag for each field of `options`, and `--flagfile`."""
    values = flags.FlagValues()
    for field in dataclasses.fields(options):
        text, kind = field.metadata["help"], type(field.default)
        if field.metadata["choices"]:
            text += f" One of: {', '.join(field.metadata['choices'])}."
        default = default_of(field)
        if kind is bool:
            flags.DEFINE_boolean(field.name, default, text, flag_values=values)
            values[field.name].parser = _BooleanParser()
        else:
            many = kind is tuple
            flags.DEFINE(
                _ListParser(field.metadata["of"]) if many else _Parser(kind),
                field.name,
                default,
                text,
                flag_values=values,
                serializer=_ListSerializer() if many else flags.ArgumentSerializer(),
            )
    return values


def default_of(field: dataclasses.Field) -> Any:
    """A field's default; the environment may name another data folder."""
    if field.name == "data_dir":
        return os.environ.get(DATA_DIR_VARIABLE) or field.default
    return field.default


def parse(options: type[OptionsT], arguments: Sequence[str]) -> OptionsT:
    """The options that `arguments` give.

    Raises:
      ConfigError: an unknown flag, an impossible value or a contradiction.
    """
    if any(argument.strip("-") == "flagfile=" for argument in arguments):
        raise ConfigError("--flagfile wants the name of a file; found nothing.")
    values = define(options)
    names = {field.name for field in dataclasses.fields(options)}
    try:
        rest = values(["", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, names, n=1)
        hint = f" Did you mean --{near[0]}?" if near else " --help lists all flags."
        raise ConfigError(f"There is no flag --{error.flagname}.{hint}") from None
    except flags.CantOpenFlagFileError as error:
        text = str(error).removeprefix("ERROR:: ")
        raise ConfigError(f"The flagfile cannot be read: {text}.") from None
    except UnicodeDecodeError:
        files = [argument for argument in arguments if "flagfile" in argument]
        raise ConfigError(f"Not UTF-8 text: {' '.join(files)}.") from None
    except flags.Error as error:
        text = str(error).removeprefix("flag ")
        raise ConfigError(text if text.startswith("--") else f"Flags: {text}") from None
    except RecursionError:  # absl looks for a name that is near
        raise ConfigError(
            "There is no flag whose name is so long. --help lists all flags."
        ) from None
    except ValueError as error:  # of --noname=value, the one that absl lets through
        flag = str(error).partition("=")[0]
        raise ConfigError(f"{flag} takes no value. Write {flag} alone.") from None
    given: dict[str, Any] = {name: values[name].value for name in names}
    if rest and options.POSITIONAL:
        given[options.POSITIONAL] = (*given[options.POSITIONAL], *rest)
    elif rest:
        raise ConfigError(
            f"Expected flags only; found {rest[0]!r}. Write --name=value."
        )
    return options(**given)


def to_flagfile(
    config: Options, program: str = "experiments.train", **instead: str
) -> str:
    """Every effective flag, a line each; `--flagfile` of it repeats the run.

    The workdir stands in a comment: repeating a run makes a new one.

    Args:
      config: the options.
      program: what they are options of.
      **instead: values in place of the given ones, such as the fingerprints found, so
        that the flagfile refuses other data.
    """
    lines = [
        "# Every effective flag of this run. To repeat it:",
        f"#   python -m {program} --flagfile=<this file> --workdir=<new folder>",
    ]
    for field in dataclasses.fields(config):
        value = instead.get(field.name, getattr(config, field.name))
        if field.name == "workdir" or field.metadata["machine"]:
            continue
        if field.name in ("data_dir", "cache_dir") and value:
            value = Path(value).resolve()  # the same from any folder
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        text = str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f"--{field.name}={text}")
    return "\n".join(lines) + "\n"


def run(main: Callable[[Any], None], options: type[Options], text: str | None) -> None:
    """Parses the command line, runs `main(options)` and exits.

    Args:
      main: the command.
      options: the dataclass of its options.
      text: the module's docstring, shown by `--help`.
    """
    arguments = sys.argv[1:]
    keep_compiled()
    fix_threads()
    if main.__module__ == "__main__":
        sys.unraisablehook = _interrupt_again
    try:
        if HELP & set(arguments):
            print(f"{(text or '').strip()}\n\nflags:\n{define(options).get_help()}")
        else:
            with stopping.heard(last=main.__module__ == "__main__"):
                _together(main, parse(options, arguments))
        sys.stdout.flush()
    except NcfError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        sentence, code = INTERRUPTED
        if isinstance(stop, stopping.Stopped):
            sentence, code = stopping.SENTENCE, stopping.CODE
        try:
            _fail(sentence, code)
        finally:
            if main.__module__ == "__main__":
                # Threads of XLA may be compiling still, and die badly with Python.
                sys.stderr.flush()
                os._exit(code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        processes.fail("the reader of its output has gone.", 141)
        sys.exit(141)
    except OSError as error:
        if not error.filename and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # not of a file that the user named
        _fail(f"{error.filename or 'A file'}: {error.strerror}.", 4)
    except MemoryError:
        _fail(OUT_OF_MEMORY, 6)
    except RuntimeError as error:  # XLA's own error class is a RuntimeError
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _fail(OUT_OF_MEMORY, 6)


def _together(main: Callable[[Any], None], options: Options) -> None:
    """Runs a command; if it joined other processes, ends with them."""
    try:
        main(options)
        processes.finish()
    except (NcfError, BrokenPipeError):
        raise
    except SystemExit as end:
        if end.code:
            processes.fail("it ended early.", end.code if type(end.code) is int else 1)
        raise
    except Exception as error:
        processes.blame(error)
        raise


def _interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C may fall into a library's callback, where Python drops the exception."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        number = SIGNALS[issubclass(lost.exc_type, stopping.Stopped)]
        again = functools.partial(_thread.interrupt_main, number)
        threading.Timer(0.05, again).start()  # when this is over
    else:
        sys.__unraisablehook__(lost)


SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = ("Interrupted. The same command goes on, or starts again.", 130)
HELP = {"--help", "-h", "-help", "--helpfull", "--helpshort"}
OUT_OF_MEMORY = (
    "Out of memory. The last checkpoint is whole; use a smaller --batch_size, "
    "--embedding_dim or --num_seeds."
)


def _fail(sentence: str, code: int) -> None:
    sys.stdout.flush()
    code = processes.say(sentence, code)
    processes.fail(sentence, code)
    sys.exit(code)
