"""By which policy a change is judged: that of the commit it goes into, so that no change can loosen its own gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from metricgate import config_file
from metricgate.config import Config
from metricgate.custom_metrics import Importing
from metricgate.errors import ConfigError
from metricgate.github.checkout import Checkout

_NEEDS_NO_BASELINE = ("min", "max")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A configuration to judge by, and what the report should say about it.

    Attributes:
        config: The change's own configuration with the policy in force.
        text: The change's own configuration file.
        changes: How the change's own policy differs from the one in force, one line each.
        warnings: What else the reader should know.
        importing: Where functions that metrics name may come from: nowhere, where the change itself names them.
    """

    config: Config
    text: str = ""
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    importing: Importing = "installed"

    @property
    def is_the_changes_own(self) -> bool:
        """Whether the change chose by what it is judged: then it says nothing about where anything is written."""
        return self.importing == "nothing"


def in_force(checkout: Checkout, path: PurePosixPath, *, base: str | None, default_name: str | None = None) -> Policy:
    """The policy that judges what is checked out.

    Args:
        checkout: The change's work tree.
        path: The configuration file, relative to the root.
        base: The commit that the change goes into; None where there is none.
        default_name: The model's name where the file gives none.

    Raises:
        ConfigError: The change's own configuration is missing or wrong.
    """
    if not (checkout.root / path).resolve().is_relative_to(checkout.root.resolve()):
        # A change can commit a link; what it points to on the judging machine is not the change's to show.
        raise ConfigError("the file is a link that leaves the repository", where=str(path), expected="a plain file")
    own = config_file.load(checkout.root / path, default_name=default_name)
    own_text = (checkout.root / path).read_text(encoding="utf-8")
    if base is None:
        return Policy(config=own, text=own_text)
    source = f"{path} at {base[:7]}"
    text = checkout.read(base, path)
    if text is None:
        told = f"There is no {source}: this change is judged by its own policy."
        return Policy(config=own, text=own_text, warnings=(told,), importing="nothing")
    try:
        theirs = config_file.loads(text, source=source, default_name=own.name)
    except ConfigError as error:
        # Nobody could repair a broken file if only the broken file could judge.
        reason = str(error).splitlines()[0]
        told = f"{reason}; this change is judged by its own policy."
        return Policy(config=own, text=own_text, warnings=(told,), importing="nothing")
    return Policy(config=own.with_policy_of(theirs), text=own_text, changes=own.policy_changes(theirs))


def without_baseline(policy: Policy) -> Policy:
    """What is left to judge where there need not be anything to compare with: the absolute bounds."""
    rules = tuple(rule for rule in policy.config.rules if rule.kind in _NEEDS_NO_BASELINE)
    gate = policy.config.gate.model_copy(update={"rules": rules})
    judged = f"{len(rules)} of {len(policy.config.rules)} rules" if rules else "none of the rules"
    told = f"There is nothing to compare with here: only absolute bounds are judged, {judged}."
    return replace(policy, config=policy.config.model_copy(update={"gate": gate}), warnings=(*policy.warnings, told))
