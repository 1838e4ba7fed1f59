"""Pull requests, their comments, labels and events."""

from __future__ import annotations

from tests.github_server import code_shapes, talk_shapes
from tests.github_server.calls import Answer, Call, Refused, invalid, missing
from tests.github_server.objects import moment
from tests.github_server.records import Comment
from tests.github_server.repository import ROLES

COMMENT_LIMIT = 65536


def list_pulls(call: Call) -> Answer:
    """Pull requests, the newest first unless asked otherwise; open ones unless asked otherwise."""
    repo, query = call.repo, call.query
    state = query.get("state", "open")
    found = [pull for pull in repo.pulls.values() if state in ("all", pull.state)]
    if "base" in query:
        found = [pull for pull in found if pull.base_ref == query["base"]]
    if ":" in query.get("head", ""):  # a head without an owner is ignored, as GitHub does
        found = [pull for pull in found if f"{pull.head_repository.partition('/')[0]}:{pull.head_ref}" == query["head"]]
    by_update = query.get("sort") == "updated"
    down = query.get("direction", "desc" if query.get("sort", "created") == "created" else "asc") == "desc"
    found.sort(key=lambda pull: (pull.updated if by_update else pull.created, pull.number), reverse=down)
    return call.page(found, lambda pull: talk_shapes.pull_simple(repo, pull))


def get_pull(call: Call) -> Answer:
    """One pull request."""
    return Answer(body=talk_shapes.pull(call.repo, call.pull))


def create_pull(call: Call) -> Answer:
    """A new pull request of a branch of the same repository."""
    repo, body = call.repo, call.body
    if call.token.installation and not repo.actions_may_open_pulls:
        raise Refused(403, "GitHub Actions is not permitted to create or approve pull requests.")
    branch, base = body["head"].rpartition(":")[2], body["base"]
    for field, name in (("head", branch), ("base", base)):
        if repo.head(name) is None:
            raise invalid("PullRequest", field)
    if repo.refs[f"refs/heads/{branch}"] in repo.objects.ancestors(repo.refs[f"refs/heads/{base}"]):
        raise _custom(f"No commits between {base} and {branch}")
    if any((pull.state, pull.head_ref, pull.base_ref) == ("open", branch, base) for pull in repo.pulls.values()):
        raise _custom(f"A pull request already exists for {repo.owner.login}:{branch}.")
    number = repo.pull(
        head=repo.refs[f"refs/heads/{branch}"],
        base=base,
        head_ref=branch,
        author=call.token.account.login,
        draft=body.get("draft", False),
        title=body["title"],
        body=body.get("body") or "",
    )
    made = talk_shapes.pull(repo, repo.pulls[number])
    return Answer(status=201, body=made, headers={"Location": made["url"]})


def update_pull(call: Call) -> Answer:
    """Another title or text, or closed and opened again."""
    pull = call.pull
    if not (call.token.installation or pull.author == call.token.account or _writer(call)):
        raise Refused(403, "Must have admin rights to Repository.")
    if len(call.body.get("body") or "") > COMMENT_LIMIT:
        raise invalid("PullRequest", "body", code="custom", message=f"body is too long (maximum is {COMMENT_LIMIT} characters)")
    pull.title = call.body.get("title", pull.title)
    pull.body = call.body.get("body", pull.body) or ""
    if call.body.get("state", pull.state) != pull.state:
        pull.state = call.body["state"]
        pull.closed = call.world.tick() if pull.state == "closed" else None
    pull.updated = call.world.tick()
    return Answer(body=talk_shapes.pull(call.repo, pull))


def _custom(message: str) -> Refused:
    return Refused(422, "Validation Failed", errors=[{"resource": "PullRequest", "code": "custom", "message": message}])


def list_files(call: Call) -> Answer:
    """What a pull request changes."""
    pull, objects = call.pull, call.repo.objects
    return call.page(
        code_shapes.differences(call.repo, objects.merge_base(pull.base, pull.head), pull.head), lambda entry: entry
    )


def get_issue(call: Call) -> Answer:
    """A pull request as an issue."""
    return Answer(body=talk_shapes.issue(call.repo, call.pull))


def list_comments(call: Call) -> Answer:
    """The comments, the oldest first."""
    found = call.repo.comments_of(call.pull.number)
    if "since" in call.query:
        found = [kept for kept in found if kept.updated >= moment(call.query["since"])]
    return call.page(found, lambda kept: talk_shapes.comment(call.repo, kept))


def create_comment(call: Call) -> Answer:
    """A new comment."""
    repo, pull = call.repo, call.pull
    if pull.locked and not _writer(call):
        raise Refused(403, "Unable to create comment because issue is locked.")
    _check_body(call)
    made = repo.add_comment(pull.number, call.body["body"], author=call.token.account, by_app=call.token.installation)
    body = talk_shapes.comment(repo, made)
    return Answer(status=201, body=body, headers={"Location": body["url"]})


def get_comment(call: Call) -> Answer:
    """One comment."""
    return Answer(body=talk_shapes.comment(call.repo, _comment(call)))


def update_comment(call: Call) -> Answer:
    """Other words for a comment."""
    kept = _comment(call)
    _own_or_writer(call, kept)
    _check_body(call)
    kept.body, kept.updated = call.body["body"], call.world.tick()
    return Answer(body=talk_shapes.comment(call.repo, kept))


def delete_comment(call: Call) -> Answer:
    """A comment less."""
    kept = _comment(call)
    _own_or_writer(call, kept)
    del call.repo.all_comments[kept.id]
    return Answer(status=204)


def list_labels(call: Call) -> Answer:
    """The labels of a pull request."""
    return call.page(call.pull.labels, lambda name: talk_shapes.label(call.repo, call.repo.labels[name.lower()]))


def add_labels(call: Call) -> Answer:
    """More labels for a pull request."""
    given = call.body["labels"] if isinstance(call.body, dict) else call.body
    account = call.token.account
    for label in given:
        name = label if isinstance(label, str) else label["name"]
        call.repo.label(call.pull.number, name, login=account.login, type=account.type)
    return Answer(body=talk_shapes.labels(call.repo, call.pull))


def remove_label(call: Call) -> Answer:
    """A label less for a pull request."""
    if call.path["name"] not in call.pull.labels:
        raise Refused(404, "Label does not exist")
    call.repo.unlabel(call.pull.number, call.path["name"], login=call.token.account.login)
    return Answer(body=talk_shapes.labels(call.repo, call.pull))


def list_events(call: Call) -> Answer:
    """What happened to a pull request, the oldest first."""
    return call.page(call.pull.events, lambda event: talk_shapes.event(call.repo, event))


def list_timeline(call: Call) -> Answer:
    """What happened to a pull request and what was said, the oldest first."""
    repo, pull = call.repo, call.pull
    happened = [(event.when, event.id, talk_shapes.event(repo, event)) for event in pull.events]
    for kept in repo.comments_of(pull.number):
        shape = talk_shapes.comment(repo, kept)
        happened.append((kept.created, kept.id, {**shape, "event": "commented", "actor": shape["user"]}))
    return call.page([shape for _, _, shape in sorted(happened, key=lambda entry: entry[:2])], lambda shape: shape)


def _comment(call: Call) -> Comment:
    kept = call.repo.all_comments.get(int(call.path["comment_id"]))
    if kept is None:
        raise missing()
    return kept


def _check_body(call: Call) -> None:
    body = call.body["body"]
    if not body.strip():
        raise invalid("IssueComment", "data", code="unprocessable", message="Body cannot be blank")
    if len(body) > COMMENT_LIMIT:
        message = f"body is too long (maximum is {COMMENT_LIMIT} characters)"
        raise invalid("IssueComment", "data", code="unprocessable", message=message)


def _writer(call: Call) -> bool:
    """Whether a person with write access asks; apps are not let into locked conversations."""
    role = call.repo.role(call.token.account)
    return not call.token.installation and ROLES.index(role) >= ROLES.index("write")


def _own_or_writer(call: Call, kept: Comment) -> None:
    """An app that may write may change everybody's comments, as people with write access may."""
    if call.token.installation or kept.author == call.token.account or _writer(call):
        return
    raise Refused(403, "Must have admin rights to Repository.")
