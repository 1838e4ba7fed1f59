"""The nearest recorded ancestor: by steps to a parent, within a limit, reading no more of the history than needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from metricgate.baseline.nearest import Commit, Nearest, nearest


def line(*names: str) -> list[Commit]:
    """A history without merges, newest first."""
    return [Commit(name, (parent,) if parent else ()) for name, parent in zip(names, [*names[1:], ""], strict=True)]


def test_the_commit_itself_is_nearest() -> None:
    assert nearest(line("c", "b", "a"), {"a", "c"}, max_commits=50) == Nearest("c", 0)


def test_else_the_first_recorded_one_before_it() -> None:
    assert nearest(line("d", "c", "b", "a"), {"a", "b"}, max_commits=50) == Nearest("b", 2)


def test_nothing_recorded_is_no_baseline() -> None:
    assert nearest(line("b", "a"), {"x"}, max_commits=50) is None
    assert nearest([], {"x"}, max_commits=50) is None


def test_the_limit_is_the_last_distance_that_counts() -> None:
    history = line("d", "c", "b", "a")
    assert nearest(history, {"a"}, max_commits=3) == Nearest("a", 3)
    assert nearest(history, {"a"}, max_commits=2) is None


def test_the_history_is_read_no_further_than_needed() -> None:
    read: list[str] = []

    def endless() -> Iterator[Commit]:
        for number in range(10_000):
            read.append(str(number))
            yield Commit(str(number), (str(number + 1),))

    assert nearest(endless(), {"3", "9000"}, max_commits=50) == Nearest("3", 3)
    assert len(read) == 4
    read.clear()
    assert nearest(endless(), {"9000"}, max_commits=50) is None
    assert len(read) == 51
    read.clear()
    assert nearest(endless(), set(), max_commits=50) is None
    assert read == []


def test_main_counts_as_near_whatever_a_merged_branch_brought_along() -> None:
    # m merges a branch of three commits; git lists them before the commit of main that m follows.
    history = [Commit("m", ("p", "z")), Commit("z", ("y",)), Commit("y", ("x",)), Commit("x", ("o",)), *line("p", "o")]
    assert nearest(history, {"p", "x"}, max_commits=50) == Nearest("p", 1)
    assert nearest(history, {"p", "x"}, max_commits=1) == Nearest("p", 1)
    assert nearest(history, {"o"}, max_commits=50) == Nearest("o", 2)


@st.composite
def graphs(draw: st.DrawFn) -> list[Commit]:
    """Histories with merges as git lists them: children before parents."""
    size = draw(st.integers(1, 12))
    commits = []
    for number in range(size):
        parents = draw(st.lists(st.integers(number + 1, size), max_size=3, unique=True)) if number < size - 1 else []
        if not parents and number < size - 1:
            parents = [number + 1]
        commits.append(Commit(str(number), tuple(str(parent) for parent in parents if parent < size)))
    return commits


def distances(commits: list[Commit]) -> Mapping[str, int]:
    by_name = {commit.id: commit for commit in commits}
    found, edge, steps = {commits[0].id: 0}, {commits[0].id}, 0
    while edge:
        steps += 1
        edge = {parent for name in edge for parent in by_name[name].parents} - set(found)
        found |= dict.fromkeys(edge, steps)
    return found


@given(graphs(), st.sets(st.integers(0, 12).map(str)), st.integers(0, 8))
def test_no_recorded_ancestor_is_nearer(commits: list[Commit], recorded: set[str], limit: int) -> None:
    reachable = {name: steps for name, steps in distances(commits).items() if name in recorded and steps <= limit}
    found = nearest(commits, recorded, max_commits=limit)
    if found is None:
        assert not reachable
    else:
        assert found.distance == reachable[found.commit] == min(reachable.values())


@given(graphs(), st.sets(st.integers(0, 12).map(str)), st.randoms())
def test_a_listing_in_the_wrong_order_never_finds_what_is_no_ancestor(
    commits: list[Commit], recorded: set[str], random: Random
) -> None:
    shuffled = commits[1:]
    random.shuffle(shuffled)
    found = nearest([commits[0], *shuffled], recorded, max_commits=50)
    assert found is None or (found.commit in recorded and found.commit in distances(commits))
