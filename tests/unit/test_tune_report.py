"""What people see of a search: golden files, what holds for all of them, and nothing from a repository that breaks them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.github_markdown import GITHUB

from metricgate.errors import InputError, UsageError
from metricgate.report.document import IntervalInfo, Report, RuleInfo, SideInfo
from metricgate.tune import document, markdown, terminal
from metricgate.tune.document import ParameterInfo, RetrainedInfo, TrialInfo, Tuning

GOLDEN = Path(__file__).parents[1] / "golden"
VALUES = [0.91, None, 0.902, 0.934, 0.928, None, 0.941, 0.913, 0.944, 0.944, 0.9399, 0.95]


def verdict() -> Report:
    return Report(
        name="digits-cnn",
        verdict="pass",
        exit_code=0,
        reasons=("accuracy 0.9311 → 0.9422 (+0.0111, 95% interval +0.0021 … +0.0201)",),
        baseline=SideInfo(commit="a1b2c3d" * 5, runs=3, seeds=(0, 1, 2)),
        candidate=SideInfo(runs=3, seeds=(0, 1, 2)),
        rules=(
            RuleInfo(
                metric="accuracy",
                kind="max_regression",
                limit=0.0,
                direction="higher",
                binary=True,
                baseline=0.9311,
                candidate=0.9422,
                difference=0.0111,
                interval=IntervalInfo(low=0.0021, high=0.0201, level=0.95),
                p_value=0.99,
                mde=0.008,
                n=1797,
                outcome="pass",
            ),
        ),
    )


def tuning(**changes: object) -> Tuning:
    trials = [
        TrialInfo(
            number=number,
            state="failed" if number == 1 else "pruned" if value is None else "complete",
            value=value if value is not None else 0.71 if number == 5 else None,
            values={
                "learning_rate": 10 ** (-number / 4 - 1),
                "layers": number % 4 + 1,
                "kind": "adam" if number % 2 else "sgd",
            },
            step=3 if value is None else 10,
            seconds=60.5 + number,
            why="ended with exit code 1" if number == 1 else "",
        )
        for number, value in enumerate(VALUES)
    ]
    fields: dict[str, object] = {
        "name": "digits-cnn",
        "study": "digits-cnn-35c48beffd",
        "storage": "postgresql",
        "commit": "a1b2c3d" * 5,
        "metric": "val_accuracy",
        "direction": "higher",
        "budget": 12,
        "lost": 1,
        "best": trials[-1],
        "current": trials[0],
        "parameters": (
            ParameterInfo(
                name="learning_rate",
                space="1e-05 … 0.1, log",
                current=0.1,
                known=True,
                best=10 ** (-11 / 4 - 1),
                importance=0.7312,
            ),
            ParameterInfo(name="layers", space="1 … 4", current=2, known=True, best=4, importance=0.2688),
            ParameterInfo(name="kind", space="adam, sgd", best="adam"),
        ),
        "trials": tuple(trials),
        "retrained": RetrainedInfo(seeds=(0, 1, 2), best=0.9433, current=0.9312),
        "verdict": verdict(),
        "warnings": (
            "`val_accuracy` 0.9500 is the best of 10 trials, chosen for being so: part of it is luck.",
            "Trial 1 failed: it ended with exit code 1",
        ),
    }
    return Tuning.model_validate({**fields, **changes})


CASES = {
    "tuning": tuning(),
    "tuning-nothing-better": tuning(
        best=tuning().trials[0],
        changed=False,
        trials=tuning().trials[:1],
        budget=1,
        retrained=None,
        verdict=None,
        lost=0,
        warnings=(),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("suffix", ["md", "txt"])
def test_the_report_is_that_of_the_golden_file(name: str, suffix: str) -> None:
    """``UPDATE_GOLDEN=1`` writes them; read the difference before you commit it."""
    text = markdown.render(CASES[name]) if suffix == "md" else terminal.render(CASES[name])
    file = GOLDEN / f"{name}.{suffix}"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_the_best_so_far_never_gets_worse() -> None:
    best = [value for _, value in tuning().best_so_far]
    assert best == sorted(best)
    assert len(best) == 10
    lower = [value for _, value in tuning(direction="lower").best_so_far]
    assert lower == sorted(lower, reverse=True)


@pytest.mark.parametrize("budget", [4_000, 5_000, 8_000, 64_000])
def test_it_fits_and_keeps_what_matters(budget: int) -> None:
    many = tuning(trials=tuple(tuning().trials[3].model_copy(update={"number": number}) for number in range(3_000)))
    text = markdown.render(many, budget=budget)
    assert len(text) <= budget
    assert text.startswith("### 🔎 digits-cnn")
    assert "learning\\_rate" in text
    with pytest.raises(ValueError, match=r"4,000 characters"):
        markdown.render(many, budget=3_999)


@given(nasty=st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_no_text_of_a_repository_gets_out_of_its_place(nasty: str) -> None:
    bad = tuning(
        name=nasty,
        study=nasty,
        metric=nasty,
        storage=nasty,
        commit=nasty,
        parameters=(ParameterInfo(name=nasty, space=nasty, current=nasty, known=True, best=nasty),),
        warnings=(nasty, f"`{nasty}` is bad"),
        verdict=None,
    )
    text = markdown.render(bad)
    assert len([line for line in text.splitlines() if line.startswith("### ")]) == 1
    html = GITHUB.render(re.sub(r"</?(details|summary)>", "", text))
    for tag in re.findall(r"<([a-z0-9]+)", html):
        assert tag in {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "br", "hr"}, (nasty, html)
    assert html.count("<table>") == 2
    assert "\x1b" not in terminal.render(bad)


@pytest.mark.parametrize(
    "nasty", ["<img src=x onerror=alert(1)>", "@everyone", "a|b\n\n# c", "`x` ](http://evil)", "```\n# out"]
)
def test_what_people_try(nasty: str) -> None:
    text = markdown.render(tuning(metric=nasty, study=nasty, warnings=(nasty,)))
    html = GITHUB.render(text)
    assert "<img" not in html
    assert "<a " not in html
    assert not re.search(r"@everyone", text)


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "tuning.json"
    file.write_text(document.to_json(tuning()))
    assert document.read(file) == tuning()
    assert document.to_json(document.read(file)) == file.read_text()
    file.write_text('{"schema": "metricgate.report/1"}')
    with pytest.raises(InputError, match=r"metricgate\.tuning/1"):
        document.read(file)
    with pytest.raises(UsageError):
        document.read(tmp_path / "missing.json")
