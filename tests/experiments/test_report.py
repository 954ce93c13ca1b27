"""The report command: one run's page anew, or one page of several.

Held here: the page goes where it is said to go and is the run's own; a folder that is
no finished run, or runs that cannot be compared, end in one sentence and no file.
"""

import shutil

import pytest

from tests.experiments import conftest


@pytest.fixture
def report(command, monkeypatch):
    monkeypatch.setitem(conftest.OPTIONS, "report", "ReportOptions")
    return lambda *arguments: command("report", *arguments)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.workdir, tmp_path / "copy")


@pytest.fixture(scope="session")
def bias(tmp_path_factory, cache_dir):
    """A baseline on the same data; never to be changed."""
    folder = tmp_path_factory.mktemp("bias") / "run"
    return conftest.train_quietly(
        folder, cache_dir, model="bias", epochs=1, batch_size=512, embedding_dim=64
    )


class TestOneRun:
    def test_the_page_is_made_anew_in_its_folder(self, report, copy):
        before = (copy / "report.html").read_text()
        (copy / "report.html").unlink()
        outcome = report(copy)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith(f"written to {copy / 'report.html'} (")
        after = (copy / "report.html").read_text()
        # Only the folder's own name in the two commands may differ.
        assert after.replace(str(copy), "") == before.replace(
            before.split("--flagfile=")[1].split("/run.flags")[0], ""
        )

    def test_it_says_what_the_terminal_said(self, report, copy):
        report(copy)
        page = (copy / "report.html").read_text()
        assert "Synthetic data: nobody rated anything" in page
        assert "How well does NCFMoviesTags (Ratings + Genres + Tags)" in page

    def test_it_can_go_elsewhere_and_nothing_else_is_written(
        self, report, finished, tmp_path, content
    ):
        before = content(finished.workdir)
        path = tmp_path / "new" / "page.html"
        assert report(finished.workdir, f"--output={path}").code == 0
        assert path.read_text().startswith("<!DOCTYPE html>")
        assert content(finished.workdir) == before

    def test_a_run_of_two_seeds_and_one_of_a_baseline_have_pages(
        self, report, two_seeds, bias, tmp_path
    ):
        for run, said in ((two_seeds, "2 seeds"), (bias, "no vectors of items")):
            path = tmp_path / "page.html"
            assert report(run.workdir, f"--output={path}").code == 0
            assert said in path.read_text()


class TestSeveralRuns:
    def test_they_are_compared_on_one_page(self, report, finished, bias, tmp_path):
        path = tmp_path / "two.html"
        outcome = report(finished.workdir, bias.workdir, f"--output={path}")
        assert (outcome.code, outcome.err) == (0, "")
        page = path.read_text()
        assert "Which of 2 models is the best" in page
        assert "User + item bias" in page
        assert "Options in which the runs differ" in page

    def test_by_default_it_goes_into_the_current_folder(
        self, report, finished, bias, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        outcome = report(finished.workdir, bias.workdir, "--against=best")
        assert outcome.out.startswith("written to comparison.html (")
        assert [path.name for path in tmp_path.iterdir()] == ["comparison.html"]
        assert "--against=best" in (tmp_path / "comparison.html").read_text()

    def test_runs_on_other_data_are_refused(
        self, report, finished, tmp_path, cache_dir
    ):
        other = conftest.train_quietly(tmp_path / "run", cache_dir, synthetic_seed=1)
        path = tmp_path / "two.html"
        outcome = report(finished.workdir, other.workdir, f"--output={path}")
        sentence = outcome.sentence(4)
        assert str(finished.workdir) in sentence
        assert str(other.workdir) in sentence
        assert not path.exists()


class TestRefused:
    def test_without_a_run(self, report):
        assert "Name one run folder or several" in report().sentence(2)

    def test_a_folder_that_is_no_run(self, report, tmp_path):
        assert str(tmp_path) in report(tmp_path).sentence(4)
        assert list(tmp_path.iterdir()) == []

    def test_a_run_that_is_not_finished(self, report, copy):
        (copy / "metrics.json").unlink()
        assert "not finished" in report(copy).sentence(4)

    def test_a_damaged_file_is_named(self, report, copy):
        (copy / "predictions.npz").write_bytes(b"PK not really")
        assert "predictions.npz" in report(copy).sentence(4)

    def test_a_folder_in_place_of_a_file(self, report, finished, tmp_path):
        sentence = report(finished.workdir, f"--output={tmp_path}").sentence(2)
        assert "is a folder" in sentence

    def test_an_unknown_way_of_testing(self, report, finished):
        assert "--against" in report(finished.workdir, "--against=none").sentence(2)
