"""The file that names what a sweep varies: text, an option a line.

  learning_rate = log 0.0005 0.01    # low, high; drawn evenly on a logarithmic scale
  embedding_dim = int 8 64 8         # low, high and, where it is not 1, a step
  dropout = float 0 0.5              # low, high
  loss = one_of mse huber            # two values or more

Every mistake in it is one sentence that begins with file and line.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.flags import NOUNS
from ncf_jax.config import Config, JudgeConfig, nearest
from ncf_jax.errors import ConfigError
from ncf_jax.options import shown

WAYS: dict[type, tuple[str, ...]] = {
    float: ("log", "float", "one_of"),
    int: ("log", "int", "one_of"),
    str: ("one_of",),
    bool: ("one_of",),
}
WANTED = {
    "log": "two numbers, low and high",
    "float": "two numbers, low and high",
    "int": "low, high and, where it is not 1, a step",
    "one_of": "two values or more",
}
BOOLEANS = {"true": True, "false": False}
# Figures on other data or by another reading cannot be compared, and the best of many
# seeds is luck: neither is searched.
KINDS: dict[str, type] = {
    field.name: type(field.default)
    for field in dataclasses.fields(Config)
    if field.metadata["identity"] and type(field.default) in WAYS
}
for _name in (*(f.name for f in dataclasses.fields(JudgeConfig)), "seed", "num_seeds"):
    KINDS.pop(_name, None)


class Axis(NamedTuple):
    """What one option may be.

    Attributes:
      how: `log`, `float`, `int` or `one_of`.
      values: low, high and, of `int`, a step; or the values to choose among.
      line: of the file.
    """

    how: str
    values: tuple[Any, ...]
    line: int = 0

    def __str__(self) -> str:
        """As the file has it: `int 8 64 8`."""
        return " ".join([self.how, *map(shown, self.values)])

    def holds(self, value: Any) -> bool:
        """Whether `value` is one that a trial may have."""
        if self.how == "one_of":
            return value in self.values
        low, high, *step = self.values
        steps = self.how != "int" or (value - low) % (step[0] if step else 1) == 0
        return low <= value <= high and steps

    def corners(self) -> tuple[Any, ...]:
        """The values that decide whether all are possible."""
        return self.values if self.how == "one_of" else self.values[:2]


Space = Mapping[str, Axis]


def read(path: Path, base: Config) -> dict[str, Axis]:
    """The axes of the file by option, each of their settings possible with `base`.

    They are in alphabetical order, so that the order of lines changes no trial.

    Raises:
      ConfigError: the file cannot be read, a line says nothing that can be searched,
        or some of the settings are impossible.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(
            f"--space={path} cannot be read ({error.strerror})."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"--space={path} is not UTF-8 text.") from None
    found: dict[str, Axis] = {}
    for number, line in enumerate(lines, start=1):
        if not (text := line.split("#")[0].strip()):
            continue
        try:
            name, axis = parse(text)
            if name in found:
                raise ConfigError(f"{name} is on line {found[name].line} already.")
        except ConfigError as error:
            raise ConfigError(f"{path}:{number}: {error}") from None
        found[name] = axis._replace(line=number)
    if not found:
        raise ConfigError(
            f"--space={path} names no option; write one a line, such as "
            f"'learning_rate = log 0.0005 0.01'."
        )
    found = dict(sorted(found.items()))
    check(path, found, base)
    return found


def parse(text: str) -> tuple[str, Axis]:
    """The option and the axis of one line.

    Example:
      >>> parse("embedding_dim = int 8 64 8")
      ('embedding_dim', Axis(how='int', values=(8, 64, 8), line=0))

    Raises:
      ConfigError: it says no such thing; the sentence says what is wanted.
    """
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError(
            f"wants 'option = values', such as 'dropout = float 0 0.5'; found {text!r}."
        )
    if name not in KINDS:
        raise ConfigError(_no_option(name))
    kind = KINDS[name]
    how, *words = rest.split() or [""]
    if how not in WAYS[kind]:
        hint = nearest(how, WAYS[kind])
        raise ConfigError(
            f"{name} is {NOUNS.get(kind, 'true or false')} and wants one of "
            f"{', '.join(WAYS[kind])}; found {how!r}.{hint}"
        )
    enough = len(words) >= 2 if how == "one_of" else len(words) == 2
    if not (enough or (how == "int" and len(words) == 3)):
        given = " ".join(words) or "nothing"
        raise ConfigError(f"{name}: {how} wants {WANTED[how]}; found {given}.")
    values = tuple(_value(name, word, kind) for word in words)
    if how == "one_of":
        if len(set(values)) < len(values):
            raise ConfigError(f"{name}: one_of wants each value once; found {rest!r}.")
        return name, Axis(how, values)
    low, high, *step = values
    if not low < high:
        raise ConfigError(
            f"{name}: {how} wants a low below the high; found {low} and {high}."
        )
    if how == "log" and low <= 0:
        raise ConfigError(f"{name}: log wants a low above 0; found {low}.")
    if step and (step[0] < 1 or (high - low) % step[0]):
        raise ConfigError(
            f"{name}: int wants a step that leads from {low} to {high}; found "
            f"{step[0]}."
        )
    return name, Axis(how, values)


def _no_option(name: str) -> str:
    kinds = {field.name: type(field.default) for field in dataclasses.fields(Config)}
    if kinds.get(name) is tuple:
        return f"{name} takes several values and is not searched. Give it as a flag."
    if name in kinds:
        return (
            f"{name} is not searched: options of the data, of the judging and of the "
            f"seeds are the same for all trials. Give it as a flag."
        )
    return f"There is no option {name!r} to search.{nearest(name, tuple(KINDS))}"


def _value(name: str, word: str, kind: type) -> Any:
    try:
        value = BOOLEANS[word] if kind is bool else kind(word)
        if kind is float and not math.isfinite(value):
            raise ValueError
    except (ValueError, KeyError):
        wanted = NOUNS.get(kind, "true or false")
        raise ConfigError(f"{name} wants {wanted}; found {word!r}.") from None
    return value


def check(path: Path, space: Space, base: Config) -> None:
    """Sees to it that every setting of the space is a possible configuration.

    A contradiction is between two options, so all pairs of corners show all of them;
    the others stay inside the space meanwhile, since `base` itself may be outside.

    Raises:
      ConfigError: a setting is impossible; the line is that of an option it names.
    """
    first = {name: axis.corners()[0] for name, axis in space.items()}
    for names in itertools.combinations(space, min(2, len(space))):
        for values in itertools.product(*(space[name].corners() for name in names)):
            setting = first | dict(zip(names, values, strict=True))
            try:
                dataclasses.replace(base, **setting)
            except ConfigError as error:
                flags = re.findall(r"--(\w+)", str(error))
                lines = [f":{space[flag].line}" for flag in flags if flag in space]
                where = lines[0] if lines else ""
                raise ConfigError(f"{path}{where}: {error}") from None


def differences(theirs: Space, ours: Space) -> list[str]:
    """What makes two spaces different, as `option: theirs there, ours here`.

    Example:
      >>> differences({"dropout": Axis("float", (0.0, 0.5))}, {})
      ['dropout: float 0.0 0.5 there, not searched here']
    """

    def said(space: Space, name: str) -> str:
        return str(space[name]) if name in space else "not searched"

    return [
        f"{name}: {said(theirs, name)} there, {said(ours, name)} here"
        for name in sorted({*theirs, *ours})
        if said(theirs, name) != said(ours, name)
    ]


def value_of(text: str, axis: Axis) -> Any:
    """A value of the axis from the text that `str` made of it."""
    kind = type(axis.values[0])
    return BOOLEANS[text.lower()] if kind is bool else kind(text)
