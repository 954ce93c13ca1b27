"""The table of docs/reliability.md: a row for each drill and each promise's tests."""

from pathlib import Path

from tests.drills.tries import Found

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- drills: begin -->", "<!-- drills: end -->"
HEADER = (
    "| promise | what was tried | tries | failures | to repeat |",
    "|---|---|--:|--:|---|",
)


def row(found: Found) -> str:
    """A line of Markdown."""
    repeat = found.repeat
    if repeat.startswith("--only"):
        repeat = f"python -m tests.drills --long {repeat}"
    elif repeat.startswith("pytest"):
        repeat = f"python -m {repeat}"
    return (
        f"| {found.promise} | {found.what} | {found.tries:,} | {len(found.failures)} | "
        f"`{repeat}` |"
    )


def rows(text: str) -> list[str]:
    """The lines of the table in a page."""
    inside = text.partition(BEGIN)[2].partition(END)[0]
    return [x for x in inside.strip().splitlines() if x.startswith("| R")]


def written(text: str, found: list[Found]) -> str:
    """The page with new rows in place of those that are repeated in the same way."""
    by_command = {line.split("|")[-2]: line for line in rows(text)}
    by_command |= {row(one).split("|")[-2]: row(one) for one in found}

    def number(line: str) -> int:
        return int(line.split("|")[1].strip().removeprefix("R"))

    lines = [*HEADER, *sorted(by_command.values(), key=number)]
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}"
