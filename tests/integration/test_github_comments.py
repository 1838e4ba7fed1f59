"""One comment for a model and a pull request, whatever happens on the way."""

from collections.abc import Callable, Iterator

import pytest
from tests.github_scene import NAME, PERMISSIONS, Scene, report, scene
from tests.github_server import SECONDARY_LIMIT, Fault

from metricgate.github import comments
from metricgate.github.comments import When
from metricgate.github.failures import GitHubError, MissingError, RefusedError, UnansweredError
from metricgate.report import comment
from metricgate.report.document import Waiver

POST, PATCH = r"/issues/\d+/comments$", r"/issues/comments/\d+$"


@pytest.fixture
def place() -> Iterator[Scene]:
    with scene() as made:
        yield made


def publish(
    place: Scene,
    verdict: str = "pass",
    *,
    run: int = 1,
    head: str = "",
    when: When = "on_change",
    name: str = "digits-cnn",
    token: str = "",
) -> str | None:
    told, source = report(verdict, name=name), place.source(run, head=head)
    return comments.publish(place.model(token), told, number=place.number, source=source, when=when)


def about(place: Scene, name: str = "digits-cnn") -> comment.State:
    """What our one comment is about."""
    bodies = [comment.read(body, name) for body in place.ours()]
    states = [body.state for body in bodies if body and body.state]
    assert len(states) == 1
    return states[0]


def test_the_first_report_makes_a_comment_and_the_next_ones_update_it(place: Scene) -> None:
    first = publish(place, "fail")
    place.push()
    second = publish(place, run=2)
    assert first == second
    assert first is not None
    assert first.startswith(place.github.url.removesuffix("/api/v3"))
    assert len(place.bodies()) == 1
    assert "### ✅ digits-cnn" in place.bodies()[0]
    assert f"- ❌ `{place.heads[0][:7]}` failed" in place.bodies()[0]


def test_each_model_has_its_own(place: Scene) -> None:
    publish(place, name="digits-cnn")
    publish(place, "fail", name="digits")
    publish(place, "fail", name="digits-cnn", run=2)
    assert len(place.ours()) == 2
    assert about(place).verdict == "fail"
    assert about(place, "digits").verdict == "fail"


@pytest.mark.parametrize("when", ["always", "on_change", "on_problem"])
def test_the_same_report_again_writes_nothing(place: Scene, when: When) -> None:
    publish(place, "fail", when=when)
    place.github.forget_requests()
    assert publish(place, "fail", when=when) is not None
    assert place.github.writes == []


def test_a_later_run_with_the_same_report_writes_only_when_asked_to(place: Scene) -> None:
    publish(place, "fail")
    place.github.forget_requests()
    publish(place, "fail", run=2)
    assert place.github.writes == []
    publish(place, "fail", run=2, when="always")
    assert len(place.github.writes) == 1
    assert about(place).run == 2


def test_on_problem_begins_with_a_problem_and_then_goes_on(place: Scene) -> None:
    assert publish(place, "pass", when="on_problem") is None
    assert place.bodies() == []
    for run, verdict in enumerate(("inconclusive", "pass", "fail", "pass"), start=2):
        assert publish(place, verdict, run=run, when="on_problem") is not None
        assert about(place).verdict == verdict


def test_never_asks_nothing(place: Scene) -> None:
    assert publish(place, "fail", when="never") is None
    assert place.github.requests == []


def test_few_requests_for_an_update_among_three_hundred_comments(place: Scene) -> None:
    publish(place, "fail")
    for index in range(299):
        place.repo.comment(place.number, f"comment {index}")
    place.github.forget_requests()
    publish(place, "fail")
    assert place.calls() == [*["GET issues/1/comments"] * 3, "GET pulls/1"]
    place.github.forget_requests()
    publish(place, "pass", run=2)
    assert len(place.github.requests) == 6
    assert about(place).verdict == "pass"


def test_it_is_found_behind_many_others(place: Scene) -> None:
    for index in range(230):
        place.repo.comment(place.number, f"comment {index}")
    publish(place, "fail")
    publish(place, "pass", run=2)
    assert about(place).verdict == "pass"
    assert len(place.bodies()) == 231


def test_nobody_elses_comment_is_touched(place: Scene) -> None:
    fake = comment.compose(report("pass"), place.source(10**9)).text
    place.repo.comment(place.number, fake, login="mallory")
    place.repo.comment(place.number, fake, login="other-app[bot]", type="Bot")
    place.repo.comment(place.number, "> " + fake, login="github-actions[bot]", type="Bot")
    place.repo.comment(place.number, f"another action\n{fake}", login="github-actions[bot]", type="Bot")
    publish(place, "fail")
    publish(place, "inconclusive", run=2)
    assert place.bodies()[0] == place.bodies()[1] == fake
    assert len(place.bodies()) == 5
    assert "### ⚪" in place.bodies()[4]


def test_a_person_has_a_comment_of_their_own(place: Scene) -> None:
    publish(place, "fail")
    place.repo.permission("carol", "write")
    publish(place, "pass", token=place.github.token(login="carol", type="User"))
    assert [kept["user"]["login"] for kept in place.repo.comments(place.number)] == ["github-actions[bot]", "carol"]


def test_an_app_that_nobody_told_us_about_still_has_one_comment(place: Scene) -> None:
    token = place.github.token(login="model-bot[bot]", permissions=PERMISSIONS, repository=NAME)
    for run in range(1, 4):
        publish(place, "fail", run=run, token=token)
        place.push()
    assert len(place.bodies()) == 1


# An older run and a newer one


def test_an_older_commit_never_overwrites_a_newer_one(place: Scene) -> None:
    old = place.head
    place.push()
    url = publish(place, "pass", run=2)
    place.github.forget_requests()
    assert publish(place, "fail", run=1, head=old) == url
    assert publish(place, "fail", run=99, head=old) == url  # nor when it is run again
    assert place.github.writes == []
    assert about(place).head == place.head


def test_an_older_commit_makes_no_first_comment(place: Scene) -> None:
    old = place.head
    place.push()
    assert publish(place, "fail", head=old) is None
    assert place.bodies() == []


def test_an_older_commit_may_say_more_than_a_still_older_one_and_says_what_it_is_about(place: Scene) -> None:
    publish(place, "pass", run=1)
    older = place.push()
    place.push()
    publish(place, "fail", run=2, head=older)
    assert about(place).head == older
    assert f"This is about `{older[:7]}`; the pull request is at `{place.head[:7]}` by now." in place.bodies()[0]
    publish(place, "inconclusive", run=1, head=place.heads[0])
    assert about(place).head == older


def test_of_two_runs_for_one_commit_the_later_one_wins(place: Scene) -> None:
    publish(place, "fail", run=7)
    publish(place, "pass", run=6)
    assert about(place).verdict == "fail"
    publish(place, "pass", run=8)
    assert about(place).verdict == "pass"


def test_a_commit_pushed_while_we_looked_counts(place: Scene) -> None:
    publish(place, "pass", run=1)
    old = place.head

    def other() -> None:
        place.push()
        publish(place, "fail", run=3)

    place.github.faults.add(Fault(kind="callback", method="GET", path=r"/pulls/1$", callback=other))
    publish(place, "pass", run=2, head=old)
    assert about(place).head == place.head
    assert about(place).verdict == "fail"


@pytest.mark.parametrize("path", [r"/pulls/1$", r"/issues/comments/\d+$"])
def test_a_later_run_for_the_same_commit_that_reported_while_we_looked_counts(place: Scene, path: str) -> None:
    publish(place, "pass", run=1)
    place.github.faults.add(Fault(kind="callback", method="GET", path=path, callback=lambda: publish(place, "fail", run=5)))
    publish(place, "inconclusive", run=3)
    assert about(place).run == 5


# Duplicates


def duplicate(place: Scene, verdict: str, *, run: int, head: str = "") -> None:
    text = comment.compose(report(verdict), place.source(run, head=head)).text
    place.repo.comment(place.number, text, login="github-actions[bot]", type="Bot")


def test_duplicates_heal_and_the_oldest_comment_stays(place: Scene) -> None:
    duplicate(place, "pass", run=1)
    duplicate(place, "inconclusive", run=2)
    place.repo.comment(place.number, "what is this?")
    oldest = place.repo.comments(place.number)[0]["html_url"]
    assert publish(place, "fail", run=3) == oldest
    assert len(place.ours()) == 1
    assert about(place).verdict == "fail"
    assert len(place.bodies()) == 2


def test_the_newest_of_some_duplicates_survives_a_visit_of_an_older_run(place: Scene) -> None:
    duplicate(place, "pass", run=1)
    duplicate(place, "fail", run=5)
    publish(place, "inconclusive", run=3)
    assert about(place).verdict == "fail"
    assert about(place).run == 5


@pytest.mark.parametrize("late", ["pass", "fail"])
def test_two_runs_that_write_their_first_comment_at_the_same_time(place: Scene, late: str) -> None:
    place.github.faults.add(
        Fault(kind="callback", method="POST", path=POST, callback=lambda: publish(place, "inconclusive", run=5))
    )
    publish(place, late, run=2)
    assert about(place).run == 5


def test_a_duplicate_that_another_run_deleted_first(place: Scene) -> None:
    duplicate(place, "pass", run=1)
    duplicate(place, "pass", run=2)
    gone = place.repo.comments(place.number)[1]["id"]
    place.github.faults.add(
        Fault(kind="callback", method="DELETE", callback=lambda: place.repo.delete_comment(gone)),
    )
    publish(place, "fail", run=3)
    assert about(place).run == 3


# What goes wrong on the way

STUMBLES = {
    "server error": Fault(kind="status", status=502),
    "no answer, nothing done": Fault(kind="drop_before"),
    "no answer, but done": Fault(kind="drop_after"),
    "an error, but done": Fault(kind="status_after", status=502),
    "half an answer": Fault(kind="truncate"),
    "half an answer, then nothing": Fault(kind="cut"),
    "too fast": Fault(kind="status", status=403, message=SECONDARY_LIMIT),
    "too fast, with a time": Fault(kind="status", status=429, message=SECONDARY_LIMIT, headers={"Retry-After": "0"}),
}


@pytest.mark.parametrize("fault", STUMBLES.values(), ids=STUMBLES.keys())
@pytest.mark.parametrize(("method", "path"), [("GET", r"/comments$"), ("GET", r"/pulls/\d+$"), ("POST", POST)])
def test_a_first_comment_is_written_once(place: Scene, fault: Fault, method: str, path: str) -> None:
    place.github.faults.add(_at(fault, method, path))
    assert publish(place, "fail") is not None
    assert len(place.bodies()) == 1
    assert not place.github.faults.left
    assert about(place).verdict == "fail"


@pytest.mark.parametrize("fault", STUMBLES.values(), ids=STUMBLES.keys())
@pytest.mark.parametrize(
    ("method", "path"), [("GET", r"/comments$"), ("GET", r"/pulls/\d+$"), ("PATCH", PATCH), ("DELETE", PATCH)]
)
def test_an_update_arrives_and_duplicates_heal(place: Scene, fault: Fault, method: str, path: str) -> None:
    duplicate(place, "pass", run=1)
    duplicate(place, "pass", run=2)
    place.github.faults.add(_at(fault, method, path))
    assert publish(place, "fail", run=3) is not None
    assert not place.github.faults.left
    assert about(place).run == 3


@pytest.mark.parametrize("kind", ["slow", "slow_after"])
def test_a_comment_whose_answer_takes_too_long_is_written_once(place: Scene, kind: str) -> None:
    place.github.faults.add(Fault(kind=kind, method="POST", path=POST))  # type: ignore[arg-type]
    model = place.session(timeout=1).repository(NAME)
    comments.publish(model, report("fail"), number=place.number, source=place.source())
    assert len(place.bodies()) == 1


def test_a_list_that_lags_behind_makes_no_second_comment(place: Scene) -> None:
    place.github.faults.add(
        Fault(kind="callback", method="GET", path=r"/comments$", after=1, callback=place.repo.all_comments.clear)
    )
    assert publish(place, "fail") is not None
    assert sum(request.method == "POST" for request in place.github.requests) == 1


def test_a_comment_that_never_arrives_is_given_up_with_a_reason(place: Scene) -> None:
    place.github.faults.add(Fault(kind="status", status=503, method="POST", path=POST, times=99))
    with pytest.raises(UnansweredError, match="comment on #1"):
        publish(place)
    assert place.bodies() == []


def test_a_write_repeated_for_long_does_not_overwrite_a_newer_commit(place: Scene) -> None:
    publish(place, "pass", run=1)
    old = place.head

    def newer() -> None:
        place.push()
        publish(place, "inconclusive", run=9)

    place.github.faults.add(
        Fault(kind="status", status=502, method="PATCH", path=PATCH),
        Fault(kind="callback", method="GET", path=r"/issues/1/comments$", after=1, callback=newer),
    )
    publish(place, "fail", run=2, head=old)
    assert about(place).run == 9


def test_a_comment_deleted_under_our_hands_is_written_again(place: Scene) -> None:
    publish(place, "fail")
    gone = place.repo.comments(place.number)[0]["id"]
    place.github.faults.add(
        Fault(kind="callback", method="PATCH", path=PATCH, callback=lambda: place.repo.delete_comment(gone))
    )
    assert publish(place, "pass", run=2) is not None
    assert about(place).verdict == "pass"


def test_pages_that_move_under_our_hands_hide_no_comment(place: Scene) -> None:
    for index in range(100):
        place.repo.comment(place.number, f"comment {index}")
    publish(place, "fail")  # the first on the second page
    gone = place.repo.comments(place.number)[0]["id"]
    place.github.forget_requests()
    place.github.faults.add(
        Fault(
            kind="callback",
            method="GET",
            path=r"/issues/1/comments$",
            after=1,
            callback=lambda: place.repo.delete_comment(gone),
        )
    )
    # A new comment on top keeps the count at what it was: only a second look finds ours.
    for index in range(60):
        place.repo.comment(place.number, f"later comment {index}")
    publish(place, "pass", run=2)
    assert about(place).verdict == "pass"
    assert [request.method for request in place.github.writes] == ["PATCH"]


def test_a_comment_seen_on_two_pages_is_one(place: Scene) -> None:
    for index in range(99):
        place.repo.comment(place.number, f"comment {index}")
    publish(place, "fail")
    for index in range(10):
        place.repo.comment(place.number, f"later comment {index}")

    def insert() -> None:  # an older comment that comes back moves all others by one
        kept = dict(place.repo.all_comments)
        place.repo.all_comments.clear()
        place.repo.comment(place.number, "restored")
        place.repo.all_comments.update(kept)

    place.github.faults.add(Fault(kind="callback", method="GET", path=r"/issues/1/comments$", after=1, callback=insert))
    publish(place, "pass", run=2)
    assert about(place).verdict == "pass"


def test_a_locked_conversation_is_told_and_a_comment_from_before_is_still_updated(place: Scene) -> None:
    place.repo.lock(place.number)
    with pytest.raises(RefusedError, match="the conversation is locked"):
        publish(place, "fail")
    assert sum(request.method == "POST" for request in place.github.requests) == 1
    duplicate(place, "pass", run=1)
    publish(place, "fail", run=2)
    assert about(place).verdict == "fail"


def test_a_closed_pull_request(place: Scene) -> None:
    place.repo.close(place.number)
    assert publish(place, "fail") is None
    assert place.bodies() == []


def test_a_merged_pull_request_still_learns_that_it_was_worse(place: Scene) -> None:
    place.repo.close(place.number, merged=True)
    assert publish(place, "fail") is not None


def test_a_closed_pull_request_keeps_its_comment_up_to_date(place: Scene) -> None:
    publish(place, "pass")
    place.repo.close(place.number)
    publish(place, "fail", run=2)
    assert about(place).verdict == "fail"


@pytest.mark.parametrize("existing", [False, True])
def test_a_renamed_repository(place: Scene, existing: bool) -> None:
    if existing:
        publish(place, "pass")
    place.github.rename(NAME, "acme/better-model")
    assert publish(place, "fail", run=2) is not None
    assert about(place).verdict == "fail"


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda place: place.github.expire(place.token), RefusedError),
        (lambda place: place.repo.pulls.pop(place.number), MissingError),
    ],
    ids=["expired token", "no pull request"],
)
def test_what_makes_commenting_impossible_is_told(
    place: Scene, break_it: Callable[[Scene], object], expected: type[GitHubError]
) -> None:
    break_it(place)
    with pytest.raises(expected):
        publish(place, "fail")


def test_a_token_that_may_only_read(place: Scene) -> None:
    token = place.github.token(permissions={**PERMISSIONS, "issues": "read", "pull_requests": "read"}, repository=NAME)
    with pytest.raises(RefusedError, match=r"permissions:\n.*pull-requests: write"):
        publish(place, "fail", token=token)
    assert sum(request.method == "POST" for request in place.github.requests) == 1


# What is known already


def known(place: Scene, verdict: str, *, run: int, head: str = "") -> bool:
    source = place.source(run, head=head)
    return comments.post(place.model(), report(verdict), number=place.number, source=source).known


def test_a_report_is_known_once_it_stands_there_and_until_it_changes(place: Scene) -> None:
    assert not known(place, "fail", run=1)
    assert known(place, "fail", run=2)
    assert not known(place, "pass", run=3)
    place.push()
    assert not known(place, "pass", run=4)


def test_what_a_later_run_found_about_the_same_commit_is_known_and_an_earlier_commit_has_its_own(place: Scene) -> None:
    old = place.head
    known(place, "fail", run=5)
    assert known(place, "pass", run=4)
    place.push()
    assert not known(place, "pass", run=6)
    assert not known(place, "pass", run=4, head=old)


@pytest.mark.parametrize("kind", ["drop_after", "status_after"])
@pytest.mark.parametrize("existing", [False, True])
def test_what_we_wrote_ourselves_is_not_known_even_if_the_answer_was_lost(place: Scene, kind: str, existing: bool) -> None:
    if existing:
        publish(place, "pass")
    place.github.faults.add(Fault(kind=kind, method="PATCH" if existing else "POST", status=502))  # type: ignore[arg-type]
    assert not known(place, "fail", run=2)
    assert not place.github.faults.left


# What it remembers


def test_somebody_who_edits_our_comment_does_not_change_what_it_says_next(place: Scene) -> None:
    publish(place, "fail")
    kept = next(iter(place.repo.all_comments.values()))
    kept.body = kept.body.replace("❌", "✅")
    publish(place, "fail")
    assert "### ❌" in place.bodies()[0]
    kept.body = kept.body.replace('"head":"', '"head":"x')
    publish(place, "fail")
    assert about(place).verdict == "fail"


def test_it_remembers_a_waiver_for_the_next_run(place: Scene) -> None:
    model = place.model()
    assert comments.remembered(model, "digits-cnn", number=place.number) is None
    waiver = Waiver(by="bob", at="2026-01-01T00:00:00Z", commit=place.head)
    comments.publish(model, report("fail").waived(waiver), number=place.number, source=place.source())
    state = comments.remembered(model, "digits-cnn", number=place.number)
    assert state is not None
    assert state.waiver == waiver
    assert "Accepted by bob" in place.bodies()[0]


def _at(fault: Fault, method: str, path: str) -> Fault:
    return Fault(kind=fault.kind, status=fault.status, headers=fault.headers, message=fault.message, method=method, path=path)
