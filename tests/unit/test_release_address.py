"""Addresses that a registry gives: followed where that is safe, and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metricgate.release import address

HERE = "https://registry.example:5000/v2/x/blobs/uploads/"


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("/v2/x/blobs/uploads/1?state=a", "https://registry.example:5000/v2/x/blobs/uploads/1?state=a"),
        ("1", "https://registry.example:5000/v2/x/blobs/uploads/1"),
        ("https://storage.example/1", "https://storage.example/1"),
        ("http://registry.example:5000/1", "https://registry.example:5000/1"),
        ("http://registry.example/1", "https://registry.example:5000/1"),
    ],
)
def test_an_address_is_followed_and_stays_encrypted(given: str, target: str) -> None:
    assert address.onward(given, HERE) == target


def test_without_encryption_one_may_go_to_either() -> None:
    for target in ("http://127.0.0.1:5001/1", "https://storage.example/1"):
        assert address.onward(target, "http://127.0.0.1:5000/") == target


def test_nobody_is_followed_out_of_encryption() -> None:
    with pytest.raises(ValueError, match="a place without encryption"):
        address.onward("http://storage.example/1", HERE)


@given(st.text() | st.text().map(lambda rest: f"http://{rest}") | st.text().map(lambda rest: f"https://[{rest}:{rest}"))
@example("//[")
@example("https://a:99999/")
@example("https://a:b/")
def test_whatever_is_given_it_is_an_encrypted_place_or_none(given: str) -> None:
    try:
        target = address.onward(given, HERE)
    except ValueError:
        target = HERE
    assert address.origin(target)[0] == "https"


@pytest.mark.parametrize("host", ["localhost", "registry.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_known(host: str) -> None:
    assert address.is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example", "10.0.0.1", "registry", "0.0.0.0", "127.0.0.1.example"])
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not address.is_loopback(host)
