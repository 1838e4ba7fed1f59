"""What a release did, or would do: for people, and as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from metricgate.release.tagging import Move


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a release did.

    Attributes:
        image: The image's name without a tag.
        digest: Of its manifest.
        version: The tag of the version.
        tags: All tags as full references, the version first.
        moved: The tags that changed, or would change.
        stays: Aliases that a newer version keeps: which.
        pushed: Whether anything was published; not in a dry run.
        commit: What is released.
        seed: Which run's model it is.
        model: The model's digest.
        verdict: ``PASSED`` or ``WARNED``.
        report: The digest of the report.
        waiver: Who accepted a regression.
        stale: What changed since the verdict and was allowed.
        code: Code that the model brings along and that was allowed.
        smoke: What the smoke test measured.
        evidence: The predicate types of the statements.
        signed_by: The key or the identity.
        verify: The options with which ``metricgate verify`` accepts it.
        uploaded: Bytes that the registry was sent.
        platforms: What the image runs on.
    """

    image: str
    digest: str
    version: str
    tags: tuple[str, ...]
    moved: tuple[Move, ...]
    stays: Mapping[str, str] = field(default_factory=dict)
    pushed: bool
    commit: str
    seed: int | None
    model: str
    verdict: str
    report: str
    waiver: str | None = None
    stale: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    smoke: Mapping[str, object] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    signed_by: str = ""
    verify: tuple[str, ...] = ()
    uploaded: int = 0
    platforms: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The document that ``--json`` prints."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, default=str) + "\n"

    def to_text(self) -> str:
        """For a person."""
        waived = f", accepted by {self.waiver}" if self.waiver else ""
        rows = [
            ("image", f"{self.image}@{self.digest} ({', '.join(self.platforms)})"),
            ("verdict", f"{self.verdict}{waived}: commit {self.commit[:7]}, seed {self.seed}, report {self.report[:19]}…"),
            ("model", self.model),
            ("smoke test", _smoke(self.smoke)),
            *(("stale", each) for each in self.stale),
            *(("code", each) for each in self.code),
            *(("tag", self._moved(move)) for move in self.moved),
            *(("tag", f"{tag} stays with {version}") for tag, version in self.stays.items()),
        ]
        if self.pushed:
            rows += [
                ("evidence", f"{len(self.evidence)} statements, signed by {self.signed_by}"),
                ("uploaded", f"{self.uploaded:,} bytes"),
                ("verify", shlex.join(["metricgate", "verify", f"{self.image}:{self.version}", *self.verify])),
            ]
        head = (
            f"{self.image}:{self.version}" if self.pushed else f"{self.image}:{self.version} (dry run: nothing was published)"
        )
        return "\n".join([head, *(f"  {name:<11} {value}" for name, value in rows)]) + "\n"

    def _moved(self, move: Move) -> str:
        verb = "" if self.pushed else "would be "
        return f"{move.tag} {verb}{'new' if move.before is None else f'moved from {move.before}'}"


def _smoke(smoke: Mapping[str, object]) -> str:
    if not smoke:
        return "not made"
    number = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in smoke.items()}
    return (
        f"{number['exchanges']} golden requests right; squared differences: sum {number['sum_squared_difference']}, "
        f"largest {number['max_squared_difference']}; p50 {number['p50_ms']} ms, p95 {number['p95_ms']} ms"
    )
