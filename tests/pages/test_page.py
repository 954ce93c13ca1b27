"""A run's page as text.

Held here: figures on it are those of the results; text of users is escaped; nothing
refers to anything outside; the same arguments give the same bytes; it is well formed
and its parts are named; what a run lacks is said in a sentence.
"""

import base64
import hashlib
import html
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ncf_jax.pages import page, words
from tests.pages import worlds

VOID = {"meta", "link", "br", "input", "img", "hr"}


class Reader(HTMLParser):
    """Elements in order, and whether each is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], "something is not closed"

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag, name=None):
        found = [attrs for kind, attrs in self.found if kind == tag]
        return [attrs[name] for attrs in found if name in attrs] if name else found


def make(results=None, **how):
    return page.run_page(**worlds.make_inputs(results, **how))


def read(results=None, **how):
    return Reader(make(results, **how))


@pytest.fixture(scope="module")
def whole():
    return make()


@pytest.fixture(scope="module")
def reader(whole):
    return Reader(whole)


class TestForm:
    def test_it_is_utf8_in_english_with_a_title_and_a_width(self, whole, reader):
        assert whole.startswith("<!DOCTYPE html>\n")
        assert reader.all("html", "lang") == ["en"]
        assert reader.all("meta", "charset") == ["utf-8"]
        assert "width=device-width" in str(reader.all("meta", "content"))
        assert f"<title>{html.escape(worlds.MODEL)} on tiny &amp; small</title>" in (
            whole.replace("&#34;", "&quot;")
        )

    def test_nothing_on_it_is_fetched(self, whole, reader):
        for name in ("src", "href", "xlink:href", "data", "action", "poster"):
            for tag, attrs in reader.found:
                value = attrs.get(name) or "#"
                assert value.startswith(("#", "data:,")), (tag, name, value)
        for forbidden in ("http://", "https://", "@import", "@font-face", "url(//"):
            assert forbidden not in whole

    def test_the_policy_allows_the_one_script_and_nothing_else(self, whole, reader):
        (policy,) = [c for c in reader.all("meta", "content") if "default-src" in c]
        assert policy.startswith("default-src 'none';")
        (script,) = re.findall(r"<script>(.*?)</script>", whole, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in policy
        rest = re.sub(r"<(script|style).*?</\1>", "", whole, flags=re.DOTALL)
        assert not re.search(r"\bon[a-z]+=", rest)

    def test_ids_are_used_once_and_references_have_one(self, reader):
        ids = [attrs["id"] for _, attrs in reader.found if attrs.get("id")]
        assert len(ids) == len(set(ids))
        used = [
            href[1:]
            for _, a in reader.found
            if (href := a.get("href") or "")[:1] == "#"
        ]
        for _, attrs in reader.found:
            used += (attrs.get("aria-labelledby") or "").split()
        assert set(used) <= set(ids)

    def test_headings_do_not_skip_a_level(self, reader):
        levels = [int(tag[1]) for tag, _ in reader.found if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))

    def test_each_drawing_and_each_scrolling_box_has_a_name(self, reader):
        drawings = [a for a in reader.all("svg") if "aria-hidden" not in a]
        assert len(drawings) >= 11
        assert all(a["role"] == "img" and a["aria-labelledby"] for a in drawings)
        boxes = [a for a in reader.all("div") if a.get("class") == "scroll"]
        assert boxes
        assert all(a["aria-label"] and a["tabindex"] == "0" for a in boxes)

    def test_the_same_arguments_are_the_same_bytes(self, whole):
        assert make() == whole

    def test_it_is_small(self, whole):
        assert len(whole.encode()) < 300_000

    def test_text_is_escaped_wherever_it_comes_from(self, whole, reader):
        for raw in (worlds.TITLE, worlds.MODEL, "<as defined>", "<little>", "/<here>"):
            assert raw not in whole
            assert html.escape(raw, quote=False) in whole or html.escape(raw) in whole
            assert raw in reader.text
        assert reader.all("i") == []

    def test_a_hostile_title_cannot_leave_its_element(self):
        evil = "</title></svg><script>alert(1)</script>\"' onload=x ]]> $x$ {{ 7*7 }}"
        inputs = worlds.make_inputs(worlds.make_results(model=evil, dataset=evil))
        titles = (evil,) * inputs["dataset"].num_items
        inputs["dataset"] = worlds.make_dataset(titles=list(titles))
        found = Reader(page.run_page(**inputs))
        assert len(found.all("script")) == 1
        assert evil in found.text


class TestContent:
    def test_the_answer_comes_first_and_has_the_figures(self, whole, reader):
        text = reader.text
        assert text.index("How well does") < text.index("Ratings:") < text.index("RMSE")
        for verdict in words.verdicts(worlds.make_results()):
            assert verdict.head in text
            assert re.sub(r"\s+", " ", verdict.text) in text
        assert whole.index('class="verdict') < whole.index("<svg") < whole.index("<h2")

    @pytest.mark.parametrize("seeds", [1, 3])
    def test_every_figure_of_the_results_is_on_it(self, seeds):
        results = worlds.make_results(seeds)
        text = read(results).text
        for name, metric in results["metrics"].items():
            for value in (metric["mean"], *metric["ci95"], metric["sd"]):
                assert words.number(value, name) in text
            assert f"{metric['n_used']} " in text
        for metrics in results["baselines"].values():
            assert words.number(metrics["test/rmse"]["mean"]) in text
        assert ("sd of seeds" in text) == (seeds > 1)
        assert ("One seed" in text) == (seeds == 1)

    def test_a_changed_figure_changes_the_page(self, whole):
        results = worlds.make_results()
        results["metrics"]["test/mae"]["mean"] += 0.0001
        assert make(results) != whole

    def test_warnings_and_limits_stand_below_the_answer(self, whole):
        results = worlds.make_results(warnings=["It <leaks> in time."])
        found = make(results)
        assert "It &lt;leaks&gt; in time." in found
        assert found.index("It &lt;leaks") < found.index("<h2")
        assert "It shows &lt;little&gt;." in whole
        assert "Warning." not in Reader(whole).text

    def test_synthetic_data_is_said_before_anything_else(self, reader):
        results = worlds.make_results(synthetic=True, floor_rmse=0.7379)
        text = read(results).text
        assert text.index("no figure on this page is a result") < text.index("How well")
        assert "0.7379" in text
        assert "lowest possible" in text
        assert "Synthetic" not in reader.text

    def test_each_part_of_the_page_is_there(self, reader):
        for name in ("metrics", "learning", "quality", "errors", "map-section",
                     "samples", "repeat", "calibration", "residuals", "activity",
                     "popularity", "genres", "decades"):  # fmt: skip
            assert name in str([a.get("id") for _, a in reader.found])

    def test_samples_are_told_with_what_the_user_gave(self, reader):
        assert "User 101 (6 train ratings)" in reader.text
        assert "4.32" in reader.text
        assert "(rated 3.5)" in reader.text
        assert reader.text.count("(rated") == 3

    def test_options_environment_and_command_are_there(self, reader):
        text = reader.text
        assert "python -m experiments.train --flagfile=runs/one/run.flags" in text
        assert "python -m experiments.report runs/one" in text
        assert "training took 1.2" in text
        assert text.index("epochs") < text.rindex("model")
        assert "3.12.1" in text
        assert "d" * 16 in text

    def test_a_folder_with_a_space_is_quoted(self):
        assert "--flagfile='my runs/one'/run.flags" in read(folder="my runs/one").text

    def test_the_constant_scorer_is_called_random_order_in_the_ranking_alone(
        self, whole
    ):
        assert whole.count(">Global mean (random order)<") == 1
        results = worlds.make_results(ties="optimistic")
        assert "(random order)" not in make(results)


class TestWhatIsMissing:
    def test_without_epochs_there_are_no_curves(self):
        for history in ([], worlds.make_history(1)):
            text = read(history=history).text
            assert "was not trained in several epochs" in text
            assert "validation, lowest" not in text

    def test_without_vectors_there_is_no_map(self):
        found = read(vectors=False)
        assert "no vectors of items" in found.text
        assert "Show one genre" not in found.text

    def test_without_predictions_errors_are_not_divided(self):
        found = read(predictions=False)
        assert found.text.count("The run folder holds no predictions.") == 2
        assert "By genre" not in found.text

    def test_scores_that_are_not_stars_have_no_rating_error(self):
        results = worlds.make_results()
        for name in ("rmse", "mae", "r2"):
            results["metrics"][f"test/{name}"] = worlds.metric(None)
        text = read(results).text
        assert "order the movies" in text
        assert text.count("This model gives scores, not stars.") == 2
        assert "Calibration" not in text
        assert "Ranking: better than" in text or "Ranking: worse than" in text

    def test_without_samples_and_baselines_it_is_whole(self):
        results = worlds.make_results(baselines={})
        text = read(results, samples=False).text
        assert "holds no samples" in text
        assert "No baseline was evaluated" in text

    def test_a_run_that_found_nothing_has_a_page(self):
        results = worlds.make_results(baselines={}, metrics={})
        inputs = worlds.make_inputs(
            results, vectors=False, predictions=False, samples=False, history=[]
        )
        inputs |= dict(flags_text="", environment={})
        inputs["finished"] = inputs["finished"]._replace(timing={})
        text = Reader(page.run_page(**inputs)).text
        assert text.count("not measured") == 2
        assert "Options" not in text
        assert "seconds" not in text

    def test_nothing_of_the_arguments_is_changed(self):
        inputs = worlds.make_inputs()
        before = {
            "genres": np.array(inputs["dataset"].features.genres),
            "vectors": inputs["vectors"].copy(),
            "test": inputs["predictions"]["test"].copy(),
        }
        page.run_page(**inputs)
        assert np.array_equal(before["genres"], inputs["dataset"].features.genres)
        assert np.array_equal(before["vectors"], inputs["vectors"])
        assert np.array_equal(before["test"], inputs["predictions"]["test"])
        assert inputs["finished"].results == worlds.make_results()


def luminance(colour):
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * d for d in digits)
    parts = np.array([int(digits[n : n + 2], 16) for n in (0, 2, 4)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_the_ground(scheme):
    style = (page.TEMPLATES / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(blocks) == 2
    colour = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]+)", blocks[scheme]))
    assert contrast("#000", "#fff") == pytest.approx(21)
    for name in ("ink", "muted", "accent", "other", "good", "bad", "warn"):
        assert contrast(colour[name], colour["paper"]) >= 4.5, name
    for number in range(7):
        assert contrast(colour[f"c{number}"], colour["paper"]) >= 3, number
