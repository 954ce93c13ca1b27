"""The recommend command: raw ids in, movies out.

Held here: the movies are unseen, in the model's order, with the title, genres and
predicted stars of the data; an unknown id says so and names the range; table and JSON
tell the same; a question that is none or two is refused.
"""

import json

import numpy as np
import pytest

import ncf_jax


@pytest.fixture(scope="module")
def run(finished):
    return ncf_jax.load_run(str(finished.workdir))


@pytest.fixture
def ask(finished, command):
    def recommend(*arguments):
        return command("recommend", f"--workdir={finished.workdir}", *arguments)

    return recommend


@pytest.fixture
def answer(ask):
    def movies(*arguments):
        outcome = ask(*arguments, "--format=json")
        assert (outcome.code, outcome.err) == (0, "")
        return json.loads(outcome.out)

    return movies


def rated_by(run, user_id):
    rows = run.dataset.user_ids[run.dataset.user] == user_id
    return set(run.dataset.item_ids[run.dataset.item[rows]].tolist())


class TestForAUser:
    @pytest.mark.parametrize("which", [0, 7, -1])
    def test_no_movie_was_rated_by_the_user_in_any_part(self, run, answer, which):
        user_id = int(run.dataset.user_ids[which])
        movies = [m["movieId"] for m in answer(f"--user_id={user_id}")["movies"]]
        rated = rated_by(run, user_id)
        assert len(rated) >= 3
        assert (
            len(movies)
            == len(set(movies))
            == min(10, run.dataset.num_items - len(rated))
        )
        assert not rated & set(movies)

    def test_with_a_large_k_every_unseen_movie_comes_once(self, run, answer):
        user_id = int(run.dataset.user_ids[3])
        found = answer(f"--user_id={user_id}", "--k=100000")["movies"]
        unseen = set(run.dataset.item_ids.tolist()) - rated_by(run, user_id)
        assert sorted(m["movieId"] for m in found) == sorted(unseen)

    def test_stars_and_order_are_those_of_single_predictions(self, run, answer):
        user_id = int(run.dataset.user_ids[5])
        items = np.arange(run.dataset.num_items)
        stars = ncf_jax.predict(
            run.model, run.params, np.full_like(items, 5), items, run.dataset.features
        )[0]
        of_id = dict(zip(run.dataset.item_ids.tolist(), stars.tolist(), strict=True))
        seen = rated_by(run, user_id)
        wanted = sorted((m for m in of_id if m not in seen), key=lambda m: -of_id[m])
        found = answer(f"--user_id={user_id}", "--k=5")["movies"]
        assert [m["movieId"] for m in found] == wanted[:5]
        for movie in found:
            exact = np.clip(of_id[movie["movieId"]], 0.5, 5)
            assert movie["stars"] == pytest.approx(exact, abs=1e-4)

    def test_titles_and_genres_are_those_of_the_data(self, run, answer):
        row = {int(movie): n for n, movie in enumerate(run.dataset.item_ids)}
        for movie in answer(f"--user_id={run.dataset.user_ids[0]}")["movies"]:
            item = row[movie["movieId"]]
            assert movie["title"] == run.dataset.titles[item]
            assert "|".join(movie["genres"]) == run.dataset.genres[item]

    def test_two_users_get_two_lists(self, run, answer):
        # Control: the user matters.
        one, other = (
            answer(f"--user_id={run.dataset.user_ids[n]}")["movies"] for n in (0, 1)
        )
        assert one != other

    def test_json_names_the_question_and_the_synthetic_data(self, run, answer):
        found = answer(f"--user_id={run.dataset.user_ids[0]}", "--k=1")
        assert found["user_id"] == run.dataset.user_ids[0]
        assert found["synthetic"] is True
        assert "not real data" in found["dataset"]
        assert len(found["movies"]) == 1

    def test_the_table_tells_what_json_tells(self, run, ask, answer):
        user = f"--user_id={run.dataset.user_ids[0]}"
        lines = ask(user).out.splitlines()
        assert "synthetic world (not real data)" in lines[0]
        assert lines[0].endswith(f"movies for user {run.dataset.user_ids[0]}")
        movies = answer(user)["movies"]
        assert len(lines) == 3 + len(movies)
        for number, (line, movie) in enumerate(
            zip(lines[3:], movies, strict=True), start=1
        ):
            assert line.split()[:2] == [str(number), f"{movie['stars']:.2f}"]
            assert movie["title"] in line
            assert "|".join(movie["genres"]) in line
            assert line.rstrip().endswith(str(movie["movieId"]))


class TestSimilar:
    def test_the_order_is_that_of_the_cosine_of_embeddings(self, run, answer):
        table = np.asarray(run.params["item_embedding"]["embedding"], np.float64)[0]
        unit = table / np.linalg.norm(table, axis=1, keepdims=True)
        cosine = unit @ unit[4]
        order = [n for n in np.argsort(-cosine) if n != 4][:6]
        movie_id = int(run.dataset.item_ids[4])
        found = answer(f"--similar_to={movie_id}", "--k=6")
        assert found["similar_to"] == movie_id
        ids = [movie["movieId"] for movie in found["movies"]]
        assert ids == run.dataset.item_ids[order].tolist()
        for movie, item in zip(found["movies"], order, strict=True):
            assert movie["similarity"] == pytest.approx(cosine[item], abs=1e-5)

    def test_the_movie_itself_is_not_listed(self, run, answer):
        movie_id = int(run.dataset.item_ids[0])
        found = answer(f"--similar_to={movie_id}", "--k=100000")["movies"]
        assert len(found) == run.dataset.num_items - 1
        assert movie_id not in [movie["movieId"] for movie in found]

    def test_the_table_names_the_movie_by_its_title(self, run, ask):
        outcome = ask(f"--similar_to={run.dataset.item_ids[2]}")
        first = outcome.out.splitlines()[0]
        assert first.endswith(f"movies similar to {run.dataset.titles[2]}")
        assert "similarity" in outcome.out

    def test_a_model_without_embeddings_says_so(self, command, tmp_path, cache_dir):
        command(
            "train",
            "--model=bias",
            "--synthetic_users=40",
            "--synthetic_items=60",
            "--synthetic_ratings_per_user=25",
            f"--cache_dir={cache_dir}",
            f"--workdir={tmp_path}",
        )
        movie_id = ncf_jax.load_run(str(tmp_path)).dataset.item_ids[0]
        sentence = command(
            "recommend", f"--workdir={tmp_path}", f"--similar_to={movie_id}"
        ).sentence(4)
        assert "embeddings" in sentence
        listed = command("recommend", f"--workdir={tmp_path}", "--user_id=1")
        assert listed.code == 0, "a bias model does recommend"


class TestForOnesOwnRatings:
    @pytest.fixture
    def rated(self, run, tmp_path):
        """Five movies, and one that nobody knows."""
        rows = [(run.dataset.item_ids[n], 1 + n / 2, "x") for n in range(5)]
        text = "movieId,rating,note\n" + "".join(
            f"{movie},{stars},{note}\n" for movie, stars, note in rows
        )
        path = tmp_path / "mine.csv"
        path.write_text(text + "999999,5,unknown\n")
        return path

    def test_unseen_movies_come_and_what_was_used_is_told(self, run, answer, rated):
        found = answer(f"--ratings={rated}", "--k=100000")
        movies = [movie["movieId"] for movie in found["movies"]]
        assert set(movies) == set(run.dataset.item_ids[5:].tolist())
        stars = [movie["stars"] for movie in found["movies"]]
        assert stars == sorted(stars, reverse=True)
        assert found["ratings"] == str(rated)
        assert found["ratings_used"] == 5
        assert found["ratings_left_out"] == [999999]
        assert found["fold_in_milliseconds"] > 0
        assert found["compile_seconds"] >= 0

    def test_the_table_says_so_too(self, ask, rated):
        lines = ask(f"--ratings={rated}", "--k=3").out.splitlines()
        assert lines[0].endswith(f"movies for whom rated {rated}")
        assert lines[3].startswith("1 ")
        assert lines[-2].startswith("5 ratings used; folded in and scored in ")
        assert " ms, once compiled, which took " in lines[-2]
        assert lines[-1].startswith("1 left out, of movieIds")
        assert lines[-1].endswith(": 999999.")

    def test_other_ratings_find_other_stars(self, run, answer, rated):
        before = answer(f"--ratings={rated}", "--k=100000")["movies"]
        rated.write_text(f"movieId,rating\n{run.dataset.item_ids[0]},5\n")
        assert answer(f"--ratings={rated}", "--k=100000")["movies"] != before

    @pytest.mark.parametrize("other", ["--user_id=1", "--similar_to=1"])
    def test_two_questions_are_refused(self, ask, rated, other):
        assert "--ratings" in ask(f"--ratings={rated}", other).sentence(2)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"movieId,rating\n", "no rows"),
            (b"movieId,stars\n1,5\n", "line 1: column rating is missing"),
            (b"1,5\n2,3\n", "line 1: column movieId is missing"),
            (b"movieId,rating\n1,5\n2,5.5\n", "line 3, column rating"),
            (b"movieId,rating\n1,0\n", "line 2, column rating"),
            (b"movieId,rating\n1,nan\n", "line 2, column rating"),
            (b"movieId,rating\n1,\n", "line 2, column rating"),
            (b"movieId,rating\nToy Story,5\n", "line 2, column movieId"),
            (b"movieId,rating\n1,5\n2,4\n1,3\n", "line 4, column movieId"),
            (b"movieId,rating\n1,5\n2\n", "line 3: expected 2 columns"),
            (b"movieId,rating\n999999,5\n", "none of its 1 movieIds"),
            (b"movieId,rating\n1,5\x00\n", "line 2"),
            (b"\x89PNG\r\n\x1a\n\xff\xfe", "not UTF-8"),
        ],
    )
    def test_a_bad_file_is_named_with_its_line(self, ask, tmp_path, content, words):
        path = tmp_path / "bad.csv"
        path.write_bytes(content)
        sentence = ask(f"--ratings={path}").sentence(3)
        assert str(path) in sentence
        assert words in sentence

    @pytest.mark.parametrize("name", ["missing.csv", "."])
    def test_what_is_no_file_is_named(self, ask, tmp_path, name):
        sentence = ask(f"--ratings={tmp_path / name}").sentence(3)
        assert str(tmp_path / name) in sentence


class TestRefused:
    @pytest.mark.parametrize("user_id", [0, 41, 999999, 10**30])
    def test_an_unknown_user_is_named_with_the_range(self, ask, run, user_id):
        ids = run.dataset.user_ids
        assert user_id not in ids
        sentence = ask(f"--user_id={user_id}").sentence(4)
        assert f"There is no user {user_id}" in sentence
        assert f"ids from {ids.min()} to {ids.max()}" in sentence

    def test_an_unknown_movie_is_named_with_the_range(self, ask, run):
        ids = run.dataset.item_ids
        sentence = ask("--similar_to=999999").sentence(4)
        assert "There is no movie 999999" in sentence
        assert f"from {ids.min()} to {ids.max()}" in sentence

    @pytest.mark.parametrize("arguments", [[], ["--user_id=1", "--similar_to=1"]])
    def test_neither_or_both_questions_are_refused(self, ask, arguments):
        sentence = ask(*arguments).sentence(2)
        assert "--user_id" in sentence
        assert "--similar_to" in sentence

    def test_a_workdir_is_required(self, command):
        sentence = command("recommend", "--user_id=1").sentence(2)
        assert "--workdir is required" in sentence

    def test_what_is_not_a_run_folder_is_named(self, command, tmp_path):
        outcome = command("recommend", "--user_id=1", f"--workdir={tmp_path}")
        assert "is not a run folder" in outcome.sentence(4)
        assert list(tmp_path.iterdir()) == []
