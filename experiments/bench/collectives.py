"""What devices send each other in a step, counted from the compiled program."""

import math
import re
from typing import Any, NamedTuple

SIZES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
SIZES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
LINE = re.compile(rf"= (\(.*?\)|\S+) ({KINDS})(?:-start)?\(")
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
BODY = re.compile(r"body=%?([\w.\-]+)")
LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
COUNTED = re.compile(r"replica_groups=\[\d+,(\d+)\]")
NAMED = re.compile(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}")


class Collective(NamedTuple):
    """One of a program.

    Attributes:
      kind: as XLA calls it.
      num_bytes: of its result on a device.
      devices: that take part in it together.
      looped: whether it is in the body of a loop, such as that over steps.
    """

    kind: str
    num_bytes: int
    devices: int
    looped: bool

    @property
    def received(self) -> float:
        """Bytes that a device receives at least, by a ring."""
        others = (self.devices - 1) / max(self.devices, 1)
        factor = {"all-reduce": 2 * others, "all-gather": others}
        factor["reduce-scatter"] = self.devices - 1
        return self.num_bytes * factor.get(self.kind, 1.0)


def collectives(compiled: Any) -> list[Collective]:
    """The collectives of a compiled program, in its order.

    Args:
      compiled: of `jax.jit(...).lower(...).compile()`.
    """
    text = compiled if isinstance(compiled, str) else compiled.as_text()
    bodies, found, where = set(BODY.findall(text)), [], ""
    for line in text.splitlines():
        if start := COMPUTATION.match(line):
            where = start[1]
        if not (call := LINE.search(line)):
            continue
        total = 0
        for kind, sizes in SHAPE.findall(call[1]):
            count = 1
            for size in filter(None, sizes.split(",")):
                count *= int(size)
            total += count * SIZES[kind]
        found.append(Collective(call[2], total, _devices(line), where in bodies))
    return found


def _devices(line: str) -> int:
    """Devices of a group, in any of the ways that XLA writes groups."""
    if listed := LISTED.search(line):
        return len(listed[1].split(","))
    if counted := COUNTED.search(line):
        return int(counted[1])
    if named := NAMED.search(line):
        sizes = dict(part.split("=") for part in named[1].split(","))
        sizes = {name.strip(): size for name, size in sizes.items()}
        return math.prod(int(sizes[axis.strip()]) for axis in named[2].split(","))
    return 1


def by_kind(found: list[Collective]) -> dict[str, int]:
    """Bytes of the results in a loop, by kind: those of one step.

    Example:
      >>> by_kind([Collective("all-reduce", 8, 2, True)] * 2)
      {'all-reduce': 16}
    """
    total: dict[str, int] = {}
    for one in found:
        if one.looped:
            total[one.kind] = total.get(one.kind, 0) + one.num_bytes
    return total
