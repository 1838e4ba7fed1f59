"""GitHub on localhost, for tests: with state, permissions, faults, and GitHub's own description as the judge of every call.

with GitHubServer() as github:
    repo = github.repository("acme/model")
    token = github.token(permissions={"contents": "write"}, repository="acme/model")
    ...  # a real client talks to github.url
"""

from tests.github_server.faults import SECONDARY_LIMIT, Fault
from tests.github_server.records import Account, Token
from tests.github_server.repository import Repository
from tests.github_server.server import GitHubServer, Request

__all__ = ["SECONDARY_LIMIT", "Account", "Fault", "GitHubServer", "Repository", "Request", "Token"]
