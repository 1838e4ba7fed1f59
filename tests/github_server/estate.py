"""Everything that is at GitHub: accounts, tokens and repositories, as a test sets them up."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from tests.github_server.calls import missing
from tests.github_server.objects import Objects
from tests.github_server.records import Account, Token
from tests.github_server.repository import Repository


class Estate:
    """Accounts, tokens, repositories and a clock.

    Attributes:
        url: The root of the API.
        lock: Held while something changes.
        accounts: By login in small letters.
        tokens: By their secret.
    """

    url: str

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.tokens: dict[str, Token] = {}
        self._repositories: dict[str, Repository] = {}
        self._renamed: dict[str, Repository] = {}
        self._last_id = 1000
        self._now = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def repository(self, full_name: str, *, private: bool = False, fork_of: str = "") -> Repository:
        """The repository of this name, made if there is none."""
        with self.lock:
            if full_name not in self._repositories:
                parent = self._repositories[fork_of] if fork_of and fork_of != full_name else None
                made = Repository(
                    world=self,
                    full_name=full_name,
                    id=self.next_id(),
                    private=parent.private if parent else private,
                    created=self.tick(),
                    fork_of=fork_of if parent else "",
                    objects=parent.objects if parent else Objects(),
                )
                self._repositories[full_name] = made
            return self._repositories[full_name]

    def existing(self, full_name: str) -> Repository | None:
        """The repository of this name; None if there is none, or no more."""
        return self._repositories.get(full_name)

    def delete(self, full_name: str) -> None:
        """Delete a repository. Pull requests from it stay, from an unknown repository."""
        with self.lock:
            del self._repositories[full_name]

    def rename(self, old: str, new: str) -> Repository:
        """Rename a repository; its old name leads to it from now on."""
        with self.lock:
            repo = self._repositories.pop(old)
            self._renamed[old] = repo
            for token in self.tokens.values():
                token.repository = new if token.repository == old else token.repository
            repo.full_name = new
            self._repositories[new] = repo
            for each in self._repositories.values():
                each.fork_of = new if each.fork_of == old else each.fork_of
                for pull in each.pulls.values():
                    pull.head_repository = new if pull.head_repository == old else pull.head_repository
                for run in each.runs.values():
                    run.head_repository = new if run.head_repository == old else run.head_repository
            return repo

    def token(
        self,
        *,
        login: str = "github-actions[bot]",
        type: str = "Bot",  # noqa: A002 - GitHub's word
        permissions: Mapping[str, str] | None = None,
        repository: str = "",
        limit: int = 5000,
    ) -> str:
        """A new token.

        Args:
            login: Whose.
            type: ``Bot`` makes an installation token, as `GITHUB_TOKEN` is; ``User`` a personal one.
            permissions: What it may do, as a workflow's `permissions` say it; without any, a bot may do nothing
                and a person whatever the repository lets them.
            repository: The one that it is for; by default all.
            limit: How many requests an hour it has.
        """
        with self.lock:
            bot = type == "Bot"
            granted = dict(permissions or {}) if bot or permissions is not None else None
            value = f"{'ghs' if bot else 'ghp'}_{secrets.token_hex(18)}"
            account = self.account(login, type=type)
            self.tokens[value] = Token(value=value, account=account, permissions=granted, repository=repository, limit=limit)
            return value

    def expire(self, token: str) -> None:
        """Let a token's hour be over."""
        self.tokens[token].expired = True

    def account(self, login: str, *, type: str = "User") -> Account:  # noqa: A002
        """The account of this name, made if there is none."""
        with self.lock:
            kind = "Bot" if login.endswith("[bot]") else type
            return self.accounts.setdefault(login.lower(), Account(login, len(self.accounts) + 101, kind))

    def network(self, repo: Repository) -> list[Repository]:
        """A repository, its forks, and what it is a fork of."""
        root = repo.fork_of or repo.full_name
        return [one for one in self._repositories.values() if root in (one.full_name, one.fork_of)]

    def fork(self, repo: Repository, owner: str) -> Repository | None:
        """The repository of the same network that belongs to somebody."""
        return next((one for one in self.network(repo) if one.full_name.partition("/")[0] == owner), None)

    def next_id(self) -> int:
        """An id that nothing else has."""
        with self.lock:
            self._last_id += 1
            return self._last_id

    def tick(self) -> datetime:
        """The server's clock: each time a second later."""
        with self.lock:
            self._now += timedelta(seconds=1)
            return self._now

    def visible(self, full_name: str) -> Repository:
        """The repository of this name, in any spelling.

        Args:
            full_name: The owner and the name.

        Raises:
            Refused: There is none.
        """
        repo = next((r for name, r in self._repositories.items() if name.lower() == full_name.lower()), None)
        if repo is None:
            raise missing()
        return repo

    def current(self, path: str) -> str:
        """Repositories have an address by number too, which redirects lead to."""
        _, first, number, *rest = [*path.split("/", 3), "", "", ""]
        if first == "repositories":
            with self.lock:
                for repo in self._repositories.values():
                    if str(repo.id) == number:
                        return "/".join(("", "repos", repo.full_name, *filter(None, rest)))
        return path

    def moved_to(self, path: str) -> str | None:
        """Where a path leads that begins with the old name of a renamed repository; None for all others."""
        parts = path.split("/", 4)
        name = "/".join(parts[2:4])
        # Whoever takes the old name over gets what is asked for under it.
        repo = self._renamed.get(name) if parts[1] == "repos" and name not in self._repositories else None
        return None if repo is None else "/".join([f"{self.url}/repositories/{repo.id}", *parts[4:]])
