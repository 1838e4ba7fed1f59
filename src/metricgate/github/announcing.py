"""A release that was published, told on GitHub: the last step, which leaves what is published as it is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from metricgate.config import Config
from metricgate.errors import MetricgateError
from metricgate.github import recorded
from metricgate.github.job import Job
from metricgate.release import notes, rules, succession
from metricgate.release.names import Context
from metricgate.release.notes import Previous
from metricgate.release.steps import Steps

if TYPE_CHECKING:
    from metricgate.github.api import Repository
    from metricgate.release.candidate import Candidate
    from metricgate.release.published import Published

_MOST_TAGS = 5_000


def announce(
    job: Job,
    repository: Repository,
    published: Published,
    found: Candidate,
    *,
    tag: str,
    config: Config,
    verify: Sequence[str],
) -> None:
    """Write the notes of a release into the release of its tag, which is made where there is none.

    Args:
        job: Told what is done; the address becomes an output.
        repository: Where the tag is.
        published: What was published.
        found: The verdict that it was published with.
        tag: The tag.
        config: Says where verdicts are kept, and what in a tag is the version.
        verify: The options with which the image is verified.

    Raises:
        StageError: GitHub does not let it be written; the error says what is there all the same.
    """
    from metricgate.github import releases

    image = f"{published.image}@{published.digest}, with its evidence and its tags"
    steps = Steps([image, f"the release of {tag} on GitHub"], job.runner.say, [image])
    with steps.step(steps.all[1]):
        doing = "list the tags"
        commits = repository.ask(
            lambda handle: {each.name: each.commit.sha for each in itertools.islice(handle.get_tags(), _MOST_TAGS)}, doing=doing
        )
        context = Context(ref=f"refs/tags/{tag}", sha=published.commit, time=datetime.fromtimestamp(0, tz=timezone.utc))
        asked = rules.parse(job.settings.rules or config.publish.rules or rules.DEFAULT)
        place = succession.place(context, commits, rules=asked)
        text = notes.render(
            published,
            found.report,
            metrics=metrics(found),
            previous=_previous(job, config, place.previous, commits.get(place.previous or "")),
            verify=verify,
        )
        released = releases.publish(
            repository,
            releases.Wanted(
                tag=tag,
                commit=published.commit,
                title=tag,
                model=config.name,
                notes=text,
                prerelease=place.prerelease,
                latest=place.newest,
            ),
        )
    job.runner.output("release-url", released.url)
    what = "written" if released.changed else "as it should be"
    draft = ", a draft that somebody has to publish" if released.draft else ""
    job.runner.say(f"the release of {tag} is {what}{draft}: {released.url}")


def metrics(found: Candidate) -> dict[str, float]:
    """What the run whose model it is says about itself."""
    return {name: metric.value for name, metric in found.run.metrics.items()}


def _previous(job: Job, config: Config, tag: str | None, commit: str | None) -> Previous | None:
    """The release before, as far as its verdict is still kept; the notes need not have it."""
    if tag is None or commit is None:
        return None
    try:
        store = recorded.store_of(job, config)
        judged = store.judged(config.name, commit) if store else None
    except MetricgateError as error:
        job.runner.say(f"the verdict of {tag} can't be read: {error.found}")
        return None
    return Previous(version=tag, report=judged.report) if judged else None
