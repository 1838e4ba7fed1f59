"""The GitHub that other tests talk to, held against a real client, real git and GitHub's own description."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from github import GithubException, InputGitAuthor, InputGitTreeElement
from jsonschema import Draft4Validator
from tests.github_server import trim
from tests.github_server.contract import FORMATS, TRIMMED, Contract
from tests.github_server.judge import Judge
from tests.github_server.operations import OPERATIONS
from tests.github_server.permissions import NEEDS
from tests.github_server.place import NAME, Place, opened, refused

SYSTEM = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@pytest.fixture
def place() -> Iterator[Place]:
    with opened() as made:
        yield made


class TestDescription:
    """GitHub's own OpenAPI description judges both sides."""

    def test_what_is_described_is_answered_and_needs_some_permission(self) -> None:
        described = {operation.id for operation in Contract.read().operations}
        assert set(OPERATIONS) == described == {f"{part}/{name}" for part, names in trim.OPERATIONS.items() for name in names}
        assert set(NEEDS) == {name for name in described if not name.startswith(("users/", "rate-limit/"))}

    def test_nothing_in_the_copy_of_the_description_is_superfluous(self) -> None:
        text = TRIMMED.read_text(encoding="utf-8")
        assert trim.trim(json.loads(text)) == json.loads(text)

    @pytest.mark.parametrize(
        ("method", "path", "body", "mistake"),
        [
            ("GET", "/repos/acme/model/commentz", None, "GitHub describes no such operation"),
            ("GET", "/repos/acme/model/commits?sort=asc", None, "query parameter `sort` is not GitHub's"),
            ("GET", "/repos/acme/model/pulls?state=merged", None, "'merged' is not one of"),
            ("GET", "/repos/acme/model/pulls/one", None, "'one' is not of type 'integer'"),
            ("POST", "/repos/acme/model/issues/1/comments", {"text": "x"}, "'body' is a required property"),
            ("POST", "/repos/acme/model/issues/1/comments", {"body": "x", "to": 1}, "'to' was unexpected"),
            ("POST", "/repos/acme/model/issues/1/comments", None, "the request carries no body"),
        ],
    )
    def test_a_request_that_is_not_githubs_fails_the_test_that_sends_it(
        self, method: str, path: str, body: Any, mistake: str
    ) -> None:
        with pytest.raises(AssertionError, match="not as GitHub describes it") as caught, opened() as place:
            requests.request(method, place.github.url + path, json=body, headers=place.bearer(), timeout=5)
        assert mistake in str(caught.value)

    def test_an_answer_that_lacks_something_is_found_out(self, place: Place) -> None:
        place.repo.pull(head=place.history[-1])
        place.repo.comment(1, "hello")
        whole = place.repo.comments(1)
        operation, _ = Contract.read().find("GET", "/repos/acme/model/issues/1/comments") or (None, {})
        assert list(Contract.read().answer_mistakes(operation, 200, whole)) == []
        (mistake,) = Contract.read().answer_mistakes(operation, 200, [{k: v for k, v in whole[0].items() if k != "user"}])
        assert "'user' is a required property" in mistake

    @pytest.mark.parametrize(
        "path", ["", "/pulls/1", "/issues/1", "/issues/1/timeline", "/commits/main/check-runs", "/actions/runs"]
    )
    def test_the_fast_judge_and_jsonschema_agree(self, place: Place, path: str) -> None:
        place.repo.pull(head=place.history[-1], labels=["triaged"])
        place.repo.comment(1, "hello")
        place.client().create_check_run("metricgate", place.history[-1])
        place.repo.workflow_run(head_sha=place.history[-1])
        whole = requests.get(f"{place.github.url}/repos/{NAME}{path}", headers=place.bearer(), timeout=5).json()
        contract = Contract.read()
        operation, _ = contract.find("GET", f"/repos/{NAME}{path}") or pytest.fail("no operation")
        schema = operation.described["responses"]["200"]["content"]["application/json"]["schema"]
        slow = Draft4Validator({**schema, "components": contract.document["components"]}, format_checker=FORMATS)
        fast = Judge(contract.document["components"]).check(schema)
        chance = random.Random(path)
        assert fast(whole)
        verdicts = [(fast(spoilt), slow.is_valid(spoilt)) for spoilt in (spoil(whole, chance) for _ in range(40))]
        assert [one for one, _ in verdicts] == [other for _, other in verdicts]
        assert not all(one for one, _ in verdicts)

    def test_a_test_that_failed_already_keeps_its_own_reason(self, capsys: pytest.CaptureFixture[str]) -> None:
        def broken() -> None:
            with opened() as place:
                requests.get(f"{place.github.url}/nothing", headers=place.bearer(), timeout=5)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            broken()
        assert "GET /nothing" in capsys.readouterr().err


class TestGitData:
    """Objects, trees and references."""

    def test_objects_have_the_names_that_git_gives_them(self, place: Place, tmp_path: Path) -> None:
        client = place.client()
        when = datetime(2025, 6, 1, 12, 30, tzinfo=timezone.utc)
        files = {"a.txt": b"one\n", "a/b.bin": bytes(range(256)), "a-b": b"", "z/y/x": "ü".encode()}
        elements = [
            InputGitTreeElement(
                path, "100644", "blob", sha=client.create_git_blob(base64.b64encode(content).decode(), "base64").sha
            )
            for path, content in files.items()
        ]
        author = InputGitAuthor("A U Thor", "author@example.com", when.isoformat())
        tree = client.create_git_tree(elements)
        made = client.create_git_commit("Première\n\nBody", tree, [], author=author, committer=author)

        git = Git(tmp_path)
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        git("add", "--all")
        assert tree.sha == git("write-tree")
        raw = git("commit-tree", tree.sha, "-m", "Première\n\nBody", when=when)
        # `git commit-tree -m` ends the message with a newline, GitHub keeps it as given.
        body = git("cat-file", "commit", raw) + "\n"
        assert made.sha == git("hash-object", "-t", "commit", "--stdin", "--literally", text=body.rstrip("\n"))

    def test_content_comes_back_as_it_went(self, place: Place) -> None:
        client = place.client()
        content = bytes(range(256)) * 5000
        blob = client.get_git_blob(client.create_git_blob(base64.b64encode(content).decode(), "base64").sha)
        assert blob.size == len(content)
        assert base64.b64decode(blob.content) == content

    def test_a_reference_moves_only_forward_unless_by_force(self, place: Place) -> None:
        client = place.client()
        first, second = place.history
        aside = place.repo.commit(parents=[first])
        ref = client.get_git_ref("heads/main")
        assert ref.object.sha == second
        assert refused(lambda: ref.edit(aside)) == (422, "Update is not a fast forward")
        assert refused(lambda: ref.edit("0" * 40)) == (422, "Object does not exist")
        assert place.repo.head("main") == second
        ref.edit(aside, force=True)
        assert place.repo.head("main") == aside

    def test_a_reference_is_made_once(self, place: Place) -> None:
        client = place.client()
        client.create_git_ref("refs/heads/metricgate", place.history[0])
        again = refused(lambda: client.create_git_ref("refs/heads/metricgate", place.history[1]))
        assert again == (422, "Reference already exists")
        assert [ref.ref for ref in client.get_git_matching_refs("heads/m")] == ["refs/heads/main", "refs/heads/metricgate"]
        ref = client.get_git_ref("heads/metricgate")
        ref.complete()  # until then PyGithub believes that it stands at the address for reading, where nothing is deleted
        ref.delete()
        assert refused(lambda: client.get_git_ref("heads/metricgate").object) == (404, "Not Found")

    def test_of_many_who_move_a_reference_at_once_each_sees_who_was_first(self, place: Place) -> None:
        token = place.token()

        def append(number: int) -> list[str]:
            client, refusals = place.client(token), []
            while True:
                ref = client.get_git_ref("heads/main")
                parent = client.get_git_commit(ref.object.sha)
                made = client.create_git_commit(f"by {number}", parent.tree, [parent])
                try:
                    ref.edit(made.sha)
                except GithubException as error:
                    refusals.append(error.data["message"])
                else:
                    return refusals

        with ThreadPoolExecutor(8) as pool:
            refusals = [message for each in pool.map(append, range(8)) for message in each]
        assert set(refusals) <= {"Update is not a fast forward"}
        assert sorted(place.repo.log("main"))[-8:] == [f"by {number}" for number in range(8)]

    def test_a_tree_is_another_with_changes(self, place: Place) -> None:
        client = place.client()
        base = client.create_git_tree(
            [InputGitTreeElement(path, "100644", "blob", content=path) for path in ("keep", "runs/a/1", "runs/b/1")]
        )
        made = client.create_git_tree(
            [
                InputGitTreeElement("runs/a/1", "100644", "blob", sha=None),
                InputGitTreeElement("runs/b/2", "100644", "blob", content="new"),
            ],
            base,
        )
        paths = [entry.path for entry in client.get_git_tree(made.sha, recursive=True).tree if entry.type == "blob"]
        assert paths == ["keep", "runs/b/1", "runs/b/2"]

    @pytest.mark.parametrize(
        ("element", "message"),
        [
            (InputGitTreeElement("gone", "100644", "blob", sha=None), "GitRPC::BadObjectState"),
            (InputGitTreeElement("../up", "100644", "blob", content=""), "tree.path contains a malformed path component"),
            (InputGitTreeElement("/root", "100644", "blob", content=""), "tree.path contains a malformed path component"),
            (InputGitTreeElement(".git/hooks", "100644", "blob", content=""), "tree.path contains a malformed path component"),
            (InputGitTreeElement("x", "100644", "blob", sha="0" * 40), f"tree.sha {'0' * 40} is not a valid blob"),
        ],
    )
    def test_a_tree_is_refused(self, place: Place, element: InputGitTreeElement, message: str) -> None:
        assert refused(lambda: place.client().create_git_tree([element])) == (422, message)

    def test_a_tree_that_is_too_large_is_truncated(self, place: Place) -> None:
        place.github.tree_limit = 2
        head = place.repo.commit(files=dict.fromkeys("abc", b""))
        tree = place.client().get_git_tree(head, recursive=True)
        assert [entry.path for entry in tree.tree] == ["a", "b"]
        assert tree.raw_data["truncated"] is True

    def test_a_repository_that_nobody_pushed_to_has_no_git_side(self, place: Place) -> None:
        client = replace(place, repo=place.github.repository("acme/empty")).client()
        assert refused(lambda: client.create_git_blob("x", "utf-8")) == (409, "Git Repository is empty.")
        assert refused(lambda: client.get_commits()[0]) == (409, "Git Repository is empty.")

    def test_tags_lead_to_commits(self, place: Place) -> None:
        client = place.client()
        place.repo.tag("v1", place.history[0])
        made = client.create_git_tag("v2", "Second", place.history[1], "commit")
        client.create_git_ref("refs/tags/v2", made.sha)
        assert client.get_git_tag(made.sha).object.sha == place.history[1]
        assert [(tag.name, tag.commit.sha) for tag in client.get_tags()] == [("v2", place.history[1]), ("v1", place.history[0])]


class TestHistory:
    """Commits and how they relate."""

    def test_commits_come_newest_first_over_all_pages(self, place: Place) -> None:
        line = place.repo.commits(250)
        place.repo.branch("long", line[-1])
        assert [commit.sha for commit in place.client().get_commits(sha="long")] == line[::-1]
        assert len(place.github.requests) == 3

    def test_both_sides_of_a_merge_are_listed(self, place: Place) -> None:
        first, second = place.history
        side = place.repo.commit(parents=[first], files={"side": b""})
        merge = place.repo.commit(parents=[second, side])
        listed = [commit.sha for commit in place.client().get_commits(sha=merge)]
        assert listed[0] == merge
        assert listed[-1] == first
        assert set(listed) == {merge, second, side, first}
        assert [commit.sha for commit in place.client().get_commits(sha=merge, path="side")] == [side]

    def test_the_merge_base_is_where_two_lines_part(self, place: Place) -> None:
        first, second = place.history
        head = place.repo.commit(parents=[first], files={"train.py": b"x"})
        found = place.client().compare(second, head)
        assert (found.merge_base_commit.sha, found.status, found.ahead_by, found.behind_by) == (first, "diverged", 1, 1)
        assert [file.filename for file in found.files] == ["train.py"]
        assert place.client().compare(first, second).status == "ahead"
        assert place.client().compare(second, second).status == "identical"

    def test_histories_without_a_common_commit_have_no_merge_base(self, place: Place) -> None:
        alone = place.repo.commit(message="An orphan")
        place.repo.branch("alone", alone)
        with pytest.raises(GithubException) as caught:
            place.client().compare("main", "alone").status  # noqa: B018 - asks GitHub
        assert caught.value.data["message"] == "No common ancestor between main and alone."

    def test_a_branch_of_a_fork_is_compared_by_its_owner(self, place: Place) -> None:
        head = place.repo.commit(parents=[place.history[0]])
        place.repo.pull(head=head, head_repository="stranger/model", head_ref="better")
        assert place.client().compare("main", "stranger:better").merge_base_commit.sha == place.history[0]

    def test_a_renamed_repository_is_found_under_its_old_name(self, place: Place) -> None:
        client = place.client()
        place.repo.pull(head=place.history[-1])
        place.github.rename(NAME, "acme/better")
        assert client.get_pull(1).base.repo.full_name == "acme/better"
        assert client.get_pull(1).head.repo.full_name == "acme/better"
        answer = requests.post(
            f"{place.github.url}/repos/acme/model/issues/1/comments",
            json={"body": "x"},
            headers=place.bearer(),
            allow_redirects=False,
            timeout=5,
        )
        assert answer.status_code == 307
        assert answer.headers["Location"] == f"{place.github.url}/repositories/{place.repo.id}/issues/1/comments"


def spoil(value: Any, chance: random.Random) -> Any:
    """The value with something taken away, put in or replaced, somewhere."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        kind = chance.random()
        if kind < 0.15:
            return {name: part for name, part in value.items() if name != key}
        if kind < 0.25:
            return {**value, "made_up": 1}
        return {**value, key: spoil(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        return [*value[:place], spoil(value[place], chance), *value[place + 1 :]]
    return chance.choice([None, True, 0, 1.5, "", "2026-01-01", [], {}, [None]])


@dataclass(frozen=True)
class Git:
    """Real git in a scratch folder."""

    root: Path

    def __post_init__(self) -> None:
        self("init", "--quiet")

    def __call__(self, *arguments: str, when: datetime | None = None, text: str | None = None) -> str:
        stamp = when.isoformat() if when else ""
        who = {"NAME": "A U Thor", "EMAIL": "author@example.com", "DATE": stamp}
        environ = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items() if value}
        command = ["git", "-c", "commit.gpgsign=false", "-c", "core.autocrlf=false", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env={**SYSTEM, **environ}, input=text, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()
