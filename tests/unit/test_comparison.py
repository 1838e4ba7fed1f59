"""Which examples pair with which, which slices there are, and what can't be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from metricgate.comparison import Comparison
from metricgate.config import Config, MetricConfig, ScoreColumns
from metricgate.errors import InputError
from metricgate.evidence import Evidence
from metricgate.examples import Examples
from metricgate.run import Fingerprints, Metric, Run, RunRecord, Times
from metricgate.score_table import ScoreTable
from metricgate.stats.means import Value
from metricgate.stats.scatter import Scores

Columns = Mapping[str, Sequence[object]]

IDS = ("a", "b", "c", "d", "e", "f")
LABELS = ("x", "x", "x", "y", "y", "y")


def run(
    where: Path,
    columns: Columns | None = None,
    *,
    commit: str | None = None,
    seed: int | None = None,
    fingerprints: Fingerprints | None = None,
    started: str | None = None,
    **metrics: float,
) -> Run:
    where.mkdir(parents=True)
    table = None
    if columns is not None:
        rows = zip(*columns.values(), strict=True)
        text = "\n".join(",".join(str(value) for value in row) for row in ([*columns], *rows))
        (where / "scores.csv").write_text(text + "\n", encoding="utf-8")
        table = ScoreTable.open(where / "scores.csv", id="example_id", require_id=False)
    record = RunRecord(commit=commit, seed=seed, fingerprints=fingerprints or Fingerprints(), times=Times(started=started))
    return Run(where=where, metrics={name: Metric(value=value) for name, value in metrics.items()}, scores=table, record=record)


def table(accuracy: Sequence[float], *, ids: Sequence[str] = IDS, labels: Sequence[str] = LABELS) -> Columns:
    return {"example_id": ids, "label": labels, "accuracy": accuracy}


def config(*, cluster: str | None = None, direction: str = "higher", noise: float | None = None) -> Config:
    return Config(
        metrics={"accuracy": MetricConfig.model_validate({"direction": direction})},
        slices=("label",),
        scores=ScoreColumns(cluster=cluster),
        noise={} if noise is None else {"accuracy": noise},
    )


def matrix(side: Examples | Value | None) -> Scores:
    """The scores of a side, whose sums are theirs."""
    assert isinstance(side, Examples)
    scores = side.scores()
    assert scores.shape == (side.runs, side.n)
    samples = side.samples()
    assert [mean for sample in samples for mean in sample.means] == pytest.approx(scores.mean(axis=1))
    if side.ordered:
        assert [sample.spread.squares for sample in samples] == pytest.approx([scores.mean(axis=0).var() * side.n])
    return scores


def by_slice(found: list[Evidence]) -> dict[str | None, Evidence]:
    return {evidence.slice: evidence for evidence in found}


class TestPairing:
    def test_rows_are_paired_by_id_whatever_their_order(self, tmp_path: Path) -> None:
        candidate = run(tmp_path / "c", table([1, 2, 3, 4, 5, 6]))
        turned = run(tmp_path / "b", table([60, 50, 40, 30, 20, 10], ids=IDS[::-1], labels=LABELS[::-1]))
        evidence = Comparison([candidate], [turned], config=config()).evidence("accuracy")
        assert evidence.paired
        assert matrix(evidence.candidate).tolist() == [[1, 2, 3, 4, 5, 6]]
        assert matrix(evidence.baseline).tolist() == [[10, 20, 30, 40, 50, 60]]

    def test_several_runs_a_side_have_one_order(self, tmp_path: Path) -> None:
        runs = [
            run(tmp_path / "0", table([1, 2, 3, 4, 5, 6])),
            run(tmp_path / "1", table([6, 5, 4, 3, 2, 1.5], ids=IDS[::-1], labels=LABELS[::-1])),
        ]
        evidence = Comparison(runs, runs[:1], config=config()).evidence("accuracy")
        assert matrix(evidence.candidate).tolist() == [[1, 2, 3, 4, 5, 6], [1.5, 2, 3, 4, 5, 6]]
        assert matrix(evidence.baseline).shape == (1, 6)

    def test_runs_of_one_side_need_one_test_set(self, tmp_path: Path) -> None:
        runs = [run(tmp_path / "0", table([1] * 6)), run(tmp_path / "1", table([1] * 6, ids=("z", *IDS[1:])))]
        with pytest.raises(InputError, match="its test set is not that of"):
            Comparison(runs, runs[:1], config=config())

    @pytest.mark.parametrize(
        ("ids", "said"),
        [
            (("z", *IDS[1:]), "1 ids are missing and 1 are new"),
            (tuple(f"z{i}" for i in range(6)), "6 ids are missing and 6 are new"),
        ],
    )
    def test_another_test_set_is_not_comparable(self, tmp_path: Path, ids: Sequence[str], said: str) -> None:
        candidate, baseline = run(tmp_path / "c", table([1] * 6, ids=ids)), run(tmp_path / "b", table([1] * 6))
        evidence = Comparison([candidate], [baseline], config=config()).evidence("accuracy")
        assert not evidence.paired
        assert "the test set changed" in evidence.problem
        assert said in evidence.problem

    def test_without_ids_examples_are_not_paired_and_the_reason_is_known(self, tmp_path: Path) -> None:
        candidate = run(tmp_path / "c", table([1, 0, 1, 0, 1, 0]))
        baseline = run(tmp_path / "b", {"label": LABELS, "accuracy": [1, 0, 1, 0, 1, 1]})
        evidence = Comparison([candidate], [baseline], config=config()).evidence("accuracy")
        assert not evidence.paired
        assert evidence.unpaired_reason == "the score table of the baseline has no id column `example_id`"
        assert not evidence.problem

    def test_without_ids_the_rows_of_two_runs_are_in_no_known_order(self, tmp_path: Path) -> None:
        runs = [run(tmp_path / str(k), {"label": LABELS, "accuracy": [1, 0, 1, 0, 1, k]}) for k in range(2)]
        baseline = run(tmp_path / "b", table([1] * 6))
        evidence = Comparison(runs, [baseline], config=config()).evidence("accuracy")
        candidate, before = evidence.candidate, evidence.baseline
        assert isinstance(candidate, Examples)
        assert isinstance(before, Examples)
        assert (candidate.ordered, before.ordered) == (False, True)

    def test_without_ids_the_slices_of_all_runs_have_to_agree_row_by_row(self, tmp_path: Path) -> None:
        runs = [
            run(tmp_path / "0", {"label": LABELS, "accuracy": [1, 0, 1, 0, 1, 0]}),
            run(tmp_path / "1", {"label": LABELS[::-1], "accuracy": [1, 0, 1, 0, 1, 1]}),
        ]
        comparison = Comparison(runs, runs[:1], config=config())
        with pytest.raises(InputError, match="other values, row by row"):
            comparison.slices("accuracy", "label")

    def test_values_without_scores_are_compared_as_values(self, tmp_path: Path) -> None:
        candidate = [run(tmp_path / f"c{k}", accuracy=0.9 + k / 100) for k in range(3)]
        baseline = [run(tmp_path / "b", accuracy=0.9)]
        evidence = Comparison(candidate, baseline, config=config()).evidence("accuracy")
        assert isinstance(evidence.candidate, Value)
        assert evidence.candidate.value == pytest.approx(0.91)
        assert evidence.candidate.runs == 3
        assert evidence.baseline == Value(value=0.9, runs=1)
        assert evidence.noise.own_values == ((0.9, 0.91, 0.92), (0.9,))


class TestProblems:
    def test_no_baseline(self, tmp_path: Path) -> None:
        comparison = Comparison([run(tmp_path / "c", table([1] * 6))], [], config=config())
        assert comparison.missing_baseline
        assert comparison.evidence("accuracy").problem == "there is no baseline"

    @pytest.mark.parametrize("side", ["candidate", "baseline"])
    def test_a_metric_that_one_side_lacks(self, tmp_path: Path, side: str) -> None:
        with_it = run(tmp_path / "with", table([1] * 6))
        without = run(tmp_path / "without", {"example_id": IDS, "label": LABELS, "f1": [1] * 6})
        sides = ([without], [with_it]) if side == "candidate" else ([with_it], [without])
        evidence = Comparison(*sides, config=config()).evidence("accuracy")
        assert evidence.problem == f"the {side} does not have the metric `accuracy`"

    def test_a_metric_that_one_run_lacks_is_lacking(self, tmp_path: Path) -> None:
        candidate = [run(tmp_path / "c0", accuracy=0.9), run(tmp_path / "c1", f1=0.9)]
        evidence = Comparison(candidate, [run(tmp_path / "b", accuracy=0.9)], config=config()).evidence("accuracy")
        assert evidence.problem == "the candidate does not have the metric `accuracy`"

    @pytest.mark.parametrize("what", ["test_set", "evaluation"])
    def test_fingerprints_that_differ(self, tmp_path: Path, what: str) -> None:
        candidate, baseline = (
            run(tmp_path / name, table([1] * 6), fingerprints=Fingerprints.model_validate({what: name})) for name in "cb"
        )
        assert "its fingerprint differs" in Comparison([candidate], [baseline], config=config()).evidence("accuracy").problem

    def test_a_slice_that_is_new_in_the_configuration_is_no_other_test_set(self, tmp_path: Path) -> None:
        candidate, baseline = (
            run(tmp_path / name, table([1] * 6), fingerprints=Fingerprints(test_set=name, reference_columns=columns))
            for name, columns in (("c", ("label",)), ("b", ()))
        )
        assert Comparison([candidate], [baseline], config=config()).problem == ""

    def test_examples_that_moved_to_another_slice(self, tmp_path: Path) -> None:
        candidate = run(tmp_path / "c", table([1] * 6, labels=("y", "y", *LABELS[2:])))
        baseline = run(tmp_path / "b", table([1] * 6))
        evidence = Comparison([candidate], [baseline], config=config()).evidence("accuracy")
        assert evidence.problem == "the test set changed: `label` differs for 2 examples"

    @pytest.mark.parametrize("side", ["candidate", "baseline"])
    def test_a_slice_column_that_one_side_lacks(self, tmp_path: Path, side: str) -> None:
        with_it = run(tmp_path / "with", table([1] * 6))
        without = run(tmp_path / "without", {"example_id": IDS, "accuracy": [1] * 6})
        sides = ([without], [with_it]) if side == "candidate" else ([with_it], [without])
        (evidence,) = Comparison(*sides, config=config()).slices("accuracy", "label")
        assert evidence.slice == "label=*"
        assert evidence.problem == f"the score table of the {side} has no column `label`"

    def test_a_cluster_column_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        sides = [[run(tmp_path / name, table([1] * 6))] for name in "cb"]
        comparison = Comparison(*sides, config=config(cluster="passage"))
        with pytest.raises(InputError, match="no column `passage`"):
            comparison.evidence("accuracy")

    def test_runs_of_unlike_length_without_ids_are_an_error(self, tmp_path: Path) -> None:
        runs = [run(tmp_path / str(k), {"accuracy": [1, 0, 1, 0][: k + 2]}) for k in range(2)]
        with pytest.raises(InputError, match=r"3 examples, and .* has 2"):
            Comparison(runs, [], config=config())


class TestSlices:
    def test_each_holds_its_own_examples_of_both_sides(self, tmp_path: Path) -> None:
        candidate = run(tmp_path / "c", table([1, 2, 3, 4, 5, 6]))
        baseline = run(tmp_path / "b", table([60, 50, 40, 30, 20, 10], ids=IDS[::-1], labels=LABELS[::-1]))
        found = by_slice(Comparison([candidate], [baseline], config=config()).slices("accuracy", "label"))
        assert [*found] == ["label=x", "label=y"]
        assert matrix(found["label=x"].candidate).tolist() == [[1, 2, 3]]
        assert matrix(found["label=x"].baseline).tolist() == [[10, 20, 30]]
        assert matrix(found["label=y"].baseline).tolist() == [[40, 50, 60]]

    def test_numbers_come_in_their_order(self, tmp_path: Path) -> None:
        runs = [run(tmp_path / "c", table([1] * 6, labels=("10", "9", "2", "10", "9", "2")))]
        found = Comparison(runs, runs, config=config()).slices("accuracy", "label")
        assert [evidence.slice for evidence in found] == ["label=2", "label=9", "label=10"]

    @pytest.mark.parametrize("lacking", ["candidate", "baseline"])
    def test_one_that_vanished_is_not_comparable(self, tmp_path: Path, lacking: str) -> None:
        # Without ids nothing else can tell that the slice is gone.
        both = run(tmp_path / "both", {"label": LABELS, "accuracy": [1] * 6})
        one = run(tmp_path / "one", {"label": ["x"] * 6, "accuracy": [1] * 6})
        sides = ([one], [both]) if lacking == "candidate" else ([both], [one])
        found = by_slice(Comparison(*sides, config=config()).slices("accuracy", "label"))
        assert not found["label=x"].problem
        assert found["label=y"].problem == f"the {lacking} does not have the slice label=y"

    def test_clusters_come_along(self, tmp_path: Path) -> None:
        columns = {**table([1, 0, 1, 0, 1, 0]), "passage": ["p", "p", "q", "q", "r", "r"]}
        sides = [[run(tmp_path / name, columns)] for name in "cb"]
        found = by_slice(Comparison(*sides, config=config(cluster="passage")).slices("accuracy", "label"))
        of_slice = found["label=y"].candidate
        assert isinstance(of_slice, Examples)
        codes = of_slice.clusters()
        assert codes is not None
        (sample,) = of_slice.samples()
        assert sample.spread.sizes is not None
        assert sample.spread.sizes.tolist() == [1, 2]
        assert len(codes) == 3
        assert codes[0] != codes[1] == codes[2]


class TestRunsThatAreCopies:
    def test_equal_runs_count_once_and_the_reader_is_told(self, tmp_path: Path) -> None:
        runs = [run(tmp_path / str(k), table([1, 0, 1, 0, 1, 0]), seed=k) for k in range(3)]
        comparison = Comparison(runs, [run(tmp_path / "b", table([1] * 6))], config=config())
        assert len(comparison.candidate.runs) == 1
        (warning,) = comparison.warnings
        assert "3 runs of the candidate hold 1 different result:" in warning

    def test_equal_runs_in_another_order_are_equal(self, tmp_path: Path) -> None:
        runs = [
            run(tmp_path / "0", table([1, 0, 0, 1, 1, 1])),
            run(tmp_path / "1", table([1, 1, 1, 0, 0, 1], ids=IDS[::-1], labels=LABELS[::-1])),
        ]
        assert len(Comparison(runs, [], config=config()).candidate.runs) == 1

    def test_different_runs_all_count(self, tmp_path: Path) -> None:
        runs = [run(tmp_path / str(k), table([1, 0, 1, 0, 1, k])) for k in range(2)]
        comparison = Comparison(runs, runs, config=config())
        assert len(comparison.candidate.runs) == len(comparison.baseline.runs) == 2
        assert comparison.warnings == []

    def test_equal_single_values_stay(self, tmp_path: Path) -> None:
        runs = [run(tmp_path / str(k), accuracy=0.9) for k in range(3)]
        assert len(Comparison(runs, runs, config=config()).candidate.runs) == 3


class TestHistory:
    def compared(self, tmp_path: Path, history: Sequence[Run], *, noise: float | None = None) -> Comparison:
        sides = [[run(tmp_path / name, table([1, 0, 1, 0, 1, 1]), commit=name, seed=0)] for name in "cb"]
        return Comparison(*sides, history=history, config=config(noise=noise))

    def test_runs_of_one_commit_belong_together_oldest_first(self, tmp_path: Path) -> None:
        history = [
            run(tmp_path / "h" / f"{commit}{seed}", table([when] * 5 + [seed]), commit=commit, seed=seed, started=f"202{when}")
            for commit, when in (("new", 2), ("old", 1))
            for seed in (0, 1)
        ]
        matrices = self.compared(tmp_path, history).evidence("accuracy").noise.history
        assert [matrix(found).tolist() for found in matrices] == [
            [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]],
            [[2, 2, 2, 2, 2, 0], [2, 2, 2, 2, 2, 1]],
        ]

    def test_a_plain_folder_of_runs_is_one_commit(self, tmp_path: Path) -> None:
        history = [run(tmp_path / "h" / str(k), table([1] * 5 + [k])) for k in range(3)]
        (found,) = self.compared(tmp_path, history).evidence("accuracy").noise.history
        assert matrix(found).shape == (3, 6)

    def test_its_rows_are_brought_into_the_candidate_s_order(self, tmp_path: Path) -> None:
        history = [run(tmp_path / "h", table([6, 5, 4, 3, 2, 1], ids=IDS[::-1], labels=LABELS[::-1]))]
        comparison = self.compared(tmp_path, history)
        assert matrix(comparison.evidence("accuracy").noise.history[0]).tolist() == [[1, 2, 3, 4, 5, 6]]
        found = by_slice(comparison.slices("accuracy", "label"))
        assert matrix(found["label=y"].noise.history[0]).tolist() == [[4, 5, 6]]

    def test_what_is_judged_is_not_history_wherever_its_copy_lies(self, tmp_path: Path) -> None:
        history = [run(tmp_path / "h" / str(k), table([1] * 5 + [k]), commit="b", seed=k) for k in range(3)]
        (found,) = self.compared(tmp_path, history).evidence("accuracy").noise.history
        assert matrix(found).tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 2]]

    @pytest.mark.parametrize("ids", [[f"z{i}" for i in range(6)], [*IDS, "g"]])
    def test_another_test_set_is_left_out_and_the_reader_is_told(self, tmp_path: Path, ids: Sequence[str]) -> None:
        history = [run(tmp_path / "h", {"example_id": ids, "accuracy": [1] * len(ids)})]
        comparison = self.compared(tmp_path, history)
        assert comparison.evidence("accuracy").noise.history == ()
        assert "1 of 1 recorded commits have another test set" in comparison.warnings[0]

    def test_without_ids_it_has_no_known_order(self, tmp_path: Path) -> None:
        history = [run(tmp_path / "h" / str(k), {"label": LABELS, "accuracy": [1, 2, 3, 4, 5, k]}) for k in range(2)]
        comparison = self.compared(tmp_path, history)
        (noise,) = comparison.evidence("accuracy").noise.history
        assert not noise.ordered
        assert matrix(noise).shape == (2, 6)
        found = by_slice(comparison.slices("accuracy", "label"))
        assert matrix(found["label=y"].noise.history[0]).tolist() == [[4, 5, 0], [4, 5, 1]]

    def test_shorter_tables_without_ids_are_another_test_set(self, tmp_path: Path) -> None:
        history = [run(tmp_path / "h" / str(k), {"label": ["x", "y"], "accuracy": [1, k]}) for k in range(2)]
        comparison = self.compared(tmp_path, history)
        assert comparison.slices("accuracy", "label")[0].noise.history == ()
        assert "another test set" in comparison.warnings[0]

    def test_a_slice_never_takes_the_noise_of_all_examples_for_its_own(self, tmp_path: Path) -> None:
        columns = {"accuracy": [1, 0, 1, 0, 1, 1], "label": LABELS}
        sides = [[run(tmp_path / name, columns)] for name in "cb"]
        history = [run(tmp_path / "h" / str(k), {"accuracy": [1, 0, 1, 0, 1, k]}) for k in range(2)]
        comparison = Comparison(*sides, history=history, config=config(noise=0.1))
        assert matrix(comparison.evidence("accuracy").noise.history[0]).shape == (2, 6)
        for evidence in comparison.slices("accuracy", "label"):
            assert evidence.noise.history == ()
            assert evidence.noise.sliced

    def test_values_count_where_there_are_no_scores(self, tmp_path: Path) -> None:
        history = [run(tmp_path / "h" / name, commit=name, accuracy=0.9) for name in "abc"]
        comparison = self.compared(tmp_path, history)
        # The baseline is commit b, but of seed 0: a record without seed may be another run.
        assert comparison.evidence("accuracy").noise.history_values == ((0.9,), (0.9,), (0.9,))
        assert comparison.slices("accuracy", "label")[0].noise.history_values == ()


class TestFlips:
    def flips(
        self, tmp_path: Path, before: Sequence[Columns], after: Sequence[Columns], *, direction: str = "higher"
    ) -> tuple[tuple[str, ...], tuple[str, ...], int] | None:
        sides = [
            [run(tmp_path / f"{name}{k}", columns, seed=k) for k, columns in enumerate(runs)]
            for name, runs in (("c", after), ("b", before))
        ]
        found = Comparison(*sides, config=config(direction=direction)).flips("accuracy", only="critical")
        return None if found is None else (found.worse, found.better, found.n)

    def scored(self, accuracy: Sequence[float], *, critical: Sequence[object] = (True,) * 6) -> Columns:
        return {**table(accuracy), "critical": critical}

    def test_they_are_named_by_id(self, tmp_path: Path) -> None:
        found = self.flips(tmp_path, [self.scored([1, 1, 1, 0, 0, 0])], [self.scored([1, 0, 1, 0, 1, 0])])
        assert found == (("b",), ("e",), 6)

    def test_of_a_loss_getting_worse_is_getting_larger(self, tmp_path: Path) -> None:
        sides = [self.scored([0, 0, 0, 1, 1, 1])], [self.scored([0, 1, 0, 1, 0, 1])]
        assert self.flips(tmp_path, *sides, direction="lower") == (("b",), ("e",), 6)

    def test_only_protected_examples_count(self, tmp_path: Path) -> None:
        critical = [True, False, True, False, False, False]
        sides = [self.scored([1] * 6, critical=critical)], [self.scored([1, 0, 0, 0, 0, 0], critical=critical)]
        assert self.flips(tmp_path, *sides) == (("c",), (), 2)

    def test_the_candidate_cannot_unprotect_an_example(self, tmp_path: Path) -> None:
        sides = [self.scored([1] * 6)], [self.scored([1, 0, 1, 1, 1, 1], critical=[True, False, *[True] * 4])]
        assert self.flips(tmp_path, *sides) == (("b",), (), 6)

    def test_the_majority_of_runs_decides_and_a_tie_is_no_flip(self, tmp_path: Path) -> None:
        before = [self.scored([1, 1, 1, 1, 1, 1]), self.scored([1, 1, 0, 1, 1, 1]), self.scored([1, 1, 0, 1, 1, 0])]
        two_of_three = [self.scored([0, 1, 0, 1, 1, 1]), self.scored([0, 0, 0, 1, 1, 1]), self.scored([1, 0, 0, 1, 1, 1])]
        assert self.flips(tmp_path / "majority", before, two_of_three) == (("a", "b"), (), 6)
        one_of_two = [self.scored([0, 1, 1, 1, 1, 1]), self.scored([1, 1, 1, 1, 1, 1])]
        assert self.flips(tmp_path / "tie", before, one_of_two) == ((), ("c",), 6)

    def test_without_the_column_on_the_main_branch_nothing_is_known(self, tmp_path: Path) -> None:
        assert self.flips(tmp_path, [table([1] * 6)], [self.scored([1] * 6)]) is None

    def test_scores_that_are_not_0_or_1_do_not_flip(self, tmp_path: Path) -> None:
        assert self.flips(tmp_path, [self.scored([0.5] * 6)], [self.scored([1] * 6)]) is None
