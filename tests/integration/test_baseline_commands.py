"""`metricgate record` and `metricgate baseline` on a laptop: a folder as the store, the history from a local clone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests import recording
from tests.recording import CONFIG, NAME, Clock

from metricgate import config_file
from metricgate.baseline import commands, local_history
from metricgate.baseline.files import FolderFiles
from metricgate.baseline.store import RunStore
from metricgate.errors import ConfigError, UsageError

GIT = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": "/usr/bin:/bin",
}


class Clone:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=GIT).stdout.strip()

    def commit(self, message: str) -> str:
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(FolderFiles(tmp_path / "store"))


def recorded(store: RunStore, tmp_path: Path, commit: str, clock: Clock | None = None) -> None:
    folder = recording.write_run(tmp_path / f"runs-{commit}", commit=commit).parent
    commands.record(store, folder, config=CONFIG, clock=clock or Clock())


def test_runs_say_themselves_which_commit_they_are_of(tmp_path: Path, store: RunStore) -> None:
    recorded(store, tmp_path, recording.commit(1))
    assert set(store.commits(NAME)) == {recording.commit(1)}


def test_one_run_folder_can_be_recorded(tmp_path: Path, store: RunStore) -> None:
    folder = recording.write_run(tmp_path, commit=recording.commit(1))
    assert commands.record(store, folder, config=CONFIG, clock=Clock()).runs == ("seed-0",)


def test_runs_of_no_commit_or_several_are_refused_with_the_option_that_says_it(tmp_path: Path, store: RunStore) -> None:
    folder = tmp_path / "runs"
    recording.write_run(folder, commit=None, seed=0)
    with pytest.raises(UsageError, match="name no commit") as caught:
        commands.record(store, folder, config=CONFIG, clock=Clock())
    assert "--commit" in caught.value.fix
    for number in (1, 2):
        recording.write_run(folder, commit=recording.commit(number), seed=number)
    with pytest.raises(UsageError, match="several commits"):
        commands.record(store, folder, config=CONFIG, clock=Clock())


def test_the_baseline_is_the_nearest_recorded_ancestor_of_the_merge_base(tmp_path: Path, clone: Clone, store: RunStore) -> None:
    main = [clone.commit(f"main {number}") for number in range(5)]
    clone.git("checkout", "--quiet", "-b", "change", main[3])
    clone.commit("change")
    for each in (main[1], main[4]):
        recorded(store, tmp_path, each)
    start = local_history.merge_base(clone.root, "main", "change")
    assert start == main[3]
    found = commands.find(store, local_history.before(clone.root, start), config=CONFIG, into=tmp_path / "baseline")
    assert found is not None
    assert (found.commit, found.distance) == (main[1], 2)
    assert found.committed is not None
    assert found.folder == tmp_path / "baseline" / main[1]


def test_beyond_the_limit_there_is_no_baseline_and_the_commands_that_make_one(
    tmp_path: Path, clone: Clone, store: RunStore
) -> None:
    main = [clone.commit(f"main {number}") for number in range(8)]
    recorded(store, tmp_path, main[0])
    history = local_history.before(clone.root, "HEAD")
    assert commands.find(store, history, config=CONFIG, into=tmp_path / "baseline") is None
    said = commands.missing(CONFIG, main[-1])
    assert "the 5 commits before it" in said
    assert f"git switch --detach {main[-1][:12]} && metricgate run && metricgate record" in said


def test_a_commit_that_is_no_commit_is_told(clone: Clone) -> None:
    clone.commit("one")
    for name in ("nothing", "--all", "-h", ""):
        with pytest.raises(UsageError, match="there is no commit"):
            local_history.commit(clone.root, name)


def test_histories_that_never_met_are_told(clone: Clone) -> None:
    clone.commit("one")
    clone.git("checkout", "--quiet", "--orphan", "other")
    clone.commit("two")
    with pytest.raises(UsageError, match="no commit in common"):
        local_history.merge_base(clone.root, "main", "other")


def test_the_table_shows_the_newest_first(tmp_path: Path, store: RunStore) -> None:
    assert commands.table(store, config=CONFIG) == "nothing of Digits CNN is recorded yet\n"
    clock = Clock()
    for number in (1, 2):
        recorded(store, tmp_path, recording.commit(number), clock)
        clock.forward(days=1)
    rows = [line.split() for line in commands.table(store, config=CONFIG).splitlines()]
    assert rows[0] == ["commit", "recorded", "(UTC)", "runs"]
    assert rows[2:] == [
        [recording.commit(2), "2026-03-02", "12:00", "1"],
        [recording.commit(1), "2026-03-01", "12:00", "1"],
    ]


def test_pruning_keeps_as_many_as_the_configuration_says(tmp_path: Path, store: RunStore) -> None:
    clock = Clock()
    for number in range(5):
        recorded(store, tmp_path, recording.commit(number), clock)
        clock.forward(days=1)
    gone = commands.prune(store, config=CONFIG, needed={recording.commit(0)})
    assert gone == (recording.commit(1), recording.commit(2))


@pytest.mark.parametrize("where", ["recorded", "deep/er"])
def test_a_configured_folder_starts_at_the_repository(tmp_path: Path, where: str) -> None:
    config = config_file.loads(f"metrics: {{a: {{direction: higher}}}}\nbaseline: {{store: {where}, scores: large}}\n")
    store = commands.store(config.baseline, root=tmp_path)
    recorded(store, tmp_path, recording.commit(1))
    assert list((tmp_path / where / "runs").iterdir())
    assert list((tmp_path / "large/runs").iterdir())


def test_the_branch_needs_a_way_to_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no token") as caught:
        commands.store(CONFIG.baseline, root=tmp_path)
    assert "baseline: {store:" in caught.value.fix
    files = FolderFiles(tmp_path)
    assert commands.store(CONFIG.baseline, root=tmp_path, branch=files).files is files


def test_a_password_in_the_configuration_is_refused(tmp_path: Path) -> None:
    config = config_file.loads("metrics: {a: {direction: higher}}\nbaseline: {store: x, scores: 's3://a:b@c/d'}\n")
    with pytest.raises(ConfigError, match="password"):
        commands.store(config.baseline, root=tmp_path)
