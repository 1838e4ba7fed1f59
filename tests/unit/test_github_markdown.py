"""The parser by which tests read as GitHub does makes links of what GitHub does, or their checks would see none."""

import pytest
from tests.github_markdown import GITHUB


@pytest.mark.parametrize("text", ["https://evil.example", "see www.evil.example/x now", "mail@evil.org", "[here](https://x.y)"])
def test_what_is_a_link(text: str) -> None:
    assert "<a " in GITHUB.render(text)


@pytest.mark.parametrize("text", ["0.PW", "evil.example", "metricgate.yaml", "`https://evil.example`"])
def test_what_is_none(text: str) -> None:
    assert "<a " not in GITHUB.render(text)
