"""The pages in a browser.

Held here: in light, dark and print, on a phone and a desk, nothing is said on the
console, nothing is asked for, nothing is wider than the window, no word of a drawing is
cut or lies on another; the map answers to mouse, finger, keyboard and key.
"""

import pytest

from ncf_jax.pages import page
from tests import browser
from tests.pages import test_comparison, worlds

LONG = "A model with a rather long name (ratings + genres + tags + years)"
LOOKS = [
    (360, "light", "screen"),
    (360, "dark", "screen"),
    (1280, "light", "screen"),
    (1280, "dark", "screen"),
    (700, "light", "print"),
    (700, "dark", "print"),
]


def of_all(selector, value):
    """A script: `value` of each element `e` that is selected."""
    return f"[...document.querySelectorAll('{selector}')].map(e => {value})"


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pages by name: of a run, of a poor one, of several."""
    folder = tmp_path_factory.mktemp("pages")
    names = [*worlds.NAMES, "hit_rate@3", "novelty@3", "popularity@3", "ndcg@10"]
    rich = worlds.make_results(
        5,
        model=LONG,
        baselines={
            "User + item bias": 0.8,
            "Item mean, shrunk": 1.1,
            "Global mean": 1.2,
        },
        warnings=["The split leaks in time, " * 4],
        synthetic=True,
        floor_rmse=0.7379,
        spread=worlds.make_spread(),
    )
    rich["metrics"] |= worlds.figures("test", 0.4, 5, names)
    inputs = worlds.make_inputs(rich, history=worlds.make_history(12))
    poor = worlds.make_inputs(
        worlds.make_results(baselines={}, metrics={}),
        vectors=False,
        predictions=False,
        samples=False,
        history=[],
    )
    several = test_comparison.make(sd=0.01)
    runs = [worlds.make_finished(folder=row.folder) for row in several.rows]
    flags = ["--a=1\n--long_option=" + "x" * 60, "--a=2\n", "--a=3\n"]
    texts = {
        "run": page.run_page(**inputs),
        "poor": page.run_page(**poor),
        "several": page.comparison_page(runs, several, flags=flags),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in texts}


@pytest.mark.parametrize(("width", "scheme", "media"), LOOKS)
@pytest.mark.parametrize("name", ["run", "poor", "several"])
def test_it_is_whole_in_every_look(chromium, files, name, width, scheme, media):
    look = dict(width=width, scheme=scheme, media=media)
    with browser.visit(chromium, files[name], **look) as seen:
        assert seen.messages == []
        assert seen.requests == []
        assert browser.overflow(seen.page) == []
        assert browser.clipped_text(seen.page) == []
        dark = scheme == "dark" and media == "screen"
        ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(22, 24, 26)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("name", ["run", "several"])
def test_with_all_details_open_nothing_is_wider_than_a_phone(chromium, files, name):
    with browser.visit(chromium, files[name], width=360) as seen:
        seen.page.evaluate(
            "document.querySelectorAll('details').forEach(d => d.open = 1)"
        )
        assert browser.overflow(seen.page) == []


def test_the_checks_see_what_they_look_for(chromium, tmp_path):
    file = tmp_path / "bad.html"
    file.write_text(
        "<body><div style='width:2000px'>wide</div><img src='https://example.org/x.png'>"
        "<figure><svg viewBox='0 0 100 20' width='100'>"
        "<text x='90' y='10'>cut off</text><text x='10' y='10'>one</text>"
        "<text x='12' y='10'>two</text></svg></figure>"
        "<script>console.warn('hm'); undefined_thing()</script>"
    )
    with browser.visit(chromium, file, width=360) as seen:
        assert any(message.startswith("warning: hm") for message in seen.messages)
        assert any("undefined_thing" in message for message in seen.messages)
        assert seen.requests == ["https://example.org/x.png"]
        assert any("wide" in found for found in browser.overflow(seen.page))
        found = browser.clipped_text(seen.page)
        assert "outside: cut off" in found
        assert "one on two" in found


def test_a_request_would_be_stopped_by_the_policy(chromium, files, tmp_path):
    text = files["run"].read_text()
    file = tmp_path / "meddled.html"
    file.write_text(
        text.replace("</main>", "<script>document.title = 'x'</script></main>")
    )
    with browser.visit(chromium, file) as seen:
        assert any("Content Security Policy" in message for message in seen.messages)
        assert seen.page.title() != "x"


def test_on_paper_details_are_open_and_boxes_do_not_clip(chromium, files):
    shown = of_all("dd", "e.checkVisibility()")
    with browser.visit(chromium, files["run"], width=700) as seen:
        assert set(seen.page.evaluate(shown)) == {False}
    with browser.visit(chromium, files["run"], width=700, media="print") as seen:
        assert set(seen.page.evaluate(shown)) == {True}
        overflow = of_all(".scroll", "getComputedStyle(e).overflowX")
        assert set(seen.page.evaluate(overflow)) == {"visible"}
        assert len(seen.page.pdf(format="A4")) > 10_000


class TestMap:
    def said(self, seen):
        return seen.page.inner_text("#map output")

    def titles(self, seen):
        return seen.page.evaluate(of_all(".dot title", "e.textContent"))

    def test_pointing_at_a_movie_says_its_title(self, chromium, files):
        with browser.visit(chromium, files["run"]) as seen:
            dot = seen.page.locator(".dot").nth(3)
            dot.scroll_into_view_if_needed()
            dot.hover(force=True)
            assert self.said(seen) in self.titles(seen)

    def test_tapping_a_movie_says_its_title(self, chromium, files):
        with browser.visit(chromium, files["run"], width=360, touch=True) as seen:
            dot = seen.page.locator(".dot").nth(3)
            dot.scroll_into_view_if_needed()
            dot.tap(force=True)
            assert self.said(seen) in self.titles(seen)

    def test_arrow_keys_go_from_movie_to_movie(self, chromium, files):
        with browser.visit(chromium, files["run"]) as seen:
            seen.page.focus("#map svg")
            assert self.said(seen) not in self.titles(seen)
            said, place = [], []
            for key in (
                "ArrowRight",
                "ArrowRight",
                "ArrowLeft",
                "ArrowUp",
                "ArrowDown",
            ):
                seen.page.keyboard.press(key)
                said.append(self.said(seen))
                place.append(
                    seen.page.evaluate(of_all(".dot.now", "e.x.baseVal.value"))
                )
            assert set(said) <= set(self.titles(seen))
            assert len(set(said)) > 1
            assert all(len(each) == 1 for each in place), "one movie at a time"
            assert place[1][0] >= place[0][0]

    def test_picking_a_genre_fades_the_others(self, chromium, files):
        with browser.visit(chromium, files["run"]) as seen:
            faded = of_all(
                ".dot",
                "[getComputedStyle(e).opacity < 0.5, e.classList.contains(`g0`)]",
            )
            faded += ".filter(([faint, _]) => faint).map(([_, own]) => own)"
            assert seen.page.evaluate(faded) == []
            seen.page.check("#pick-0")
            others = seen.page.evaluate(faded)
            assert others
            assert not any(others)
            seen.page.check("#pick-all")
            assert seen.page.evaluate(faded) == []


def test_where_there_is_no_chromium_it_is_said(monkeypatch):
    monkeypatch.setattr(browser, "find_chromium", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="no Chromium"), browser.chromium():
        pass
