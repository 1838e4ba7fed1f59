"""Which commit a change is compared with, asked of real repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from metricgate.errors import UsageError
from metricgate.github.checkout import Checkout
from metricgate.github.event import Work


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    finished = subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True)
    return finished.stdout.strip()


def commit(root: Path, name: str) -> str:
    (root / name).write_text(name)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", name)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """main has two commits more than the place where the change branched off."""
    folder = tmp_path / "a repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "one")
    git(folder, "checkout", "--quiet", "-b", "change")
    commit(folder, "change")
    git(folder, "checkout", "--quiet", "main")
    commit(folder, "two")
    commit(folder, "three")
    return folder


def work(root: Path) -> Work:
    return Work(kind="compare", base=git(root, "rev-parse", "main"), head=git(root, "rev-parse", "change"))


def test_a_checked_out_branch_is_compared_with_its_merge_base(root: Path) -> None:
    git(root, "checkout", "--quiet", "change")
    assert Checkout(root).base_of(work(root)) == git(root, "rev-parse", "main~2")


def test_githubs_merge_commit_is_compared_with_what_it_was_merged_into(root: Path) -> None:
    # The event may be older than the merge commit: main had two commits when it was written, three when GitHub merged.
    event = Work(kind="compare", base=git(root, "rev-parse", "main~1"), head=git(root, "rev-parse", "change"))
    git(root, "checkout", "--quiet", "--detach", "main")
    git(root, "merge", "--quiet", "--no-ff", "--message", "merge", "change")
    assert Checkout(root).base_of(event) == git(root, "rev-parse", "main")


def test_a_shallow_clone_gets_the_yaml_that_fetches_more(root: Path, tmp_path: Path) -> None:
    event = work(root)
    shallow = tmp_path / "shallow"
    git(root, "clone", "--quiet", "--depth", "1", "--branch", "change", f"file://{root}", str(shallow))
    with pytest.raises(UsageError) as caught:
        Checkout(shallow).base_of(event)
    assert "fetch-depth: 0" in caught.value.fix


def test_a_clone_of_depth_two_is_enough_for_githubs_merge_commit(root: Path, tmp_path: Path) -> None:
    event = work(root)
    git(root, "checkout", "--quiet", "-b", "merged", "main")
    git(root, "merge", "--quiet", "--no-ff", "--message", "merge", "change")
    shallow = tmp_path / "shallow"
    git(root, "clone", "--quiet", "--depth", "2", "--branch", "merged", f"file://{root}", str(shallow))
    assert Checkout(shallow).base_of(event) == git(root, "rev-parse", "main")


def test_unrelated_histories_have_no_base(root: Path) -> None:
    event = work(root)
    git(root, "checkout", "--quiet", "--orphan", "other")
    commit(root, "unrelated")
    with pytest.raises(UsageError, match="does not reach back"):
        Checkout(root).base_of(event)


def test_a_folder_that_is_no_checkout_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git checkout"):
        Checkout(tmp_path).head()


def test_a_file_is_read_as_a_commit_has_it(root: Path) -> None:
    (root / "three").write_text("changed since")
    checkout = Checkout(root)
    assert checkout.read(checkout.head(), PurePosixPath("three")) == "three"
    assert checkout.read(git(root, "rev-parse", "main~1"), PurePosixPath("three")) is None


def test_a_second_checkout_leaves_the_first_alone_and_goes_away(root: Path) -> None:
    (root / "draft").write_text("not committed")
    before = (git(root, "status", "--porcelain"), git(root, "branch", "--show-current"))
    checkout = Checkout(root)
    with checkout.at(git(root, "rev-parse", "main~2")) as tree:
        assert (tree / "one").is_file()
        assert not (tree / "two").exists()
        assert Checkout(tree).head() == git(root, "rev-parse", "main~2")
    assert not tree.exists()
    assert git(root, "worktree", "list").count("\n") == 0
    assert (git(root, "status", "--porcelain"), git(root, "branch", "--show-current")) == before


def test_hooks_of_the_checkout_do_not_run_in_the_second_one(root: Path, tmp_path: Path) -> None:
    hook = root / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    hook.chmod(0o755)
    with Checkout(root).at("main"):
        pass
    assert not (tmp_path / "ran").exists()
