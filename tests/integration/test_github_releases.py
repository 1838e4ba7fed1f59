"""The release of a tag: one, whoever made it and however often it is written, with the words of people left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.github_server import Fault, GitHubServer, Repository
from tests.github_server.faults import Kind

from metricgate.errors import StageError
from metricgate.github import api, releases
from metricgate.github.failures import RefusedError, RejectedError
from metricgate.github.patience import Patience
from metricgate.github.releases import Wanted
from metricgate.release import notes

TAG = "v1.2.3"


class Place:
    """A tagged commit, and who writes its release."""

    def __init__(self, github: GitHubServer) -> None:
        self.github = github
        self.there: Repository = github.repository("acme/model")
        self.commit = self.there.commit(files={"a": "b"})
        self.there.branch("main", self.commit)
        self.there.tag(TAG, self.commit)

    def here(self, contents: str = "write", *, attempts: int = 4) -> api.Repository:
        token = self.github.token(permissions={"contents": contents}, repository="acme/model")
        patience = Patience(attempts=attempts, backoff=0.0)
        session = api.connect(token, api_url=self.github.url, patience=patience, timeout=5, sleep=lambda _: None)
        return session.repository("acme/model")

    def wanted(self, text: str = "All is well.", *, tag: str = TAG, model: str = "digits", **more: bool) -> Wanted:
        return Wanted(tag=tag, commit=self.commit, title=tag, model=model, notes=text, **more)

    def publish(self, text: str = "All is well.", *, tag: str = TAG, model: str = "digits", **more: bool) -> releases.Released:
        return releases.publish(self.here(), self.wanted(text, tag=tag, model=model, **more))

    @property
    def writes(self) -> int:
        return sum(request.method != "GET" for request in self.github.requests)


@pytest.fixture
def place() -> Iterator[Place]:
    with GitHubServer() as github:
        yield Place(github)


def test_a_tag_without_a_release_gets_one(place: Place) -> None:
    made = place.publish(latest=True)
    (release,) = place.there.releases()
    assert made == releases.Released(url=release["html_url"], draft=False, changed=True)
    assert (release["tag_name"], release["name"], release["draft"], release["prerelease"]) == (TAG, TAG, False, False)
    assert "All is well." in release["body"]
    assert place.there.latest == release["id"]


def test_the_second_run_finds_it_and_writes_nothing(place: Place) -> None:
    first = place.publish()
    before = place.writes
    second = place.publish()
    assert (second.url, second.changed) == (first.url, False)
    assert len(place.there.releases()) == 1
    assert place.writes == before


def test_news_replace_our_part_and_nothing_else(place: Place) -> None:
    place.there.release(TAG, body="We are proud of this one.", name="The good one")
    place.publish("Old news.")
    (release,) = place.there.releases()
    place.there.all_releases[release["id"]].body = release["body"] + "\n\nThanks to alice."
    place.publish("New news.")
    (release,) = place.there.releases()
    assert release["name"] == "The good one"
    assert release["body"].startswith("We are proud of this one.\n\n")
    assert release["body"].endswith("\n\nThanks to alice.")
    assert "New news." in release["body"]
    assert "Old news." not in release["body"]


def test_two_models_of_one_tag_share_its_release(place: Place) -> None:
    place.publish("Digits are fine.", model="digits")
    place.publish("Faces are fine.", model="faces")
    place.publish("Digits are better.", model="digits")
    (release,) = place.there.releases()
    assert "Digits are better." in release["body"]
    assert "Faces are fine." in release["body"]
    assert "Digits are fine." not in release["body"]


def test_a_draft_gets_the_notes_and_stays_a_draft_until_people_publish_it(place: Place) -> None:
    place.there.release(TAG, body="To be announced.", draft=True)
    made = place.publish()
    (release,) = place.there.releases()
    assert (made.draft, release["draft"]) == (True, True)
    assert "To be announced." in release["body"]
    assert "All is well." in release["body"]
    assert place.publish().changed is False


def test_of_several_drafts_the_one_that_has_our_notes_is_kept_up_to_date(place: Place) -> None:
    ours = place.there.release(TAG, body=notes.merged("", "Old.", model="digits"), draft=True)
    place.there.release(TAG, body="Another draft.", draft=True)
    place.there.release("v9.9.9", draft=True)
    place.publish("New.")
    bodies = {release["id"]: release["body"] for release in place.there.releases()}
    assert "New." in bodies[ours]
    assert list(bodies.values())[1:] == ["Another draft.", None]


def test_a_published_release_counts_before_any_draft(place: Place) -> None:
    place.there.release(TAG, draft=True)
    published = place.there.release(TAG)
    place.publish()
    bodies = {release["id"]: release["body"] for release in place.there.releases()}
    assert [kept for kept, body in bodies.items() if body] == [published]


def test_a_version_that_is_not_final_is_a_prerelease_and_never_the_latest(place: Place) -> None:
    final = place.there.release("v1.0.0")
    place.publish(prerelease=True, latest=True)
    assert place.there.releases()[-1]["prerelease"] is True
    assert place.there.latest == final


def test_a_patch_of_an_old_line_does_not_become_the_latest(place: Place) -> None:
    final = place.there.release("v2.0.0")
    place.publish(latest=False)
    assert place.there.latest == final


def test_without_permission_the_message_has_the_lines_that_grant_it(place: Place) -> None:
    with pytest.raises(RefusedError) as caught:
        releases.publish(place.here("read"), place.wanted())
    assert "permissions:\n  contents: write" in caught.value.fix
    assert place.there.releases() == []


@pytest.mark.parametrize("kind", ["drop_after", "slow_after", "truncate", "status_after"])
def test_an_answer_that_is_lost_makes_no_second_release(place: Place, kind: Kind) -> None:
    place.github.faults.add(Fault(kind=kind, method="POST", path=r"/releases$"))
    session = api.connect(
        place.github.token(permissions={"contents": "write"}, repository="acme/model"),
        api_url=place.github.url,
        patience=Patience(attempts=3, backoff=0.0),
        timeout=1,
        sleep=lambda _: None,
    )
    made = releases.publish(session.repository("acme/model"), place.wanted())
    assert [release["html_url"] for release in place.there.releases()] == [made.url]


def test_runs_that_race_for_one_tag_make_one_release(place: Place) -> None:
    start = threading.Barrier(6)
    failures: list[Exception] = []

    def race(number: int) -> None:
        here = place.here()
        start.wait()
        try:
            releases.publish(here, place.wanted(model=f"model-{number % 2}"))
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    (release,) = place.there.releases()
    assert all(notes.part_of(release["body"], model=f"model-{number}") for number in range(2))


def test_what_github_refuses_for_another_reason_is_told(place: Place) -> None:
    with pytest.raises(RejectedError, match="body is too long"):
        place.publish("x" * 125_001)
    assert place.there.releases() == []


def test_a_tag_that_is_gone_is_not_made_again(place: Place) -> None:
    del place.there.refs[f"refs/tags/{TAG}"]
    with pytest.raises(StageError, match=r"the tag v1\.2\.3 is gone"):
        place.publish()
    assert place.there.releases() == []
    assert f"refs/tags/{TAG}" not in place.there.refs


def test_a_tag_that_was_moved_gets_no_notes_about_another_commit(place: Place) -> None:
    other = place.there.commit(parents=[place.commit])
    place.there.tag(TAG, other)
    with pytest.raises(StageError, match=f"the tag v1\\.2\\.3 points to {other[:7]} now"):
        place.publish()
    assert place.there.releases() == []


def test_an_annotated_tag_means_its_commit_and_a_tag_may_have_slashes(place: Place) -> None:
    tag = "models/digits@v1.2.3"
    token = place.github.token(permissions={"contents": "write"}, repository="acme/model")
    with api.connect(token, api_url=place.github.url) as session:
        made = session.repository("acme/model").ask(
            lambda handle: handle.create_git_tag(tag, "signed", place.commit, "commit").sha, doing="tag"
        )
    place.there.tag(tag, made)
    place.publish(tag=tag)
    assert [release["tag_name"] for release in place.there.releases()] == [tag]
    assert place.publish(tag=tag).changed is False
