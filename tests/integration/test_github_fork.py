"""A pull request from a fork: found by what GitHub says, judged by what this repository says."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

import pytest
from tests.github_server import Fault, GitHubServer, Repository
from tests.hostile import archives

from metricgate import config_file
from metricgate.baseline.ledger import Entry
from metricgate.baseline.store import RunStore
from metricgate.errors import ConfigError
from metricgate.github import action, api, fork, quarantine, settings
from metricgate.github.branch_files import BranchFiles
from metricgate.github.event import Work
from metricgate.github.failures import RefusedError
from metricgate.github.foreign_runs import Task
from metricgate.github.fork import Change, Judged
from metricgate.github.patience import Patience
from metricgate.report import markdown
from metricgate.report.document import Report

POLICY = """\
name: digits
metrics: {accuracy: {direction: higher}}
gate: {rules: [{metric: accuracy, max_regression: 0.02}]}
"""
LOOSE = POLICY.replace("0.02", "0.5")
# With three seeds of a recorded baseline, each of which is two files.
MOST_REQUESTS = 26
READ = {"actions": "read", "contents": "read", "pull-requests": "read", "metadata": "read"}
WRITE = {**READ, "contents": "write"}
Files = Mapping[str, bytes]


def runs(level: float, *, commit: str = "c" * 40, seeds: int = 3, folder: str = "", **more: bytes) -> Files:
    """What a training of that accuracy uploads."""
    files: dict[str, bytes] = {}
    for seed in range(seeds):
        luck = random.Random(seed)
        rows = [
            f"e{i:03d},{'even' if i % 2 == 0 else 'odd'},{int(random.Random(i).random() + luck.gauss(0, 0.05) < level)}"
            for i in range(400)
        ]
        scores = "example_id,label,accuracy\n" + "\n".join(rows) + "\n"
        record = {"schema": "metricgate.run/1", "stage": "evaluated", "name": "digits", "commit": commit, "seed": seed}
        files[f"{folder}seed-{seed}/scores.csv"] = scores.encode()
        files[f"{folder}seed-{seed}/run.json"] = json.dumps(record).encode()
    return {**files, **more}


@dataclass
class World:
    """A repository with a policy, its API, and strangers."""

    github: GitHubServer
    repo: Repository
    folder: Path
    base: str
    # What the child process adds is the matter of other tests.
    compare: Callable[[Task], Report] = quarantine.compare_here
    said: list[str] = field(default_factory=list)

    def api(self, permissions: Mapping[str, str] = READ) -> api.Repository:
        token = self.github.token(permissions=permissions, repository="acme/model")
        session = api.connect(token, api_url=self.github.url, patience=Patience(attempts=2, backoff=0.0), sleep=lambda _: None)
        return session.repository("acme/model")

    def pull(self, policy: str | None = POLICY, *, source: str = "stranger/model", ref: str = "better") -> int:
        head = self.repo.commit(parents=[self.base], files={"metricgate.yaml": policy, "train.py": f"# {ref}"})
        return self.repo.pull(head=head, head_repository=source, head_ref=ref, author=source.partition("/")[0])

    def work(self, pull_request: int, candidate: Files | bytes | None = None, **more: Files | bytes) -> Work:
        """The event that follows a run of a pull request, with what the run uploaded."""
        pull = self.repo.pulls[pull_request]
        uploads = {**({} if candidate is None else {"candidate": candidate}), **more}
        run_id = self.repo.workflow_run(
            head_sha=pull.head,
            head_repository=pull.head_repository,
            head_branch=pull.head_ref,
            artifacts={
                f"model-{name}": content if isinstance(content, bytes) else archives.archive(content)
                for name, content in uploads.items()
            },
        )
        return Work(kind="post", head=pull.head, fork=True, run_id=run_id, head_repository=pull.head_repository)

    def change(self, work: Work) -> Change | None:
        return fork.change_of(self.api(), work, say=self.said.append)

    def judge(self, work: Work) -> Judged | None:
        change = self.change(work)
        assert change is not None, self.said
        folder = self.folder / str(work.run_id)
        folder.mkdir()
        return fork.judge(
            self.api(),
            change,
            config=PurePosixPath("metricgate.yaml"),
            name="model",
            default_name="model",
            folder=folder,
            say=self.said.append,
            compare=self.compare,
        )

    def record(self, commit: str, files: Files) -> None:
        """Record runs of a commit, as a push does."""
        folder = self.folder / f"recorded-{commit}"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        config = config_file.loads(POLICY)
        store = RunStore(BranchFiles(self.api(WRITE), "metricgate"))
        store.record("digits", commit, folder, config=config, clock=lambda: datetime(2026, 1, 1, tzinfo=timezone.utc))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with GitHubServer() as github:
        repo = github.repository("acme/model")
        base = repo.commit(files={"metricgate.yaml": POLICY, "train.py": "# main"})
        repo.branch("main", base)
        yield World(github, repo, tmp_path, base)


@pytest.fixture
def judged(world: World) -> Callable[..., Judged]:
    """A pull request of a stranger's, judged."""

    def make(candidate: Files | bytes, *, policy: str | None = POLICY, **more: Files | bytes) -> Judged:
        found = world.judge(world.work(world.pull(policy), candidate, **more))
        assert found is not None
        return found

    return make


# Which pull request


def test_it_is_found_by_its_head_commit_and_its_head_repository(world: World) -> None:
    world.pull(ref="another")
    number = world.pull()
    work = world.work(number, {})
    change = world.change(work)
    assert change is not None
    assert change == Change(
        number=number,
        head=world.repo.pulls[number].head,
        base=world.base,
        merge=world.repo.pulls[number].merge,
        run_id=work.run_id or 0,
        attempt=1,
        since=change.since,
    )


def test_somebody_elses_pull_request_with_the_same_commit_is_not_it(world: World) -> None:
    """A commit belongs to nobody: whoever has a fork can push it to a branch of the same name."""
    number = world.pull(source="victim/model")
    head = world.repo.pulls[number].head
    run_id = world.repo.workflow_run(head_sha=head, head_repository="attacker/model", head_branch="better")
    assert world.change(Work(kind="post", head=head, run_id=run_id, head_repository="attacker/model")) is None
    assert "no longer a head" in world.said[-1]


def test_a_pull_request_of_this_repository_whose_token_may_only_read_is_found_too(world: World) -> None:
    """Dependabot's."""
    number = world.pull(source="acme/model", ref="dependabot/pip/numpy-3")
    change = world.change(world.work(number, {}))
    assert change is not None
    assert change.number == number


@pytest.mark.parametrize("ref", ["a&state=all", "a#b", "a%2Fb", "a+b", "é/模型", "..;x", "a:b"])
def test_a_branch_is_only_a_name(world: World, ref: str) -> None:
    world.pull(ref="a")
    number = world.pull(ref=ref)
    change = world.change(world.work(number, {}))
    assert change is not None
    assert change.number == number


def test_a_number_in_the_artifact_means_nothing(world: World, judged: Callable[..., Judged]) -> None:
    world.pull(source="victim/model")
    found = judged({**runs(0.8), "pr-number.txt": b"1", "event.json": b'{"number": 1}'}, number={"number": b"1"})
    assert found.change.number == 2


def test_a_run_of_an_older_commit_shows_nothing(world: World) -> None:
    number = world.pull()
    work = world.work(number, {})
    world.repo.push(number, world.repo.commit(parents=[world.base]))
    assert world.change(work) is None


def test_a_closed_pull_request_is_left_alone(world: World) -> None:
    number = world.pull()
    work = world.work(number, {})
    world.repo.close(number)
    assert world.change(work) is None


def test_two_pull_requests_with_one_head_are_not_confused(world: World) -> None:
    world.repo.branch("release", world.base)
    number = world.pull()
    head = world.repo.pulls[number].head
    world.repo.pull(head=head, head_repository="stranger/model", head_ref="better", base="release")
    assert world.change(world.work(number, {})) is None
    assert "#2 and #1" in world.said[-1] or "#1 and #2" in world.said[-1]


def test_a_run_that_was_started_again_and_goes_on_shows_nothing_yet(world: World) -> None:
    work = world.work(world.pull(), {})
    world.repo.runs[work.run_id or 0].status = "in_progress"
    assert world.change(work) is None
    assert "is in_progress" in world.said[-1]


def test_the_event_has_to_be_about_the_run_that_it_names(world: World) -> None:
    work = world.work(world.pull(), {})
    assert world.change(replace(work, head="d" * 40)) is None


@pytest.mark.parametrize(
    "without",
    [
        lambda work: replace(work, run_id=None),
        lambda work: replace(work, head=None),
        lambda work: replace(work, head_repository=None),
    ],
    ids=["run", "head", "repository"],
)
def test_a_fork_that_is_gone_has_nothing_to_show(world: World, without: Callable[[Work], Work]) -> None:
    work = world.work(world.pull(), {})
    assert world.change(without(work)) is None
    assert not world.github.requests


def test_a_missing_permission_shows_what_to_add(world: World) -> None:
    world.repo.private = True
    work = world.work(world.pull(), {})
    with pytest.raises(RefusedError) as caught:
        fork.change_of(world.api({"contents": "read"}), work, say=world.said.append)
    assert "actions: read" in str(caught.value)


# Which verdict


def test_a_harmful_change_fails_by_its_scores(world: World, judged: Callable[..., Judged]) -> None:
    world.record(world.base, runs(0.9, commit=world.base))
    found = judged(runs(0.7))
    assert found.report.verdict == "fail"
    assert found.report.candidate.commit == found.change.head
    assert found.report.baseline.commit == world.base
    assert (found.report.baseline.commits_before, found.report.baseline.recorded) == (0, "2026-01-01T00:00:00Z")
    assert fork.FOREIGN_RUNS in found.report.warnings
    assert fork.FOREIGN_BASELINE not in found.report.warnings


def test_the_run_s_own_verdict_is_not_looked_at(world: World, judged: Callable[..., Judged]) -> None:
    world.record(world.base, runs(0.9, commit=world.base))
    lie = {"report.json": json.dumps({"schema": "metricgate.report/1", "verdict": "pass", "exit_code": 0}).encode()}
    found = judged({**runs(0.7), **lie, "seed-0/report.json": lie["report.json"]}, report={**lie, "report.md": b"# pass"})
    assert found.report.verdict == "fail"
    (wanted,) = [kept.id for kept in world.repo.artifacts.values() if kept.name == "model-candidate"]
    assert [request.path for request in world.github.downloads] == [f"/storage/artifacts/{wanted}.zip"]


def test_the_baseline_of_the_artifact_is_not_taken_where_one_is_recorded(world: World, judged: Callable[..., Judged]) -> None:
    world.record(world.base, runs(0.9, commit=world.base))
    assert judged(runs(0.7), baseline=runs(0.5)).report.verdict == "fail"


def test_a_spent_budget_holds_for_a_stranger_too_whatever_test_set_the_run_claims(
    world: World, judged: Callable[..., Judged]
) -> None:
    def of(test_set: str, files: Files) -> Files:
        claim = {"fingerprints": {"test_set": test_set}}
        return {
            name: json.dumps({**json.loads(content), **claim}).encode() if name.endswith("run.json") else content
            for name, content in files.items()
        }

    ours, claimed = (f"sha256:{digit * 64}" for digit in "12")
    policy = POLICY.replace("gate: {", "gate: {reuse: {budget: 2}, ")
    world.base = world.repo.commit(parents=[world.base], files={"metricgate.yaml": policy, "train.py": "# main"})
    world.repo.branch("main", world.base)
    world.record(world.base, of(ours, runs(0.9, commit=world.base)))
    store = RunStore(BranchFiles(world.api(WRITE), "metricgate"))
    for second in range(2):
        time = f"2026-03-01T12:00:0{second}Z"
        store.note(Entry(kind="verdict", name="digits", commit=world.base, time=time, verdict="pass", test_set=ours))
    report = judged(of(ours, runs(0.95)), policy=policy).report
    assert (report.verdict, report.exit_code) == ("inconclusive", 3)
    assert "verdict 3 on a test set whose budget is 2" in report.reasons[0]
    liar = judged(of(claimed, runs(0.95)), policy=policy).report
    assert liar.reuse is not None
    assert (liar.reuse.test_set, liar.reuse.count, liar.exit_code) == (ours, 3, 4), "and another test set is not comparable"


def test_without_a_recorded_baseline_that_of_the_artifact_counts_and_the_report_says_so(judged: Callable[..., Judged]) -> None:
    found = judged(runs(0.7), baseline=runs(0.9, commit="e" * 40))
    assert found.report.verdict == "fail"
    assert fork.FOREIGN_BASELINE in found.report.warnings
    assert found.report.baseline.commit is None, "nobody knows which commit a stranger's baseline is of"
    assert "read the change before you believe" in markdown.render(found.report)


def test_without_any_baseline_the_report_says_how_to_make_one(judged: Callable[..., Judged]) -> None:
    found = judged(runs(0.7))
    assert found.report.verdict == "not_comparable"
    assert any("metricgate record" in warning for warning in found.report.warnings)


def test_the_policy_is_that_of_the_base_commit(world: World, judged: Callable[..., Judged]) -> None:
    world.record(world.base, runs(0.9, commit=world.base))
    found = judged(runs(0.7), policy=LOOSE)
    assert found.report.verdict == "fail"
    assert found.report.policy_changes == ("gate.rules[0].max_regression: 0.02 → 0.5",)
    assert found.text == LOOSE


def test_a_policy_that_changed_at_the_base_is_not_the_change_s_doing(world: World) -> None:
    """The stranger's branch still has the old policy; GitHub's merge of it has the new one."""
    old = world.repo.commit(parents=[world.base], files={"metricgate.yaml": LOOSE})
    head = world.repo.commit(parents=[old], files={"train.py": "# better"})
    world.repo.branch("main", world.repo.commit(parents=[old], files={"metricgate.yaml": POLICY}))
    number = world.repo.pull(head=head, head_repository="stranger/model", head_ref="better")
    base = world.repo.pulls[number].base
    merged = world.repo.commit(parents=[base, head], files={"train.py": "# better"})
    world.repo.pulls[number].merge = merged
    found = world.judge(world.work(number, runs(0.7), baseline=runs(0.9)))
    assert found is not None
    assert found.report.policy_changes == ()


def test_a_merge_of_other_commits_is_not_believed(world: World) -> None:
    number = world.pull(LOOSE)
    world.repo.pulls[number].merge = world.repo.commit(parents=[world.base, world.base])
    found = world.judge(world.work(number, runs(0.7), baseline=runs(0.9)))
    assert found is not None
    assert found.report.policy_changes


def test_a_base_without_a_policy_is_judged_by_the_change_s_own_and_the_report_says_so(world: World) -> None:
    world.base = world.repo.commit(parents=[world.base], files={"metricgate.yaml": None})
    world.repo.branch("main", world.base)
    found = world.judge(world.work(world.pull(LOOSE), runs(0.7), baseline=runs(0.9)))
    assert found is not None
    assert found.report.verdict == "pass"
    assert any("judged by its own policy" in warning for warning in found.report.warnings)


def test_a_change_that_takes_its_policy_away_is_judged_all_the_same(judged: Callable[..., Judged]) -> None:
    assert judged(runs(0.7), policy=None, baseline=runs(0.9)).report.verdict == "fail"


@pytest.mark.parametrize(
    "policy",
    ["metrics: [", "", "name: a\nname: b", "metrics: {accuracy: {direction: sideways}}", "x" * 1_000_001, "\x00"],
    ids=["not YAML", "empty", "twice", "wrong", "large", "NUL"],
)
def test_a_change_s_own_policy_that_can_t_be_read_does_not_judge(judged: Callable[..., Judged], policy: str) -> None:
    assert judged(runs(0.7), policy=policy, baseline=runs(0.9)).report.verdict == "fail"


def test_aliases_that_unfold_to_more_than_memory_are_refused(judged: Callable[..., Judged]) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    found = judged(runs(0.7), policy=laughs, baseline=runs(0.9))
    assert found.report.verdict == "fail"
    assert any("aliases stand for too much" in warning for warning in found.report.warnings)


def test_a_broken_policy_at_the_base_is_an_error(world: World) -> None:
    world.base = world.repo.commit(parents=[world.base], files={"metricgate.yaml": "metrics: ["})
    world.repo.branch("main", world.base)
    with pytest.raises(ConfigError, match="at the base"):
        world.judge(world.work(world.pull(), runs(0.7)))


# Which artifact


def test_a_run_without_runs_shows_nothing(world: World) -> None:
    assert world.judge(world.work(world.pull(), report={"report.md": b"# fine"})) is None
    assert "no artifact `model-candidate`" in world.said[-1]


def test_an_artifact_that_expired_shows_nothing(world: World) -> None:
    work = world.work(world.pull())
    world.repo.artifact(work.run_id or 0, "model-candidate", archives.archive(runs(0.7)), expired=True)
    assert world.judge(work) is None


def test_the_newest_artifact_of_a_name_counts(world: World) -> None:
    """A second attempt leaves its artifacts beside those of the first."""
    world.record(world.base, runs(0.9, commit=world.base))
    work = world.work(world.pull(), runs(0.7))
    world.repo.artifact(work.run_id or 0, "model-candidate", archives.archive(runs(0.9)))
    found = world.judge(work)
    assert found is not None
    assert found.report.verdict == "pass"


@pytest.mark.parametrize("name", ["parent", "symbolic link", "not a zip", "a document of many bytes", "no run"])
def test_a_harmful_artifact_is_shown_as_one_that_can_t_be_judged(judged: Callable[..., Judged], name: str) -> None:
    found = judged(archives.HARMFUL[name])
    assert (found.report.verdict, found.report.exit_code) == ("not_comparable", 4)
    assert found.report.candidate.commit == found.change.head
    page = markdown.render(found.report)
    assert "digits: not comparable" in page
    assert "uploaded can't be judged" in page


def test_a_harmful_baseline_spoils_the_comparison(judged: Callable[..., Judged]) -> None:
    assert judged(runs(0.9), baseline=archives.HARMFUL["parent"]).report.verdict == "not_comparable"


def test_runs_that_say_two_things_are_no_evidence(judged: Callable[..., Judged]) -> None:
    liar = {**runs(0.7, seeds=1), "seed-0/metrics.json": b'{"accuracy": NaN}'}
    found = judged(liar, baseline=runs(0.9, seeds=1))
    assert found.report.verdict == "not_comparable"
    assert "candidate/seed-0/metrics.json" in found.report.reasons[0]


def test_a_recorded_baseline_that_can_t_be_read_is_told(world: World) -> None:
    world.record(world.base, runs(0.9, commit=world.base))
    work = world.work(world.pull(), runs(0.7), baseline=runs(0.9))
    world.github.faults.add(Fault(kind="status", path="/git/blobs/", status=502, times=50, after=1))
    found = world.judge(work)
    assert found is not None
    assert any("Recorded runs could not be read" in warning for warning in found.report.warnings)


def test_neither_tokens_nor_writes_are_needed(world: World, judged: Callable[..., Judged]) -> None:
    """Only reading permissions are given here; the storage of artifacts fails the test when it sees a token."""
    judged(runs(0.9), baseline=runs(0.9))
    assert len(world.github.downloads) == 2
    assert not world.github.writes


# The whole step


def step(world: World, work: Work, *, source: str = "stranger/model") -> tuple[int, str]:
    """The step of `model-comment.yml`, with the event as GitHub delivers it."""
    token = world.github.token(
        permissions={"actions": "read", "contents": "read", "pull-requests": "write", "checks": "write", "statuses": "write"},
        repository="acme/model",
    )
    pull = world.repo.pulls[1]
    run = {
        "id": work.run_id,
        "event": "pull_request",
        "status": "completed",
        "head_sha": work.head,
        "head_branch": pull.head_ref,
        "head_repository": {"full_name": source},
        "pull_requests": [{"number": 4711}],
    }
    event = {"action": "completed", "repository": {"full_name": "acme/model"}, "workflow_run": run}
    (world.folder / "event.json").write_text(json.dumps(event))
    environ = {
        "GITHUB_API_URL": world.github.url,
        "GITHUB_EVENT_NAME": "workflow_run",
        "GITHUB_EVENT_PATH": str(world.folder / "event.json"),
        "GITHUB_OUTPUT": str(world.folder / "output"),
        "GITHUB_REPOSITORY": "acme/model",
        "GITHUB_RUN_ID": "99",
        "GITHUB_STEP_SUMMARY": str(world.folder / "summary.md"),
        "GITHUB_WORKSPACE": str(world.folder),
        "RUNNER_TEMP": str(world.folder / "temp"),
        settings.variable("name"): "model",
        settings.variable("token"): token,
    }
    stream = io.StringIO()
    code = action.main("comment", environ, stream=stream)
    log = stream.getvalue()
    assert token not in log.replace(f"::add-mask::{token}", "")
    return code, log


def test_the_step_comments_on_the_right_pull_request_and_on_no_other(world: World) -> None:
    world.record(world.base, runs(0.9, commit=world.base))
    number = world.pull()
    world.pull(source="other/model")
    work = world.work(number, runs(0.7))
    world.github.forget_requests()
    code, log = step(world, work)
    assert code == 0, log
    (comment,) = world.repo.comments(number)
    assert comment["body"].startswith("<!-- metricgate: digits -->")
    assert "digits: accuracy fell by" in comment["body"]
    assert "nobody here has made the scores again" in comment["body"]
    assert not world.repo.comments(2)
    assert [status["state"] for status in world.repo.statuses(world.repo.pulls[number].head)] == ["failure"]
    assert len(world.github.requests) <= MOST_REQUESTS


def test_the_step_shows_that_an_artifact_is_harmful(world: World) -> None:
    number = world.pull()
    code, log = step(world, world.work(number, archives.HARMFUL["symbolic link"]))
    assert code == 0, log
    (comment,) = world.repo.comments(number)
    assert "is a link or a device" in comment["body"]


def test_the_step_has_nothing_to_do_for_a_run_without_runs(world: World) -> None:
    code, log = step(world, world.work(world.pull()))
    assert code == 0, log
    assert not world.github.writes
