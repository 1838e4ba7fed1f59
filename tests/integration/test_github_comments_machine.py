"""Comments under whatever happens, in whatever order: at most one of ours, the newest commit wins, nobody else's is touched."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.github_scene import Scene, report, scene
from tests.github_server import SECONDARY_LIMIT, Fault

from metricgate.github import comments
from metricgate.report import comment

VERDICTS = st.sampled_from(["pass", "fail", "inconclusive", "not_comparable"])
MODES = st.sampled_from(["always", "on_change"])
STUMBLES = st.builds(
    Fault,
    kind=st.sampled_from(["status", "status_after", "drop_before", "drop_after", "truncate", "cut"]),
    status=st.sampled_from([403, 429, 500, 502]),
    message=st.just(SECONDARY_LIMIT),
    method=st.sampled_from(["GET", "POST", "PATCH", "DELETE"]),
    after=st.integers(0, 2),
)
# Where another run may come in between: before any look. What comes between the last look and the write can't be seen.
LOOKS = st.sampled_from([r"/issues/1/comments$", r"/pulls/1$", r"/issues/comments/\d+$"])


@dataclass(frozen=True)
class Run:
    """A workflow run that will report."""

    head: str
    run: int
    attempt: int
    verdict: str


class Comments(RuleBasedStateMachine):
    """A pull request with people, runs and a network."""

    def __init__(self) -> None:
        super().__init__()
        self.open = contextlib.ExitStack()
        self.place: Scene = self.open.enter_context(scene())
        self.model = self.place.model()
        self.foreign: dict[int, str] = {}
        self.runs: list[Run] = []
        self.reported: list[Run] = []
        self.settled = True

    def teardown(self) -> None:
        self.open.close()

    @rule()
    def push(self) -> None:
        self.place.push()

    @rule(verdict=VERDICTS, back=st.integers(0, 2))
    def start(self, verdict: str, back: int) -> None:
        heads = self.place.heads
        self.runs.append(Run(heads[max(0, len(heads) - 1 - back)], len(self.runs) + 1, 1, verdict))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), verdict=VERDICTS)
    def start_again(self, data: st.DataObject, verdict: str) -> None:
        old = data.draw(st.sampled_from(self.runs))
        attempt = 1 + max(each.attempt for each in self.runs if each.run == old.run)
        self.runs.append(Run(old.head, old.run, attempt, verdict))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), when=MODES, faults=st.lists(STUMBLES, max_size=2))
    def finish(self, data: st.DataObject, when: comments.When, faults: list[Fault]) -> None:
        self.place.github.faults.add(*faults)
        self.report(data.draw(st.sampled_from(self.runs)), when)
        self.place.github.faults.clear()
        self.settled = True

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), look=LOOKS, after=st.integers(0, 1), verdict=VERDICTS, pushed=st.booleans())
    def finish_while_another_does(self, data: st.DataObject, look: str, after: int, verdict: str, pushed: bool) -> None:
        one = data.draw(st.sampled_from(self.runs))

        def meanwhile() -> None:
            if pushed:
                self.place.push()
            self.runs.append(Run(self.place.head, len(self.runs) + 1, 1, verdict))
            self.report(self.runs[-1], "on_change")

        self.place.github.faults.add(Fault(kind="callback", method="GET", path=look, after=after, callback=meanwhile))
        self.report(one, "on_change")
        self.place.github.faults.clear()
        self.settled = True

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def first_comments_at_the_same_time(self, data: st.DataObject) -> None:
        one, other = data.draw(st.sampled_from(self.runs)), data.draw(st.sampled_from(self.runs))
        fault = Fault(kind="callback", method="POST", callback=lambda: self.report(other, "on_change"))
        self.place.github.faults.add(fault)
        self.report(one, "on_change")
        self.place.github.faults.clear()
        self.settled = True

    @precondition(lambda self: self.runs and self.settled)
    @rule(data=st.data())
    def twice_is_once(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        self.report(run, "on_change")
        self.place.github.forget_requests()
        self.report(run, "on_change")
        assert self.place.github.writes == []

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def somebody_copies_ours(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        body = comment.compose(report("pass"), self.place.source(10**6, head=run.head)).text
        self.foreign[self.place.repo.comment(1, body, login="mallory")] = body

    @rule()
    def somebody_talks(self) -> None:
        self.foreign[self.place.repo.comment(1, "looks good")] = "looks good"

    @precondition(lambda self: self.ours())
    @rule(data=st.data())
    def somebody_deletes_ours(self, data: st.DataObject) -> None:
        self.place.repo.delete_comment(data.draw(st.sampled_from(sorted(self.ours()))))
        self.reported.clear()

    @precondition(lambda self: self.ours())
    @rule(data=st.data())
    def a_duplicate_appears(self, data: st.DataObject) -> None:
        body = self.ours()[data.draw(st.sampled_from(sorted(self.ours())))]
        self.place.repo.comment(1, body, login="github-actions[bot]", type="Bot")
        self.settled = False

    @invariant()
    def at_most_one_is_ours(self) -> None:
        assert not self.settled or len(self.ours()) <= 1

    @invariant()
    def nobody_elses_is_touched(self) -> None:
        kept = {each["id"]: each["body"] for each in self.place.repo.comments(1)}
        assert self.foreign.items() <= kept.items()

    @invariant()
    def the_newest_report_of_the_newest_commit_is_shown(self) -> None:
        present = [each for each in self.reported if each.head == self.place.head]
        if not present or not self.settled:
            return
        newest = max(present, key=lambda each: (each.run, each.attempt))
        (body,) = self.ours().values()
        read = comment.read(body, "digits-cnn")
        assert read is not None
        assert read.state is not None
        assert read.state.head == newest.head
        # A report that changes nothing is not written, and so not known to be newer than what comes late for the same commit.
        written = min((each.run, each.attempt) for each in present if each.verdict == newest.verdict)
        assert read.state.verdict == newest.verdict or read.state.order > written

    def ours(self) -> dict[int, str]:
        return {
            each["id"]: each["body"] for each in self.place.repo.comments(1) if each["user"]["login"] == "github-actions[bot]"
        }

    def report(self, run: Run, when: comments.When) -> None:
        source = self.place.source(run.run, head=run.head, attempt=run.attempt)
        told_of = self.place.head
        comments.publish(self.model, report(run.verdict), number=1, source=source, when=when)
        if run.head == told_of or self.ours():
            self.reported.append(run)


def test_comments_under_whatever_happens() -> None:
    run_state_machine_as_test(
        Comments,
        settings=settings(max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)),
    )
