"""`brainof report`: every kind of folder, whole or broken, becomes one page that needs nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

from brainof.cli import main
from brainof.errors import ConfigError, StorageError
from brainof.report.report import citations, gain_sentence, methods, report
from brainof.utils.values import finite

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a release, as `brainof pretrain` leaves it (without weights)."""
    folder = tmp_path / "first"
    (folder / "release").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"steps": 20, "seed": 3, "mask": {"ratio": 0.5}}))
    rows = [
        {"step": step, "dataset": name, "modality": modality, "loss": 1 / step, "loss_time": 0.5, "max_vio": 0.2,
         "windows_per_second": 10.0}
        for step in (10, 20)
        for name, modality in (("a", "eeg"), ("b", "fmri"))
    ]  # fmt: skip
    rows.append({"step": 20, "health": {"a": {"modality": "eeg", "r2": 0.2, "r2_shuffled": 0.0}}})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    about = {
        "steps": 20, "seed": 3, "seconds": 5, "batch": 8, "lr": 0.001, "versions": {"torch": "2.13.0"},
        "data": [{"dataset": "a", "modality": "eeg", "people": 4, "windows": 40, "hours": 0.1, "citation": "Smith"}],
    }  # fmt: skip
    (folder / "release" / "config.json").write_text(json.dumps({"layout": 1, "model": {}, "files": {}, "about": about}))
    return folder


def scores() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and results of a model that is better than random weights by 0.1 in each of six people."""
    about = {"task": "rest", "modality": "eeg", "readout": "ridge", "option": "plain", "metric": "balanced_accuracy",
             "chance": 0.5, "transductive": False}  # fmt: skip
    lines, people = [], []
    for name, kind, value in (("first", "model", 0.7), ("random weights", "random weights", 0.6),
                              ("chance", "chance", 0.5)):  # fmt: skip
        own = {**about, "entry": name, "kind": kind}
        lines.append({**own, "score": value + 0.025, "low": value, "high": value + 0.05, "fold_score": value,
                      "null_95": 0.55, "p_value": 0.0004, "n_people": 6})  # fmt: skip
        people += [{**own, "dataset": "a", "subject": str(i), "score": value + 0.01 * i} for i in range(6)]
    lines[0] |= {"against": "random weights", "gain": 0.1, "gain_low": 0.06, "gain_high": 0.14}
    return pd.DataFrame(lines), pd.DataFrame(people)


def evaluated(folder: Path) -> None:
    """Write them as `brainof evaluate` does."""
    folder.mkdir(parents=True)
    lines, people = scores()
    lines.to_csv(folder / "summary.csv", index=False)
    people.to_parquet(folder / "results.parquet")


def data_of(page: Path) -> dict:
    text = re.search(r'<script type="application/json" id="brainof-data">(.*?)</script>', page.read_text(), re.S)
    return json.loads(text[1])


def test_a_run_makes_a_page_that_says_where_it_comes_from(run, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(run), "--out", str(out)]) == 0
    page = out.read_text()
    assert "Nothing here was compared with random weights" in page
    said = ["20 of 20 steps", "<dt>seed</dt><dd>3</dd>", "<dt>version</dt>", "<dt>date</dt>", "<dt>command</dt>"]
    said += ["What this does not show", "arXiv:2602.23410", "a: Smith", "Environment and seeds", "mask.ratio"]
    for text in said:
        assert text in page, text
    found = data_of(out)
    assert found["parts"][0]["last_loss"] == {"a": 0.05, "b": 0.05}
    assert found["parts"][0]["health"]["a"]["r2"] == 0.2
    assert "MB" in capsys.readouterr().out


def test_the_first_sentence_says_what_was_won_and_lost(run, tmp_path):
    evaluated(run / "evaluation")
    page = report([run], tmp_path / "page.html").read_text()
    assert re.search(r'class="lead">Against random weights of the same architecture, pretraining won 1, lost 0', page)
    assert "rest (ridge) +0.100" in page
    assert "&lt;0.001" in page  # a p value is never 0.000
    for text in ("Scores of first", "One line per subject", "Model minus what was read out the same way"):
        assert text in page, text
    (gain,) = data_of(tmp_path / "page.html")["parts"][0]["against_random_weights"]
    assert (gain["verdict"], gain["low"]) == ("won", 0.06)
    lost = {**gain, "difference": -0.1, "verdict": "lost"}
    assert "won 1, lost 1 and left open 0 of 2" in gain_sentence([gain, lost])


def test_a_crashed_and_a_failed_run_make_a_page(run, tmp_path):
    shutil.rmtree(run / "release")
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text + '{"step": 21, "da')  # killed while it wrote
    page = report([run], tmp_path / "a.html").read_text()
    assert "This run is UNFINISHED" in page
    (run / "failed.json").write_text('{"error": "the loss is not finite"}')
    assert "This run FAILED: the loss is not finite" in report([run], tmp_path / "b.html").read_text()
    (run / "metrics.jsonl").unlink()
    (run / "config.yaml").unlink()
    page = report([run], tmp_path / "c.html").read_text()
    assert "0 of ? steps" in page


def test_a_trial_run_is_called_one_and_a_missing_folder_is_named_first(run, tmp_path):
    stored = run / "release" / "config.json"
    values = json.loads(stored.read_text())
    stored.write_text(json.dumps(values | {"about": values["about"] | {"trial": "nothing was learned yet"}}))
    assert "This run is a TRIAL: nothing was learned yet." in report([run], tmp_path / "a.html").read_text()
    (run / "release" / "preprocessing.json").write_text("{}")
    with pytest.raises(ConfigError, match="is a release, without curves or scores; give .*; brainof info shows it"):
        report([run / "release"], tmp_path / "a.html")
    with pytest.raises(StorageError, match="none/a.html: cannot be written"):
        report([run], tmp_path / "none" / "a.html")


def test_several_folders_stand_side_by_side(run, tmp_path):
    second = tmp_path / "second"
    shutil.copytree(run, second)
    adapted = tmp_path / "adapted"
    (adapted / "adapter").mkdir(parents=True)
    lines, people = scores()
    lines["entry"] = lines["entry"].replace({"first": "adapted model"})
    lines = lines.assign(gain=None, gain_low=None, gain_high=None, against=None)
    found = {"metrics": {"balanced_accuracy": {"mean": 0.7, "se": None}}, "people": people.to_dict("records")}
    (adapted / "scores.json").write_text(json.dumps({**found, "summary": finite(lines.to_dict("records"))}))
    bench = tmp_path / "bench"
    bench.mkdir()
    frame = pd.DataFrame([
        {"task": "t", "entry": "m", "kind": "model", "readout": "ridge", "option": "", "metric": "auc", "score": 0.7,
         "gain": 0.1, "gain_low": 0.05, "gain_high": 0.15},
        {"task": "t", "entry": "n", "kind": "model", "readout": "ridge", "option": "", "metric": "auc", "score": 0.5,
         "gain": -0.1, "gain_low": -0.15, "gain_high": -0.05},
    ])  # fmt: skip
    frame.to_csv(bench / "summary.csv", index=False)
    out = report([run, second, adapted, bench], tmp_path / "all.html")
    page = out.read_text()
    assert "Side by side" in page
    assert "Loss of every run" in page
    assert "won 1, lost 1 and left open 0 of 2" in page
    for features, score in (("adapted model", "0.700"), ("random weights", "0.600")):
        assert f'<td class="text">{features}</td><td>{score}</td>' in page
    assert "t (m, ridge) +0.100; t (n, ridge) -0.100." in page
    assert [part["kind"] for part in data_of(out)["parts"]] == ["pretraining"] * 2 + ["adaptation", "evaluation"]


def test_folders_of_one_name_are_told_apart(run, tmp_path):
    for place in ("one", "two"):
        shutil.copytree(run, tmp_path / place / "first")
    page = report([tmp_path / "one" / "first", tmp_path / "two" / "first"], tmp_path / "both.html")
    assert [part["name"] for part in data_of(page)["parts"]] == ["one/first", "two/first"]
    assert "Data of two/first" in page.read_text()


def test_random_weights_beside_a_trained_run_are_not_all_there_is(run, tmp_path):
    bench = tmp_path / "bench"
    bench.mkdir()
    row = {"task": "t", "entry": "tiny (random weights)", "kind": "model", "readout": "ridge", "option": "plain",
           "metric": "auc", "score": 0.7, "gain": 0.1, "gain_low": 0.05, "gain_high": 0.15}  # fmt: skip
    pd.DataFrame([row]).to_csv(bench / "summary.csv", index=False)
    alone, beside = report([bench], tmp_path / "a.html"), report([run, bench], tmp_path / "b.html")
    assert 'class="lead">The models here have random weights' in alone.read_text()
    assert 'class="lead">Nothing here was compared with random weights' in beside.read_text()


def test_what_brainof_did_not_write_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        report([tmp_path / "absent"], tmp_path / "p.html")
    with pytest.raises(ConfigError, match="holds no run, evaluation, explanation or corpus"):
        report([tmp_path], tmp_path / "p.html")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "null", "5", "[1]", '{"metrics": 5}'])
def test_a_damaged_folder_is_one_line(tmp_path, text):
    folder = tmp_path / "run"
    (folder / "adapter").mkdir(parents=True)
    (folder / "scores.json").write_text(text)
    with pytest.raises(ConfigError, match=r"run(/scores\.json)?: is damaged \(\w"):
        report([folder], tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


def test_methods_leave_out_what_is_not_recorded():
    text = methods({})
    assert "brainof" in text
    assert "None" not in text
    assert "?" not in text
    assert citations([{"data": [{"dataset": "d", "citation": "X 1999"}]}]).endswith("d: X 1999")


class Structure(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict] = []
        self.headers = self.buttons = 0
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[name] for name in ("src", "href", "action", "data") if values.get(name)]
        self.headers += tag == "th"
        self.buttons += tag == "button"
        if tag == "img":
            self.images.append(values)


def test_the_page_needs_nothing_else_and_can_be_read_without_eyes_or_mouse(run, tmp_path):
    evaluated(run / "evaluation")
    text = report([run], tmp_path / "page.html").read_text()
    found = Structure()
    found.feed(text)
    assert all(address.startswith(("#", "data:image/")) for address in found.addresses)
    assert len(found.images) >= 5
    assert all(image["alt"] and image["width"] for image in found.images)
    assert found.buttons == found.headers > 0  # every column can be sorted from the keyboard
    assert "prefers-color-scheme: dark" in text
    assert '<html lang="en">' in text
    assert "Skip to the content" in text
    assert len(text) < 15e6


@pytest.mark.skipif(CHROMIUM is None, reason="no headless Chromium (apt-get install chromium-headless-shell)")
@pytest.mark.parametrize("width", [400, 1280])
def test_in_a_browser(run, tmp_path, width):
    """No error in the console, no horizontal scroll, every image drawn, tables sort."""
    evaluated(run / "evaluation")
    page = report([run], tmp_path / "page.html")
    probe = """<script>addEventListener("load", async () => {
      await Promise.all([...document.images].map((image) => image.decode()));
      const body = document.querySelector("table").tBodies[0], root = document.documentElement;
      const before = body.rows[0].cells[0].textContent, all = [...document.querySelectorAll("table")];
      const table = all.find((one) => one.tBodies[0].rows.length > 2), button = table.querySelector("th button");
      button.click(); const up = table.tBodies[0].rows[0].cells[0].textContent;
      button.click(); const down = table.tBodies[0].rows[0].cells[0].textContent;
      root.dataset.found = JSON.stringify({scroll: root.scrollWidth, client: root.clientWidth, turned: up !== down,
        drawn: [...document.images].every((image) => image.complete && image.naturalWidth > 0)});
    });</script>"""
    page.write_text(page.read_text().replace("</body>", probe + "</body>"))
    command = [CHROMIUM, "--no-sandbox", "--headless", "--disable-gpu", f"--window-size={width},900",
               "--virtual-time-budget=4000", "--enable-logging=stderr", "--dump-dom", page.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    found = json.loads(re.search(r'data-found="(.*?)"', done.stdout)[1].replace("&quot;", '"'))
    assert found["scroll"] <= found["client"] <= width
    assert found["drawn"]
    assert found["turned"]
    assert "CONSOLE" not in done.stderr
