"""Where a registry is: by an image's name, and by the addresses that a registry gives, which are not followed everywhere."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

from metricgate.errors import UsageError
from metricgate.release import credentials

_PORTS = {"http": 80, "https": 443}
_HOST = r"(?:\[[0-9a-f:]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::\d+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(rf"(?:(?P<host>(?=[^/]*[.:\]]|localhost/){_HOST})/)?(?P<repository>{_PART}(?:/{_PART})*)")


def of_image(image: str) -> tuple[str, str]:
    """The registry of an image, and the name of its repository there.

    Args:
        image: Its name without a tag; Docker Hub's need no host.

    Raises:
        UsageError: That is no image's name.
    """
    match = _IMAGE.fullmatch(image)
    if match is None or not _is_host(match["host"] or credentials.DOCKER_HUB):
        raise UsageError(
            f"{image[:200]!r} is no image's name",
            expected="small letters, digits and . _ - / with the registry before the first slash, without a tag",
            fix="ghcr.io/acme/model",
        )
    host, repository = match["host"] or credentials.DOCKER_HUB, match["repository"]
    if host == credentials.DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return host, repository


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


def _is_host(host: str) -> bool:
    try:
        return bool(origin(f"https://{host}"))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
