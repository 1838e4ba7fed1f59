"""What a release is called: the rules of docker/metadata-action, and aliases that never move backwards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.errors import UsageError
from metricgate.release import names, rules
from metricgate.release.names import Context, Names

SHA = "860c1904a1ce19322e91ac35af1ab07466440c37"
TIME = datetime(2020, 1, 10, 0, 30, tzinfo=timezone.utc)


def named(
    ref: str,
    *lines: str,
    flavor: Sequence[str] = (),
    existing: Sequence[str] = (),
    default_branch: str = "main",
    images: Sequence[str] = ("user/app",),
) -> Names:
    context = Context(ref=ref, sha=SHA, time=TIME, default_branch=default_branch)
    return names.of(
        context, rules=rules.parse(lines or rules.DEFAULT), flavor=rules.flavor(flavor), images=images, existing=existing
    )


def tags(ref: str, *lines: str, flavor: Sequence[str] = (), existing: Sequence[str] = ()) -> list[str]:
    found = named(ref, *lines, flavor=flavor, existing=existing)
    return [tag.removeprefix("user/app:") for tag in found.tags]


@pytest.mark.parametrize(
    ("ref", "lines", "expected"),
    [
        ("refs/tags/v1.2.3", [], ["1.2.3", "1.2", "1", "latest"]),
        ("refs/tags/1.2.3", [], ["1.2.3", "1.2", "1", "latest"]),
        ("refs/tags/v1.2.3", ["type=semver,pattern={{raw}}"], ["v1.2.3", "latest"]),
        ("refs/tags/v1.2.3", ["type=semver,pattern=v{{major}}-{{patch}}"], ["v1-3", "latest"]),
        ("refs/tags/v1.2.3+build.7", ["type=semver,pattern={{version}}"], ["1.2.3", "latest"]),
        ("refs/tags/v2.0.8-beta.67", [], ["2.0.8-beta.67"]),
        ("refs/tags/v2.0.8-beta.67", ["type=semver,pattern={{raw}}"], ["v2.0.8-beta.67"]),
        ("refs/tags/v2.0.8-beta.67", ["type=semver,pattern={{major}}.{{minor}}"], ["2.0.8-beta.67"]),
        ("refs/tags/p1/v1.2.3", [r"type=semver,pattern={{version}},match=v(\d.\d.\d)$"], ["1.2.3", "latest"]),
        ("refs/tags/not-a-version", [], []),
        ("refs/heads/main", [], []),
        ("refs/heads/main", ["type=semver,pattern={{version}},value=v3.4.5"], ["3.4.5", "latest"]),
        ("refs/tags/v1.2.3", ["type=pep440,pattern={{major}}.{{minor}}"], ["1.2", "latest"]),
        ("refs/tags/1.2.3rc2", ["type=pep440,pattern={{major}}.{{minor}}"], ["1.2.3rc2"]),
        ("refs/tags/v1.2.3rc2", ["type=pep440,pattern={{raw}}"], ["v1.2.3rc2"]),
        ("refs/tags/1.0.post1", ["type=pep440,pattern={{version}}"], ["1.0.post1"]),
        ("refs/tags/1.0dev4", ["type=pep440,pattern={{version}}"], ["1.0.dev4"]),
        ("refs/tags/20200110-RC2", [r"type=match,pattern=\d{8}"], ["20200110", "latest"]),
        ("refs/tags/20200110-RC2", [r"type=match,pattern=(.*)-RC,group=1"], ["20200110", "latest"]),
        ("refs/tags/20200110-RC2", [r"type=match,pattern=/(.*)-rc/i,group=1"], ["20200110", "latest"]),
        ("refs/tags/20200110-RC2", [r"type=match,pattern=\d{9}"], []),
        ("refs/heads/my/branch", ["type=ref,event=branch"], ["my-branch"]),
        ("refs/pull/2/merge", ["type=ref,event=pr"], ["pr-2"]),
        ("refs/pull/2/merge", ["type=ref,event=pr,prefix=mr-"], ["mr-2"]),
        ("refs/tags/v1.2.3", ["type=ref,event=tag"], ["v1.2.3", "latest"]),
        ("refs/tags/v1.2.3", ["type=ref,event=branch", "type=ref,event=pr"], []),
        ("refs/heads/main", ["type=sha"], ["sha-860c190"]),
        ("refs/heads/main", ["type=sha,prefix=,format=long"], [SHA]),
        ("refs/heads/main", ["type=edge"], ["edge"]),
        ("refs/heads/dev", ["type=edge"], []),
        ("refs/heads/dev", ["type=edge,branch=dev"], ["edge"]),
        ("refs/heads/dev", ["type=raw,value=nightly", "stable"], ["nightly", "stable"]),
        ("refs/heads/dev", ["type=raw,value={{branch}}-{{sha}}"], ["dev-860c190"]),
        ("refs/tags/v1.2.3", ["type=raw,{{branch}}"], []),
        ("refs/heads/main", ["type=raw,value=on,enable={{is_default_branch}}"], ["on"]),
        ("refs/heads/dev", ["type=raw,value=on,enable={{is_default_branch}}"], []),
        ("refs/heads/dev", ["type=raw,value={{date 'YYYYMMDD'}}"], ["20200110"]),
        ("refs/heads/dev", ["type=raw,value={{date 'YYYYMMDD-HHmm' tz='Asia/Tokyo'}}"], ["20200110-0930"]),
        ("refs/heads/dev", ['type=raw,"value=a,b"'], ["a-b"]),
        ("refs/heads/feat/ä b", ["type=ref,event=branch"], ["feat-b"]),
        # The highest priority comes first; equal ones keep their order.
        ("refs/tags/v1.2.3", ["type=sha", "type=raw,value=x", "type=ref,event=tag"], ["v1.2.3", "x", "sha-860c190", "latest"]),
        ("refs/tags/v1.2.3", ["type=ref,event=tag", "type=sha,priority=9999"], ["sha-860c190", "v1.2.3"]),
        # A tag with the model's name before it (GTO).
        ("refs/tags/digits@v1.2.3", [], ["1.2.3", "1.2", "1", "latest"]),
    ],
)
def test_tags_by_rules(ref: str, lines: list[str], expected: list[str]) -> None:
    assert tags(ref, *lines) == expected


@pytest.mark.parametrize(
    ("flavor", "expected"),
    [
        ([], ["1.2.3", "latest"]),
        (["latest=false"], ["1.2.3"]),
        (["prefix=cuda-"], ["cuda-1.2.3", "latest"]),
        (["prefix=cuda-,onlatest=true"], ["cuda-1.2.3", "cuda-latest"]),
        (["suffix=-cpu,onlatest=true", "prefix=x-"], ["x-1.2.3-cpu", "latest-cpu"]),
    ],
)
def test_a_flavor_holds_for_all_rules(flavor: list[str], expected: list[str]) -> None:
    assert tags("refs/tags/v1.2.3", "type=semver,pattern={{version}}", flavor=flavor) == expected


def test_a_rules_own_prefix_replaces_the_flavors() -> None:
    lines = ("type=semver,pattern={{version}},prefix=", "type=sha")
    assert tags("refs/tags/v1.2.3", *lines, flavor=["prefix=x-"]) == ["1.2.3", "sha-860c190", "latest"]


@pytest.mark.parametrize(
    ("ref", "existing", "moves", "stays"),
    [
        ("v1.2.9", ["1.2.8", "1.3.0", "2.0.0"], ["1.2"], ["1", "latest"]),
        ("v1.2.9", ["1.2.8", "2.0.0"], ["1.2", "1"], ["latest"]),
        ("v1.2.3", [], ["1.2", "1", "latest"], []),
        ("v1.2.3", ["1.2.3"], ["1.2", "1", "latest"], []),
        ("v1.2.3", ["1.2", "1", "latest", "sha-860c190", "3", "4.0"], ["1.2", "1", "latest"], []),
        ("v1.2.3", ["2.0.0-rc.1"], ["1.2", "1", "latest"], []),
        ("v1.10.0", ["1.9.0"], ["1.10", "1", "latest"], []),
        ("v2.0.0-rc.1", ["1.9.0"], [], []),
        ("digits@v1.2.9", ["1.3.0"], ["1.2"], ["1", "latest"]),
    ],
)
def test_aliases_never_move_backwards(ref: str, existing: list[str], moves: list[str], stays: list[str]) -> None:
    found = named(f"refs/tags/{ref}", existing=existing)
    assert [tag.removeprefix("user/app:") for tag in found.moves] == moves
    assert [tag.removeprefix("user/app:") for tag in found.stays] == stays
    assert not set(found.tags) & set(found.stays)


@pytest.mark.parametrize(
    ("lines", "moves"),
    [
        (["type=semver,pattern={{raw}}"], ["latest"]),
        (["type=ref,event=tag"], ["latest"]),
        (["type=raw,value=stable", "type=sha"], ["stable"]),
        ([r"type=match,pattern=v(\d+),group=1"], ["1", "latest"]),
        (["type=pep440,pattern={{major}}"], ["1", "latest"]),
    ],
)
def test_what_only_this_version_can_be_called_never_moves(lines: list[str], moves: list[str]) -> None:
    assert [tag.removeprefix("user/app:") for tag in named("refs/tags/v1.2.3", *lines).moves] == moves


def test_a_name_that_every_version_has_stays_with_the_newest() -> None:
    found = named("refs/tags/v1.2.9", "type=semver,pattern={{version}}", "type=raw,value=stable", existing=["2.0.0"])
    assert found.stays == ("user/app:stable", "user/app:latest")


def test_each_image_gets_each_tag_and_its_name_in_lower_case() -> None:
    found = named("refs/tags/v1.2.3", "type=semver,pattern={{version}}", images=["ghcr.io/Acme/Model", "localhost:5000/m"])
    assert found.tags == (
        "ghcr.io/acme/model:1.2.3",
        "ghcr.io/acme/model:latest",
        "localhost:5000/m:1.2.3",
        "localhost:5000/m:latest",
    )


@given(st.tuples(*[st.integers(0, 30)] * 3), st.lists(st.tuples(*[st.integers(0, 30)] * 3), max_size=5))
def test_after_any_order_of_releases_each_alias_is_the_newest_of_its_line(
    first: tuple[int, int, int], others: list[tuple[int, int, int]]
) -> None:
    registry: dict[str, tuple[int, int, int]] = {}
    for version in [first, *others]:
        text = ".".join(map(str, version))
        for tag in tags(f"refs/tags/v{text}", existing=list(registry)):
            registry[tag] = version
    for version in [first, *others]:
        major, minor, _ = version
        assert registry["latest"] == max([first, *others])
        assert registry[f"{major}"] == max(other for other in [first, *others] if other[0] == major)
        assert registry[f"{major}.{minor}"] == max(other for other in [first, *others] if other[:2] == (major, minor))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("type=semvr,pattern=x", "there is no type `semvr`; did you mean `semver`?"),
        ("type=semver", "`pattern` is missing"),
        ("type=ref,evnt=tag", "`evnt` is no option of type=ref; did you mean `event`?"),
        ("type=ref,event=tags", "`event` is 'tags'; did you mean `tag`?"),
        ("type=sha,format=medium", "expected: short or long"),
        ("type=match,pattern=(", "'(' is no regular expression"),
        ("type=match,pattern=/x/q", "'/x/q' is no regular expression"),
        ("type=match,pattern=x,group=one", "`group` is 'one'"),
        ("type=raw,value=a,value=b", "`value` is given twice"),
        ("type=raw,value=a,priority=high", "`priority` is 'high'"),
        ("type=raw", "`value` is missing"),
    ],
)
def test_a_mistake_in_a_rule_is_told(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules.parse(["type=sha", line])
    assert said in str(caught.value)
    assert line in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        rules.parse(["type=a\ntype=b", "type=c"])
    assert str(caught.value).count("there is no type") == 3


@pytest.mark.parametrize("line", ["lates=auto", "latest=yes", "onlatest=true", "auto"])
def test_a_mistake_in_a_flavor_is_told(line: str) -> None:
    with pytest.raises(UsageError, match=r"flavor|latest"):
        rules.flavor([line])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("type=raw,value={{brnch}}", "did you mean {{branch}}?"),
        ("type=raw,value={{date}}", "{{date}} has no format"),
        ("type=raw,value={{date 'dddd'}}", "the format 'dddd' is not known"),
        ("type=raw,value={{date 'YYYY' tz='Mars/Olympus'}}", "there is no time zone 'Mars/Olympus'"),
        ("type=raw,value=x,enable=maybe", "`enable` is 'maybe'"),
        ("type=raw,value=-x", "'-x' is no tag"),
        (f"type=raw,value={'x' * 129}", "is no tag"),
        ("type=semver,pattern={{majr}}", "did you mean {{major}}?"),
    ],
)
def test_a_value_that_cannot_be_is_told(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        named("refs/tags/v1.2.3", line)
    assert said in str(caught.value)


@pytest.mark.parametrize("image", ["A B", "", "user/app:1", "-x/y", "user//app", "https://ghcr.io/a/b"])
def test_a_name_that_no_registry_takes_is_told(image: str) -> None:
    with pytest.raises(UsageError, match="is no name of an image"):
        named("refs/tags/v1.2.3", images=[image])


@given(st.text(max_size=60))
def test_any_ref_gives_tags_that_a_registry_takes_or_says_why_not(name: str) -> None:
    try:
        found = named(f"refs/heads/{name}", "type=ref,event=branch", "type=sha")
    except UsageError:
        return
    assert all(names._TAG.fullmatch(tag.removeprefix("user/app:")) for tag in found.tags)
