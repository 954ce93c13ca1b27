"""A page as a browser shows it: what it says, asks for, and how wide it is.

Chromium by Playwright; where there is none the tests that want it are skipped, with a
reason that says `no Chromium`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Visit(NamedTuple):
    """A page that was opened.

    Attributes:
      page: Playwright's page.
      messages: what it said on the console, `type: text`, and its errors.
      requests: what it asked for besides itself.
    """

    page: Any
    messages: list[str]
    requests: list[str]


def find_chromium() -> str | None:
    """The path of a Chromium, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; skips the test where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium: install one to test pages in a browser")
    playwright = pytest.importorskip(
        "playwright.sync_api",
        reason="no Chromium can be driven: Playwright is in the extra `test`",
    )
    with playwright.sync_playwright() as play:
        # In a container the sandbox of Chromium has no rights; only our files are read.
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Any,
    file: Path,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: str = "light",
    media: str = "screen",
    touch: bool = False,
) -> Iterator[Visit]:
    """Opens `file` in a window of that width and waits until it is drawn."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        has_touch=touch,
        offline=True,
    )
    page = context.new_page()
    page.emulate_media(media=media, color_scheme=scheme)
    url, seen = file.resolve().as_uri(), Visit(page, [], [])
    page.on("console", lambda m: seen.messages.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda error: seen.messages.append(f"error: {error}"))
    page.on(
        "request",
        lambda r: None if _own(r.url, url) else seen.requests.append(r.url),
    )
    try:
        page.goto(url, wait_until="load")
        yield seen
    finally:
        context.close()


def _own(asked: str, page: str) -> bool:
    return asked.partition("#")[0] == page or asked == "data:,"


def overflow(page: Any) -> list[str]:
    """Elements that are wider than the window and not inside a box that scrolls."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const boxed = (e) => e.parentElement &&
            (["auto", "scroll"].includes(getComputedStyle(e.parentElement).overflowX)
             || boxed(e.parentElement));
          const all = [...document.body.querySelectorAll("*:not(svg *)")];
          const wide = all.filter((e) => {
            const box = e.getBoundingClientRect();
            return box.width && (box.right > width + 1 || box.left < -1) && !boxed(e);
          });
          const page = document.documentElement.scrollWidth > width ? ["the page"] : [];
          return page.concat(wide.map((e) => e.tagName + " " + e.className + " "
            + e.textContent.slice(0, 40)));
        }"""
    )


def clipped_text(page: Any) -> list[str]:
    """Words of drawings that stick out of their drawing, or lie on one another."""
    return page.evaluate(
        """() => {
          const found = [];
          for (const svg of document.querySelectorAll("figure svg")) {
            const frame = svg.getBoundingClientRect();
            const words = [...svg.querySelectorAll("text")].map((t) =>
              [t.textContent, t.getBoundingClientRect()]);
            for (const [text, box] of words) {
              if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
                  box.top < frame.top - 2 || box.bottom > frame.bottom + 2)
                found.push("outside: " + text);
            }
            words.forEach(([a, p], n) => words.slice(n + 1).forEach(([b, q]) => {
              const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
              const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
              if (across > 1.5 && down > 4) found.push(a + " on " + b);
            }));
          }
          return found;
        }"""
    )
