"""What an option is: a field of a frozen dataclass that is also a flag, validated.

Example:
  >>> @dataclasses.dataclass(frozen=True)
  ... class Sizes(Options):
  ...     width: int = option(4, "Width of a row.", minimum=1)
  >>> Sizes(width=0)
  Traceback (most recent call last):
  ...
  ncf_jax.errors.ConfigError: --width wants at least 1; found 0.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from ncf_jax.errors import ConfigError

MAX_INT = 2**31 - 1  # arrays on the device are indexed by int32
UNFIT = ("Cc", "Cs", "Zl", "Zp")  # characters that no line of a flagfile can hold


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    only_with: Mapping[str, tuple[str, ...]] | None = None,
    identity: bool = True,
    of: type = str,
    empty: bool = False,
    path: bool = False,
    machine: bool = False,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
      default: the value when nothing is given; its type is the option's type.
      help: one line for `--help`.
      choices: the allowed strings.
      minimum: the smallest allowed number.
      maximum: the largest allowed number; that of an int32 for whole numbers.
      below: a number that the value must stay under.
      only_with: other options and the values of theirs with which this one has an
        effect; changing it with any other value is a contradiction.
      identity: False for options that say where to look or write but do not change
        any number, so that two runs which differ only there are the same run.
      of: type of the values of an option whose default is a tuple.
      empty: whether such an option may have no value.
      path: whether a path, which has a slash or a point in it, is a choice besides.
      machine: whether it is of this process alone, and no part of a flagfile.
    """
    if (type(default) is int or of is int) and maximum is None:
        maximum = MAX_INT
    metadata = dict(
        help=help,
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        below=below,
        only_with=only_with or {},
        identity=identity,
        of=of,
        empty=empty,
        path=path,
        machine=machine,
    )
    return dataclasses.field(default=default, metadata=metadata)


def nearest(found: str, names: tuple[str, ...]) -> str:
    """A sentence that offers the closest of `names`, or nothing when none is close."""
    close = difflib.get_close_matches(found, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


@dataclasses.dataclass(frozen=True)
class Options:
    """What all option sets share: validation of each field against its metadata."""

    POSITIONAL: ClassVar[str] = ""  # the field that takes arguments without a flag

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          ConfigError: a value has the wrong type, is out of range or contradicts
            another; the sentence names the flag.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if _kind(field) is float and type(value) is int:
                # 1 and 1.0 are the same option, and must be the same run.
                object.__setattr__(self, field.name, float(value))
            if _kind(field) is tuple:  # 10, [10] from JSON and (10,) likewise
                each = value if isinstance(value, list | tuple) else (value,)
                object.__setattr__(self, field.name, tuple(each))
            _check_value(field, getattr(self, field.name))
            if field.name != self.POSITIONAL:  # which no flagfile holds
                _check_line(field, getattr(self, field.name))
        for field in dataclasses.fields(self):
            _check_effect(field, self)

    def identity(self) -> dict[str, Any]:
        """The options that decide the numbers, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["identity"]
        }

    def digest(self) -> str:
        """8 hex digits of the options that decide the numbers."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def differences(theirs: Options, ours: Options) -> list[str]:
    """The options that make two runs different, as `name: theirs there, ours here`.

    Example:
      >>> from ncf_jax import Config
      >>> differences(Config(), Config(seed=1, workdir="elsewhere"))
      ['--seed: 0 there, 1 here']
    """
    a, b = theirs.identity(), ours.identity()
    return [
        f"--{name}: {shown(a[name])} there, {shown(b[name])} here"
        for name in a
        if a[name] != b[name]
    ]


def shown(value: Any) -> str:
    """A value as the command line has it: several between commas."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _kind(field: dataclasses.Field) -> type:
    return type(field.default)


def _is_a(value: Any, kind: type) -> bool:
    # Python counts True as a whole number; an option does not.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _check_value(field: dataclasses.Field, value: Any) -> None:
    if _kind(field) is tuple:
        if not value and field.default and not field.metadata["empty"]:
            raise ConfigError(f"--{field.name} wants at least one value; found none.")
        for each in value:
            _check_one(field, each, field.metadata["of"])
    else:
        _check_one(field, value, _kind(field))


def _check_one(field: dataclasses.Field, value: Any, kind: type) -> None:
    meta = field.metadata
    flag = f"--{field.name}"
    number = kind in (int, float)
    if not _is_a(value, kind):
        raise ConfigError(
            f"{flag} wants a value of type {kind.__name__}; found {value!r}."
        )
    a_path = meta["path"] and ("/" in value or "." in value)
    if meta["choices"] and value not in meta["choices"] and not a_path:
        wanted = ", ".join(meta["choices"])
        hint = nearest(value, meta["choices"])
        raise ConfigError(f"{flag} wants one of {wanted}; found {value!r}.{hint}")
    if number and not math.isfinite(value):
        raise ConfigError(f"{flag} wants a finite number; found {value!r}.")
    if meta["minimum"] is not None and value < meta["minimum"]:
        raise ConfigError(f"{flag} wants at least {meta['minimum']}; found {value!r}.")
    if meta["maximum"] is not None and value > meta["maximum"]:
        raise ConfigError(f"{flag} wants at most {meta['maximum']}; found {value!r}.")
    if meta["below"] is not None and value >= meta["below"]:
        raise ConfigError(f"{flag} wants less than {meta['below']}; found {value!r}.")


def _check_line(field: dataclasses.Field, value: Any) -> None:
    """Refuses a text that a line of a flagfile would change, or be more than."""
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, str):
            continue
        if any(unicodedata.category(x) in UNFIT for x in each):
            unfit = "control characters"
        elif each != each.rstrip():
            unfit = "a space at its end"
        else:
            continue
        raise ConfigError(f"--{field.name} wants text without {unfit}; found {each!r}.")


def _check_effect(field: dataclasses.Field, options: Any) -> None:
    value = getattr(options, field.name)
    for other, values in field.metadata["only_with"].items():
        if value != field.default and getattr(options, other) not in values:
            raise ConfigError(
                f"--{field.name}={value} has no effect with "
                f"--{other}={getattr(options, other)}; leave it out, or choose "
                f"--{other} among {', '.join(values)}."
            )
