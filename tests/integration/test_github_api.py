"""The session with GitHub: what it repeats and what not, and how every failure is told."""

import logging
import time
import traceback
from collections.abc import Iterator

import pytest
from tests.github_scene import NAME, PERMISSIONS, Scene, scene
from tests.github_server import SECONDARY_LIMIT, Fault

from metricgate.errors import ExitCode, UsageError
from metricgate.github import api
from metricgate.github.failures import GitHubError, MissingError, RefusedError, RejectedError, UnansweredError
from metricgate.github.patience import Patience


@pytest.fixture
def place() -> Iterator[Scene]:
    with scene() as made:
        yield made


def read_head(model: api.Repository, number: int = 1) -> str:
    return model.ask(lambda repo: repo.get_pull(number).head.sha, doing=f"read #{number}", needs="pull-requests: read")


def write(model: api.Repository, text: str = "hello") -> int:
    return model.tell(
        lambda repo: repo.get_issue(1).create_comment(text).id, doing="comment on #1", needs="pull-requests: write"
    )


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=500, times=2),
        Fault(kind="status", status=502, times=3),
        Fault(kind="status", status=429, message=SECONDARY_LIMIT, headers={"Retry-After": "0"}),
        Fault(kind="status", status=429, message=SECONDARY_LIMIT),
        Fault(kind="status", status=429, message="slow down"),
        Fault(kind="status", status=403, message=SECONDARY_LIMIT, headers={"Retry-After": "0"}),
        Fault(kind="status", status=403, message=SECONDARY_LIMIT),
        Fault(kind="drop_before", times=2),
        Fault(kind="drop_after"),
        Fault(kind="truncate", times=2),
        Fault(kind="cut", times=2),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status if fault.kind == 'status' else ''} {fault.headers}",
)
def test_reading_goes_on_where_github_stumbles(place: Scene, fault: Fault) -> None:
    place.github.faults.add(fault)
    assert read_head(place.model()) == place.head
    assert not place.github.faults.left


def test_an_answer_that_takes_too_long_is_asked_for_again(place: Scene) -> None:
    place.github.faults.add(Fault(kind="slow"))
    model = place.session(timeout=1).repository(NAME)
    assert read_head(model) == place.head


@pytest.mark.parametrize("kind", ["status", "status_after", "drop_before", "drop_after", "truncate", "cut"])
def test_a_post_is_sent_once(place: Scene, kind: str) -> None:
    place.github.faults.add(Fault(method="POST", kind=kind, status=502, times=5))  # type: ignore[arg-type]
    with pytest.raises(UnansweredError):
        write(place.model())
    assert sum(request.method == "POST" for request in place.github.requests) == 1


def test_a_patch_is_sent_once(place: Scene) -> None:
    model = place.model()
    number = write(model)
    place.github.faults.add(Fault(method="PATCH", kind="status", status=502))
    with pytest.raises(UnansweredError):
        model.tell(lambda repo: repo.get_issue(1).get_comment(number).edit("other"), doing="edit")
    assert place.bodies() == ["hello"]


def test_what_may_be_repeated_is_repeated_even_if_it_is_a_post(place: Scene) -> None:
    place.github.faults.add(Fault(method="POST", kind="status", status=502, times=2))
    place.model().ask(lambda repo: repo.get_issue(1).create_comment("blob").id, doing="store a blob")
    assert place.bodies() == ["blob"]


def test_it_gives_up_after_some_attempts(place: Scene) -> None:
    place.github.faults.add(Fault(kind="status", status=503, times=99))
    with pytest.raises(UnansweredError) as caught:
        read_head(place.model(patience=Patience(attempts=3, backoff=0.001)))
    assert caught.value.exit_code == ExitCode.STAGE_FAILED
    assert len(place.github.requests) == 3


@pytest.mark.parametrize("status", [403, 429])
def test_it_does_not_wait_for_longer_than_it_may(place: Scene, status: int) -> None:
    place.github.faults.add(Fault(kind="status", status=status, message=SECONDARY_LIMIT, headers={"Retry-After": "3600"}))
    began = time.monotonic()
    with pytest.raises(UnansweredError) as caught:
        read_head(place.model())
    assert time.monotonic() - began < 3
    assert len(place.github.requests) == 1
    assert caught.value.wait == 3600


def test_a_used_up_limit_is_not_waited_for_when_it_takes_too_long(place: Scene) -> None:
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1800)}
    message = "API rate limit exceeded for installation ID 1."
    place.github.faults.add(Fault(kind="status", status=403, message=message, headers=reset))
    with pytest.raises(UnansweredError, match="rate limit exceeded"):
        read_head(place.model())
    assert len(place.github.requests) == 1


def test_a_missing_permission_is_told_with_the_line_that_grants_it(place: Scene) -> None:
    token = place.github.token(permissions={**PERMISSIONS, "issues": "read", "pull_requests": "read"}, repository=NAME)
    with pytest.raises(RefusedError) as caught:
        write(place.model(token))
    assert caught.value.status == 403
    assert "permissions:\n      pull-requests: write" in str(caught.value)


def test_an_expired_token_says_so(place: Scene) -> None:
    place.github.expire(place.token)
    with pytest.raises(RefusedError, match=r"(?s)does not accept the token.*github\.token"):
        read_head(place.model())
    assert len(place.github.requests) == 1


def test_what_is_not_there_says_which_permission_would_show_it(place: Scene) -> None:
    with pytest.raises(MissingError, match=r"(?s)read #99 in acme/model.*pull-requests: read"):
        read_head(place.model(), 99)


def test_a_locked_conversation_says_so(place: Scene) -> None:
    locked = "Unable to create comment because issue is locked."
    place.github.faults.add(Fault(method="POST", kind="status", status=403, message=locked))
    with pytest.raises(RefusedError, match=r"(?s)the conversation is locked.*comment: never"):
        write(place.model())


def test_what_github_will_not_do_is_told_in_its_words(place: Scene) -> None:
    with pytest.raises(RejectedError) as caught:
        write(place.model(), "x" * 70_000)
    assert caught.value.status == 422


def test_a_page_of_something_in_between_is_no_answer(place: Scene) -> None:
    # An address that is not the API's: GitHub answers there too, with a page.
    with api.connect("ghs_x", api_url=place.github.url.replace("/api/v3", "/nowhere")) as session, pytest.raises(GitHubError):
        read_head(session.repository(NAME))
    place.github.mistakes.clear()


def test_a_renamed_repository_is_found(place: Scene) -> None:
    place.github.rename(NAME, "acme/better-model")
    assert read_head(place.model()) == place.head


def test_nobody_there() -> None:
    quick = Patience(attempts=2, backoff=0.001)
    with api.connect("ghs_x", api_url="http://127.0.0.1:9/api/v3", patience=quick) as session, pytest.raises(UnansweredError):
        read_head(session.repository(NAME))


def test_a_jobs_own_token_is_not_asked_whose_it_is(place: Scene) -> None:
    assert place.session().login == "github-actions[bot]"
    assert place.session(login="model-bot[bot]").login == "model-bot[bot]"
    assert place.github.requests == []


def test_a_persons_token_is_asked_whose_it_is(place: Scene) -> None:
    assert place.session(place.github.token(login="carol", type="User")).login == "carol"


@pytest.mark.parametrize("fault", ["status", "drop_before", "truncate", "cut"])
def test_a_token_is_never_shown(place: Scene, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"Bad token {place.token} given"
    place.github.faults.add(Fault(kind=fault, status=422, message=said, times=99))  # type: ignore[arg-type]
    model = place.model()
    with pytest.raises(GitHubError) as caught:
        read_head(model)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=False).format(chain=False))
    for text in (shown, str(caught.value), repr(caught.value), repr(model), repr(model.api)):
        assert place.token not in text
    assert place.token not in "".join(
        record.getMessage() for record in caplog.records if "Bad token" not in record.getMessage()
    )


@pytest.mark.parametrize(
    ("token", "address"),
    [
        ("", api.PUBLIC_API),
        ("ghs_x\n", api.PUBLIC_API),
        ("ghs_x", "http://api.github.com"),
        ("ghs_x", "ftp://api.github.com"),
        ("ghs_x", "https://user:secret@api.github.com"),
        ("ghs_x", "nonsense"),
    ],
)
def test_a_token_goes_nowhere_where_it_should_not(token: str, address: str) -> None:
    with pytest.raises(UsageError) as caught:
        api.connect(token, api_url=address)
    assert "secret" not in str(caught.value).replace("save the secret again", "")


@pytest.mark.parametrize("name", ["model", "acme/model/x", "/model", "acme/", ""])
def test_a_repository_has_an_owner_and_a_name(place: Scene, name: str) -> None:
    with pytest.raises(UsageError, match="owner/name"):
        place.session().repository(name)
