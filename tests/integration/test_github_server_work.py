"""The GitHub that other tests talk to: conversations, permissions, checks, workflow runs, and what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest
import requests
from github import GithubException, GithubRetry
from github.Repository import Repository as Client
from tests.github_server import SECONDARY_LIMIT, Fault
from tests.github_server.place import EVERYTHING, NAME, Place, opened, refused, session

Output = dict[str, str | list[dict[str, str | int]]]
READ_ONLY: Mapping[str, str] = dict.fromkeys(EVERYTHING, "read")


@pytest.fixture
def place() -> Iterator[Place]:
    """A server with an open pull request, number 1, on top of main."""
    with opened() as made:
        made.repo.pull(head=made.repo.commit(parents=[made.history[-1]]))
        yield made


class TestConversations:
    """Pull requests, comments, labels."""

    def test_a_comment_is_written_changed_and_deleted(self, place: Place) -> None:
        pull = place.client().get_pull(1)
        made = pull.create_issue_comment("first")
        assert (made.user.login, made.user.type) == ("github-actions[bot]", "Bot")
        made.edit("second")
        (kept,) = place.repo.comments(1)
        assert kept["body"] == "second"
        assert kept["updated_at"] > kept["created_at"]
        made.delete()
        assert place.repo.comments(1) == []
        assert refused(lambda: made.edit("third")) == (404, "Not Found")

    def test_comments_come_oldest_first_over_all_pages(self, place: Place) -> None:
        for number in range(250):
            place.repo.comment(1, str(number))
        comments = place.client().get_issue(1).get_comments()
        assert [comment.body for comment in comments] == [str(number) for number in range(250)]
        assert len(place.github.requests) == 3

    @pytest.mark.parametrize(("body", "length"), [("x", 65536), ("ü", 65536)])
    def test_a_comment_has_room_for_65536_characters(self, place: Place, body: str, length: int) -> None:
        pull = place.client().get_pull(1)
        pull.create_issue_comment(body * length)
        assert refused(lambda: pull.create_issue_comment(body * (length + 1)))[0] == 422
        assert refused(lambda: pull.create_issue_comment(" "))[0] == 422

    def test_a_locked_conversation_is_closed_to_workflows_but_not_to_people_who_may_write(self, place: Place) -> None:
        place.repo.lock(1)
        bot = place.client().get_pull(1)
        assert refused(lambda: bot.create_issue_comment("x")) == (403, "Unable to create comment because issue is locked.")
        place.repo.permission("bob", "write")
        place.client(place.github.token(login="bob", type="User")).get_pull(1).create_issue_comment("x")
        assert len(place.repo.comments(1)) == 1

    def test_nobody_changes_the_comment_of_another_without_write_access(self, place: Place) -> None:
        comment_id = place.repo.comment(1, "mine", login="alice")
        place.repo.permission("eve", "read")
        eve = place.client(place.github.token(login="eve", type="User"))
        assert refused(lambda: eve.get_issue(1).get_comment(comment_id).edit("hers"))[0] == 403

    def test_labels_leave_a_trace_of_who_and_when(self, place: Place) -> None:
        place.repo.label(1, "accept-regression", login="bob")
        place.repo.unlabel(1, "accept-regression", login="alice")
        place.client().get_pull(1).add_to_labels("triaged")
        issue = place.client().get_issue(1)
        events = [(event.event, event.actor.login, event.label.name) for event in issue.get_events()]
        assert events == [
            ("labeled", "bob", "accept-regression"),
            ("unlabeled", "alice", "accept-regression"),
            ("labeled", "github-actions[bot]", "triaged"),
        ]
        assert [label.name for label in issue.labels] == ["triaged"]
        place.repo.comment(1, "hello")
        assert [event.event for event in issue.get_timeline()] == ["labeled", "unlabeled", "labeled", "commented"]

    def test_a_push_moves_the_head(self, place: Place) -> None:
        before = place.client().get_pull(1)
        head = place.repo.commit(parents=[before.head.sha])
        place.repo.push(1, head)
        after = place.client().get_pull(1)
        assert (after.head.sha, after.base.sha, after.state) == (head, place.history[-1], "open")
        assert after.merge_commit_sha != before.merge_commit_sha
        assert list(place.client().get_issue(1).get_events()) == []
        place.repo.push(1, place.repo.commit(parents=place.history[-1:]))
        assert [event.event for event in place.client().get_issue(1).get_events()] == ["head_ref_force_pushed"]

    def test_a_closed_pull_request_keeps_its_head(self, place: Place) -> None:
        head = place.client().get_pull(1).head.sha
        place.repo.close(1)
        place.repo.push(1, place.repo.commit(parents=[head]))
        assert place.client().get_pull(1).head.sha == head

    def test_a_merge_keeps_what_both_sides_changed(self, place: Place) -> None:
        base = place.repo.commit(parents=place.history[-1:], files={"both": "old", "gone": "", "kept": ""})
        place.repo.branch("main", base)
        head = place.repo.commit(parents=[base], files={"both": "new", "gone": None})
        number = place.repo.pull(head=head)
        place.repo.branch("main", place.repo.commit(parents=[base], files={"later": ""}))
        place.repo.close(number, merged=True)
        assert place.repo.files("main") == {"both": b"new", "kept": b"", "later": b""}
        merged = place.client().get_pull(number)
        assert (merged.merged, merged.state, merged.merge_commit_sha) == (True, "closed", place.repo.head("main"))

    def test_pull_requests_are_found_by_head_and_state(self, place: Place) -> None:
        client = place.client()
        place.repo.pull(head=place.repo.commit(parents=place.history[-1:]), head_repository="stranger/model", head_ref="better")
        assert [pull.number for pull in client.get_pulls(head="stranger:better")] == [2]
        place.repo.close(1)
        assert [pull.number for pull in client.get_pulls()] == [2]
        assert [pull.number for pull in client.get_pulls(state="all")] == [2, 1]

    def test_a_commit_knows_the_pull_requests_that_it_is_in(self, place: Place) -> None:
        client = place.client()
        head = client.get_pull(1).head.sha
        place.repo.pull(head=place.repo.commit(parents=[head]))
        assert [pull.number for pull in client.get_commit(head).get_pulls()] == [1, 2]
        place.repo.close(1, merged=True)
        assert [pull.number for pull in client.get_commit(head).get_pulls()] == [1]

    def test_a_commit_that_is_only_in_a_fork_is_in_no_pull_request_unless_the_fork_is_asked(self, place: Place) -> None:
        head = place.repo.commit(parents=place.history[-1:])
        place.repo.pull(head=head, head_repository="stranger/model")
        assert list(place.client().get_commit(head).get_pulls()) == []
        fork = replace(place, repo=place.github.repository("stranger/model"))
        assert [pull.number for pull in fork.client().get_commit(head).get_pulls()] == [2]


class TestPermissions:
    """Who may do what."""

    @pytest.mark.parametrize(
        ("missing", "act"),
        [
            ("contents", lambda client, _: client.create_git_blob("x", "utf-8")),
            ("checks", lambda client, head: client.create_check_run("x", head)),
            ("statuses", lambda client, head: client.get_commit(head).create_status("success")),
            ("pull_requests", lambda client, _: client.get_pull(1).create_issue_comment("x")),
        ],
    )
    def test_a_token_that_may_only_read_is_told_what_it_lacks(
        self, place: Place, missing: str, act: Callable[[Client, str], object]
    ) -> None:
        with pytest.raises(GithubException) as caught:
            act(place.client(place.token(READ_ONLY)), place.history[0])
        assert (caught.value.status, caught.value.data["message"]) == (403, "Resource not accessible by integration")
        assert f"{missing}=write" in (caught.value.headers or {})["x-accepted-github-permissions"]

    @pytest.mark.parametrize("permission", ["issues", "pull_requests"])
    def test_either_of_two_permissions_lets_comment(self, place: Place, permission: str) -> None:
        place.client(place.token({permission: "write"})).get_issue(1).create_comment("x")

    def test_what_is_private_does_not_exist_for_others(self, place: Place) -> None:
        token = place.github.token(permissions=EVERYTHING, repository="acme/other")
        assert refused(lambda: place.client(token).complete()) == (404, "Not Found")
        assert refused(lambda: place.client(place.github.token(login="eve", type="User")).complete()) == (404, "Not Found")

    def test_what_is_public_is_read_by_everybody_and_written_by_few(self, place: Place) -> None:
        public = replace(place, repo=place.github.repository("acme/public"))
        public.repo.branch("main", public.repo.commit())
        other = public.client(place.token())
        assert other.get_git_ref("heads/main").object.sha == public.repo.head("main")
        assert refused(lambda: other.create_git_blob("x", "utf-8"))[0] == 403

    def test_a_token_runs_out(self, place: Place) -> None:
        token = place.token()
        client = place.client(token)
        client.complete()
        place.github.expire(token)
        assert refused(lambda: client.get_pull(1).state) == (401, "Bad credentials")
        assert refused(lambda: place.client("ghs_never_made").get_pull(1).state) == (401, "Bad credentials")

    def test_a_token_where_it_would_be_seen_fails_the_test(self) -> None:
        def leak() -> None:
            with opened() as place:
                place.repo.pull(head=place.history[-1])
                token = place.token()
                issue = place.client(token).get_issue(1)
                assert refused(lambda: issue.create_comment(f"Posted with {token}"))[0] == 422

        with pytest.raises(AssertionError, match="a token stands where it would be seen") as caught:
            leak()
        assert "ghs_" not in str(caught.value)

    def test_an_installation_is_nobody(self, place: Place) -> None:
        assert refused(lambda: session(place.github, place.token()).get_user().login)[0] == 403
        person = place.github.token(login="bob", type="User")
        assert session(place.github, person).get_user().login == "bob"

    @pytest.mark.parametrize(
        ("role", "old_word"),
        [("none", "none"), ("read", "read"), ("triage", "read"), ("write", "write"), ("maintain", "write"), ("admin", "admin")],
    )
    def test_a_role_is_also_said_in_old_words(self, place: Place, role: str, old_word: str) -> None:
        place.github.account("bob")
        place.repo.permission("bob", role)
        client = place.client()
        assert (client.get_collaborator_permission("bob"), client.get_collaborator_role_name("bob")) == (old_word, role)
        assert refused(lambda: client.get_collaborator_permission("nobody")) == (404, "nobody is not a user")

    def test_an_hour_has_only_so_many_requests(self, place: Place) -> None:
        token = place.github.token(permissions=EVERYTHING, repository=NAME, limit=1)
        client = place.client(token)
        client.complete()
        status, message = refused(lambda: client.get_pull(1).state)
        assert (status, message.partition(" for ")[0]) == (403, "API rate limit exceeded")
        assert session(place.github, token).get_rate_limit().rate.remaining == 0


class TestChecks:
    """Check runs and statuses."""

    def test_annotations_come_in_batches_and_add_up(self, place: Place) -> None:
        client = place.client()
        note: dict[str, str | int] = {
            "path": "metricgate.yaml",
            "start_line": 3,
            "end_line": 3,
            "annotation_level": "failure",
            "message": "worse",
        }
        output: Output = {"title": "Worse", "summary": "Much"}
        run = client.create_check_run("metricgate", place.history[-1], output={**output, "annotations": [note] * 50})
        run.edit(status="completed", conclusion="failure", output={**output, "annotations": [note] * 7})
        (kept,) = place.repo.check_runs(place.history[-1])
        assert (kept["status"], kept["conclusion"], len(kept["annotations"])) == ("completed", "failure", 57)
        assert len(list(client.get_check_run(run.id).get_annotations())) == 57
        assert [found.id for found in client.get_commit("main").get_check_runs(check_name="metricgate")] == [run.id]

    def test_more_than_fifty_annotations_at_once_are_a_mistake(self) -> None:
        note: dict[str, str | int] = {"path": "x", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "x"}
        output: Output = {"title": "x", "summary": "x", "annotations": [note] * 51}

        def send() -> None:
            with opened() as place:
                assert refused(lambda: place.client().create_check_run("x", place.history[0], output=output))[0] == 422

        with pytest.raises(AssertionError, match=r"output\.annotations"):
            send()

    def test_only_an_app_makes_check_runs(self, place: Place) -> None:
        place.repo.permission("bob", "admin")
        person = place.client(place.github.token(login="bob", type="User"))
        assert refused(lambda: person.create_check_run("x", place.history[0]))[1] == "You must authenticate via a GitHub App."

    def test_the_newest_status_of_each_context_counts(self, place: Place) -> None:
        commit = place.client().get_commit(place.history[-1])
        commit.create_status("pending", context="metricgate")
        commit.create_status("success", context="metricgate", description="No worse", target_url="https://example.com")
        combined = commit.get_combined_status()
        assert (combined.state, [status.description for status in combined.statuses]) == ("success", ["No worse"])
        assert [status["state"] for status in place.repo.statuses(place.history[-1])] == ["success", "pending"]
        assert refused(lambda: commit.create_status("success", description="x" * 141))[0] == 422


class TestRuns:
    """Workflow runs and their artifacts."""

    def test_a_run_of_a_fork_names_no_pull_request(self, place: Place) -> None:
        head = place.repo.commit(parents=place.history[-1:])
        place.repo.pull(head=head, head_repository="stranger/model")
        run = place.repo.workflow_run(head_sha=head, head_repository="stranger/model")
        found = place.client().get_workflow_run(run)
        assert (found.head_repository.full_name, found.head_sha, found.pull_requests) == ("stranger/model", head, [])
        mine = place.repo.workflow_run(head_sha=place.client().get_pull(1).head.sha)
        assert [pull.number for pull in place.client().get_workflow_run(mine).pull_requests] == [1]

    def test_what_came_from_a_fork_outlives_it(self, place: Place) -> None:
        head = place.repo.commit(parents=place.history[-1:])
        number = place.repo.pull(head=head, head_repository="stranger/model")
        run = place.repo.workflow_run(head_sha=head, head_repository="stranger/model")
        place.github.delete("stranger/model")
        answer = requests.get(f"{place.github.url}/repos/{NAME}/pulls/{number}", headers=place.bearer(), timeout=5).json()
        assert (answer["head"]["repo"], answer["head"]["sha"], answer["head"]["user"]["login"]) == (None, head, "stranger")
        answer = requests.get(f"{place.github.url}/repos/{NAME}/actions/runs/{run}", headers=place.bearer(), timeout=5).json()
        assert (answer["head_repository"], answer["head_sha"]) == (None, head)

    def test_an_artifact_is_fetched_from_a_storage_that_never_sees_the_token(self, place: Place) -> None:
        run = place.repo.workflow_run(head_sha=place.history[-1], artifacts={"model-report": b"PK...", "other": b""})
        (artifact,) = [found for found in place.client().get_workflow_run(run).get_artifacts() if found.name == "model-report"]
        answer = requests.get(artifact.archive_download_url, headers=place.bearer(), timeout=5)
        assert answer.content == b"PK..."
        assert [download.status for download in place.github.downloads] == [200]

    def test_a_token_that_reaches_the_storage_fails_the_test(self) -> None:
        def leak() -> None:
            with opened() as place:
                run = place.repo.workflow_run(head_sha=place.history[-1])
                url = f"{place.github.url}/repos/{NAME}/actions/artifacts/{place.repo.artifact(run, 'a', b'PK')}/zip"
                where = requests.get(url, headers=place.bearer(), allow_redirects=False, timeout=5).headers["Location"]
                assert requests.get(where, headers=place.bearer(), timeout=5).status_code == 400

        with pytest.raises(AssertionError, match="the token went to the storage"):
            leak()

    def test_an_artifact_expires(self, place: Place) -> None:
        run = place.repo.workflow_run(head_sha=place.history[-1])
        place.repo.artifact(run, "old", b"PK", expired=True)
        (artifact,) = place.client().get_workflow_run(run).get_artifacts()
        assert artifact.expired
        assert requests.get(artifact.archive_download_url, headers=place.bearer(), timeout=5).status_code == 410


class TestReleases:
    """Releases and their drafts."""

    def test_a_release_makes_its_tag_where_there_is_none(self, place: Place) -> None:
        made = place.client().create_git_release("v1.0.0", "First", "Notes", target_commitish=place.history[0])
        assert (made.tag_name, made.name, made.body, made.draft) == ("v1.0.0", "First", "Notes", False)
        assert place.repo.resolve("refs/tags/v1.0.0") == place.history[0]
        assert place.client().get_latest_release().id == made.id

    def test_a_tag_has_one_release_and_any_number_of_drafts(self, place: Place) -> None:
        client = place.client()
        for _ in range(2):
            client.create_git_release("v1.0.0", "", "", draft=True, make_latest="false")
        assert refused(lambda: client.get_release("v1.0.0")) == (404, "Not Found")
        client.create_git_release("v1.0.0", "", "")
        assert refused(lambda: client.create_git_release("v1.0.0", "", ""))[0] == 422
        assert [release.draft for release in client.get_releases()] == [False, True, True]
        assert client.get_release("v1.0.0").draft is False

    def test_drafts_are_for_those_who_may_write(self, place: Place) -> None:
        draft = place.repo.release("v1.0.0", draft=True)
        place.repo.release("v0.9.0")
        reader = place.client(place.token({"contents": "read"}))
        assert [release.tag_name for release in reader.get_releases()] == ["v0.9.0"]
        assert refused(lambda: reader.get_release(draft).body) == (404, "Not Found")
        assert place.client().get_release(draft).draft
        assert refused(lambda: reader.create_git_release("v2.0.0", "", ""))[0] == 403

    def test_a_draft_that_is_published_becomes_the_latest_unless_told_otherwise(self, place: Place) -> None:
        client = place.client()
        first, second = (client.get_release(place.repo.release(tag, draft=True)).complete() for tag in ("v1.0.0", "v0.9.0"))
        first.update_release("First", "x")
        second.update_release("Second", "x", make_latest="false")
        assert client.get_latest_release().tag_name == "v1.0.0"
        assert refused(lambda: second.update_release("Second", "x", prerelease=True, make_latest="true"))[0] == 422
        assert refused(lambda: second.update_release("Second", "x" * 125_001))[0] == 422


class TestEverythingElse:
    """Each remaining operation once, with what PyGithub makes of it."""

    def test_branches_and_files(self, place: Place) -> None:
        place.repo.branch("main", place.repo.commit(parents=place.history[-1:], files={"src/train.py": b"x = 1\n"}))
        client = place.client()
        assert [branch.name for branch in client.get_branches()] == ["change-1", "main"]
        assert client.get_branch("main").commit.sha == place.repo.head("main")
        assert refused(lambda: client.get_branch("gone").commit) == (404, "Branch not found")
        file = client.get_contents("src/train.py", ref="main")
        assert not isinstance(file, list)
        assert file.decoded_content == b"x = 1\n"
        assert refused(lambda: client.get_contents("src/gone.py")) == (404, "Not Found")

    def test_labels_and_files_of_a_pull_request(self, place: Place) -> None:
        number = place.repo.pull(head=place.repo.commit(parents=place.history[-1:], files={"new.py": ""}), labels=["a", "b"])
        pull = place.client().get_pull(number)
        pull.remove_from_labels("a")
        assert [label.name for label in pull.get_labels()] == ["b"]
        assert refused(lambda: pull.remove_from_labels("a")) == (404, "Label does not exist")
        assert [(file.filename, file.status) for file in pull.get_files()] == [("new.py", "added")]

    def test_runs_artifacts_and_statuses_by_commit(self, place: Place) -> None:
        head, client = place.history[-1], place.client()
        run = place.repo.workflow_run(head_sha=head, event="push")
        place.repo.workflow_run(head_sha=place.history[0])
        assert [found.id for found in client.get_workflow_runs(head_sha=head, event="push")] == [run]
        artifact = place.repo.artifact(run, "model", b"PK")
        assert (client.get_artifact(artifact).name, client.get_artifact(artifact).size_in_bytes) == ("model", 2)
        client.get_commit(head).create_status("failure", context="metricgate")
        assert [status.state for status in client.get_commit(head).get_statuses()] == ["failure"]

    def test_people(self, place: Place) -> None:
        github = session(place.github, place.token())
        assert github.get_user("alice").type == "User"
        assert refused(lambda: github.get_user("nobody-here").type) == (404, "Not Found")


class TestFaults:
    """What goes wrong on the way, each thing as often as it was asked for."""

    @pytest.mark.parametrize(
        ("fault", "done"),
        [
            (Fault(kind="status", status=502), False),
            (Fault(kind="status_after", status=502), True),
            (Fault(kind="drop_before"), False),
            (Fault(kind="drop_after"), True),
            (Fault(kind="truncate"), True),
            (Fault(kind="cut"), True),
            (Fault(kind="slow"), False),
            (Fault(kind="slow_after"), True),
        ],
        ids=lambda value: value.kind if isinstance(value, Fault) else "",
    )
    def test_a_comment_is_written_or_not_whatever_the_client_sees(self, place: Place, fault: Fault, done: bool) -> None:
        place.github.faults.add(replace(fault, method="POST", path=r"/issues/\d+/comments$"))
        pull = place.client(timeout=1 if fault.kind.startswith("slow") else 5).get_pull(1)
        with pytest.raises((GithubException, requests.RequestException, ValueError)):
            pull.create_issue_comment("x")
        assert len(place.repo.comments(1)) == done
        assert place.github.faults.left == []
        pull.create_issue_comment("y")
        assert place.repo.comments(1)[-1]["body"] == "y"

    def test_a_secondary_limit_comes_with_or_without_a_time_to_wait(self, place: Place) -> None:
        place.github.faults.add(
            Fault(kind="status", status=403, message=SECONDARY_LIMIT, headers={"Retry-After": "0"}),
            Fault(kind="status", status=429),
        )
        pull = place.client().get_pull(1)
        with pytest.raises(GithubException) as first:
            pull.complete()
        assert (first.value.headers or {})["retry-after"] == "0"
        with pytest.raises(GithubException) as second:
            pull.complete()
        assert second.value.status == 429
        pull.complete()

    def test_a_fault_waits_and_repeats(self, place: Place) -> None:
        place.github.faults.add(Fault(kind="status", status=500, after=1, times=2))
        statuses = [
            requests.get(f"{place.github.url}/rate_limit", headers=place.bearer(), timeout=5).status_code for _ in range(4)
        ]
        assert statuses == [200, 500, 500, 200]

    def test_something_else_happens_first(self, place: Place) -> None:
        comment_id = place.repo.comment(1, "soon gone")
        other = place.client()
        place.github.faults.add(
            Fault(kind="callback", method="PATCH", callback=lambda: other.get_issue(1).get_comment(comment_id).delete())
        )
        comment = place.client().get_issue(1).get_comment(comment_id)
        assert refused(lambda: comment.edit("too late")) == (404, "Not Found")

    def test_pygithubs_own_patience_meets_the_faults(self, place: Place) -> None:
        place.github.faults.add(Fault(kind="status", status=502), Fault(kind="drop_before"), Fault(kind="drop_after"))
        patient = session(place.github, place.token(), retry=GithubRetry(total=3, backoff_factor=0))
        assert patient.get_repo(NAME).get_pull(1).state == "open"
        assert [request.status for request in place.github.requests] == [502, 0, 0, 200]
