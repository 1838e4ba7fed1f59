"""Addresses that a registry gives: where they lead, and whether somebody may be followed there."""

from __future__ import annotations

import ipaddress
import urllib.parse

_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address.

    Raises:
        ValueError: It is none that a registry can be reached at.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        message = "gives an address that is none"
        raise ValueError(message)
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def onward(given: str, url: str) -> str:
    """Where an answer sends us, absolute.

    Args:
        given: The address in the answer.
        url: What was asked for.

    Raises:
        ValueError: It is none, or less safe than where it comes from; the text goes on after the registry's name.
    """
    try:
        target = urllib.parse.urljoin(url, given)
        (ours, our_host, _), (theirs, their_host, _) = origin(url), origin(target)
    except ValueError:
        target = ""
    if not given or not target:
        message = "does not say where to go on"
        raise ValueError(message)
    if (ours, theirs) == ("https", "http"):
        if our_host != their_host:
            message = "sends us to a place without encryption"
            raise ValueError(message)
        # A registry that does not know that it stands behind TLS.
        here = urllib.parse.urlsplit(url)
        target = urllib.parse.urlunsplit(urllib.parse.urlsplit(target)._replace(scheme=here.scheme, netloc=here.netloc))
    return target


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
