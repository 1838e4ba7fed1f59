"""The chain data → run → model → verdict → image: whether signed statements and an image fit together. Pure.

Each statement names the one before it by digest, and the image's provenance names all. Statements that contradict each other
break the chain, whichever of them is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from metricgate.release import facts, stated, statements
from metricgate.release.stated import Stated, short

State = Literal["ok", "untold", "missing", "broken"]

_NAMES = ("data", "run", "model", "verdict", "image", "smoke test", "contents")
_LABELS = {"policy": "policy", "report": "report", "test set": "test-set", "baseline": "baseline"}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An image as it is.

    Attributes:
        digest: Of its manifest.
        labels: Of its configuration; None where that can't be read.
        files: The files of the model in it: relative name and digest.
        damaged: What is not what the manifest names, a sentence each.
        model_damaged: The same for the layer with the model.
    """

    digest: str
    labels: Mapping[str, str] | None
    files: Mapping[str, str]
    damaged: tuple[str, ...] = ()
    model_damaged: str = ""


@dataclass(frozen=True)
class Link:
    """A link of the chain.

    Attributes:
        name: data, run, model, verdict, image, smoke test or contents.
        state: ok; untold, where nothing was claimed; missing; broken.
        says: Why, in one sentence.
    """

    name: str
    state: State
    says: str

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.state in {"ok", "untold"}


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What was found out about one image.

    Attributes:
        image: The digest of its manifest.
        platform: What it runs on, where it is one of several.
        links: In the order of the chain.
        notes: What the reader should know beside it.
    """

    image: str
    platform: str = ""
    links: tuple[Link, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Link | None:
        """The first link that does not hold."""
        wrong = [link for link in self.links if not link.holds]
        # Without its run, nobody can tell the data either: the run is what is wrong.
        own = [link for link in wrong if link.name != "data"]
        return next(iter(own or wrong), None)


class _WrongError(Exception):
    """A link does not hold."""

    def __init__(self, state: State, says: str) -> None:
        super().__init__(says)
        self.state: State = state
        self.says = says


def judge(seen: Seen, found: Sequence[Stated], *, repository: str | None = None) -> Chain:
    """Walk the chain from the data to the image.

    Args:
        seen: The image.
        found: What lies beside it.
        repository: Where the signature says that it was made; None where it does not say.
    """
    walk = _Walk(seen, found, repository)
    if not any(each.kind for each in found):
        nothing = "nothing that is signed lies beside this image"
        links = tuple(Link(name, "missing", nothing) for name in _NAMES)
        return Chain(image=seen.digest, links=links, notes=tuple(walk.notes()))
    steps = (walk.data, walk.run, walk.model, walk.verdict, walk.image, walk.smoke, walk.contents)
    links = tuple(_link(name, step) for name, step in zip(_NAMES, steps, strict=True))
    return Chain(image=seen.digest, links=links, notes=tuple(walk.notes()))


def _link(name: str, step: Callable[[], tuple[State, str]]) -> Link:
    try:
        return Link(name, *step())
    except _WrongError as wrong:
        return Link(name, wrong.state, wrong.says)


class _Walk:
    def __init__(self, seen: Seen, found: Sequence[Stated], repository: str | None) -> None:
        self._seen = seen
        self._found = sorted(found, key=lambda each: (each.kind, each.digest))
        self._repository = repository
        self._model = frozenset(stated.model_digests(seen.files) if seen.files else ())

    def data(self) -> tuple[State, str]:
        if value := self._training().needed.get("data"):
            return "ok", f"the training data has the digest {short(value)}"
        return "untold", "the training declared no data (`train: {data: …}`), so nothing is claimed about it"

    def run(self) -> tuple[State, str]:
        training = self._training()
        if not training.subjects & self._model and self._is_known():
            raise _WrongError("broken", f"{_the(training.kind)} is about another model, {_names(training.subjects)}")
        commit = self._agree("commit")
        seed = training.at("buildDefinition", "externalParameters", "seed")
        return "ok", f"commit {commit[:7]}, seed {seed}, trained by {training.builder}"

    def model(self) -> tuple[State, str]:
        seen = self._seen
        if seen.model_damaged:
            raise _WrongError("broken", seen.model_damaged)
        if not seen.files:
            raise _WrongError("missing", "the last layer of the image holds no model")
        differences = [stated.unlike(each.document, seen.files) for each in self._of(statements.MODEL)]
        if all(differences):
            raise _WrongError("broken", f"the model in the image is not the one that was signed: {differences[0]}")
        trained = self._training().subjects
        if not trained & self._model:
            told = f"{_names(self._model)} is in the image, {_names(trained)} was trained"
            raise _WrongError("broken", f"the model in the image is not the one that was trained: {told}")
        self._agree("model")
        count = len(seen.files)
        files = f"{count} file{'s'[: count != 1]}"
        return "ok", f"{files} in the image, {_names(trained & self._model)}, as trained and as signed"

    def verdict(self) -> tuple[State, str]:
        verdict = self._about(statements.VERDICT)
        if not verdict.subjects & self._model:
            raise _WrongError("broken", "the verdict is about another model than the one in the image")
        named = {each.configuration.get("training") for each in self._all_about(statements.VERDICT)}
        if not named & {each.digest for each in self._of(statements.TRAINING)}:
            raise _WrongError("broken", "the verdict is about another training than the one that is stated")
        for what in (*_LABELS, "verdict"):
            self._agree(what)
        result = str(verdict.at("result"))
        if (result == "FAILED") != (
            verdict.annotations("report").get("verdict") == "fail" or bool(verdict.items("failedTests"))
        ):
            raise _WrongError(
                "broken", f"the verdict contradicts itself: it is {result}, its report and its rules say otherwise"
            )
        passed, warned = (len(verdict.items(f"{name}Tests")) for name in ("passed", "warned"))
        if result in {"PASSED", "WARNED"}:
            told = f"{result}: {passed} rule{'s'[: passed != 1]} passed, {warned} with a warning"
            return "ok", f"{told}; policy {short(verdict.configuration.get('policy', ''))}"
        waiver = verdict.annotations("waiver")
        if result != "FAILED" or not waiver:
            raise _WrongError("broken", f"the verdict is {result}, and nobody accepted that")
        if waiver.get("commit") != self._agree("commit"):
            raise _WrongError("broken", "the verdict is FAILED, and what was accepted is another commit")
        return "ok", f"{result}, accepted by {waiver.get('by')} on {waiver.get('at')}"

    def image(self) -> tuple[State, str]:
        seen = self._seen
        if seen.damaged:
            raise _WrongError("broken", seen.damaged[0])
        image = self._about(statements.IMAGE)
        if image.needed.get("model") not in self._model:
            raise _WrongError("broken", "the image was built with another model than the one in it")
        named = {each.needed.get("verdict") for each in self._all_about(statements.IMAGE)}
        if not named & {each.digest for each in self._of(statements.VERDICT)}:
            raise _WrongError("broken", "the image was built for another verdict than the one that is stated")
        self._agree("commit")
        self._check_labels(image)
        source = str(image.at("buildDefinition", "externalParameters", "source"))
        if self._repository and not source.startswith(f"git+{self._repository}@"):
            raise _WrongError("broken", f"the image says that it is from {source}; it was signed in {self._repository}")
        return "ok", f"{short(seen.digest)} built by {image.builder}; its labels agree"

    def smoke(self) -> tuple[State, str]:
        if not (self._named(statements.SMOKE) or self._good(statements.SMOKE)):
            return "untold", "no smoke test of this image is stated"
        smoke = self._about(statements.SMOKE, named=True)
        if smoke.at("result") != "PASSED":
            raise _WrongError("broken", "the smoke test did not pass")
        count = smoke.at("exchanges")
        return "ok", f"this very image gave the right answers to {'its' if count is None else count} golden requests"

    def contents(self) -> tuple[State, str]:
        packages = len(self._about(statements.SBOM, named=True).items("components"))
        self._about(statements.ML_BOM, named=True)
        return "ok", f"{packages} package{'s'[: packages != 1]} and the model's metrics are listed"

    def notes(self) -> Iterator[str]:
        """What was allowed, and what lies beside the image and does not count."""
        for each in self._good(statements.IMAGE):
            for name, told in (("stale", "published although stale"), ("code", "the model brings code")):
                yield from (f"{told}: {sentence}" for sentence in each.items("buildDefinition", "internalParameters", name))
        for each in self._found:
            if not each.kind:
                yield f"something else lies beside the image: {each.problem or 'a statement of another kind'}"
            elif each.problem and self._good(each.kind):
                yield f"beside {_the(each.kind)} lies another that does not count: {each.problem}"
            elif not each.problem and self._seen.digest not in each.subjects and each.kind not in _ABOUT_MODELS:
                yield f"beside {_the(each.kind)} lies another about another image, {_names(each.subjects)}"

    def _good(self, kind: str) -> list[Stated]:
        return [each for each in self._found if each.kind == kind and not each.problem]

    def _of(self, kind: str) -> list[Stated]:
        """The statements of a kind whose signature holds."""
        good = self._good(kind)
        if not good:
            bad = next((each for each in self._found if each.kind == kind), None)
            if bad is not None:
                raise _WrongError("broken", f"{_the(kind)} does not count: {bad.problem}")
            raise _WrongError("missing", f"{_the(kind)} is missing")
        return good

    def _about(self, kind: str, *, named: bool = False) -> Stated:
        """What is said about this image; where its provenance names a statement of this kind, by that one."""
        about = self._all_about(kind)
        names = self._named(kind)
        if named and names and not names & {each.digest for each in about}:
            raise _WrongError("broken", f"{_the(kind)} is not the one that the image's provenance names")
        return about[0]

    def _all_about(self, kind: str) -> list[Stated]:
        """The statements of a kind about this image: more than one where a release was run again."""
        good = self._of(kind)
        about = [each for each in good if self._seen.digest in each.subjects]
        if not about:
            others = _names(frozenset().union(*(each.subjects for each in good)))
            raise _WrongError("broken", f"{_the(kind)} is about another image: {others}, not {short(self._seen.digest)}")
        self._check_same(about)
        return about

    def _training(self) -> Stated:
        good = self._of(statements.TRAINING)
        about = [each for each in good if each.subjects & self._model] or good
        self._check_same(about)
        return about[0]

    def _check_same(self, about: Sequence[Stated]) -> None:
        if len({each.gist for each in about}) > 1:
            results = sorted({str(each.at("result")) for each in about})
            told = f": one says {' and one '.join(results)}" if len(results) > 1 else ""
            raise _WrongError(
                "broken", f"{_the(about[0].kind)} is signed {len(about)} times, and they contradict each other{told}"
            )

    def _named(self, kind: str) -> frozenset[str]:
        """The digests by which the image's provenance names statements of a kind."""
        found = (pair for each in self._good(statements.IMAGE) for pair in each.byproducts)
        return frozenset(value for name, value in found if name == kind)

    def _is_known(self) -> bool:
        """Whether something else that is signed names the model that is in the image."""
        if any(not stated.unlike(each.document, self._seen.files) for each in self._good(statements.MODEL)):
            return True
        images = {each.needed.get("model", "") for each in self._good(statements.IMAGE)}
        return bool(self._model & images.union(*(each.subjects for each in self._good(statements.VERDICT))))

    def _agree(self, what: str) -> str:
        """What everything says about one thing.

        Raises:
            _WrongError: It does not say the same.
        """
        (first, value), *others = self._told(what)
        for who, other in others:
            if other != value:
                shown = f"{first} says {short(value) or 'nothing'}, {who} says {short(other) or 'nothing'}"
                raise _WrongError("broken", f"the {what} is not the same everywhere: {shown}")
        return value

    def _told(self, what: str) -> Iterator[tuple[str, str]]:
        images, labels = self._good(statements.IMAGE), self._seen.labels
        if what == "commit":
            yield from (("the training", each.needed.get("source", "")) for each in self._good(statements.TRAINING))
            yield from (("the image's provenance", each.needed.get("source", "")) for each in images)
            if labels is not None:
                yield "the image's label", labels.get(facts.REVISION, "")
            return
        name = _LABELS.get(what, what)
        for each in self._good(statements.VERDICT):
            if what in _LABELS:
                yield "the verdict", each.configuration.get(what, "")
            elif what == "verdict":
                yield "the verdict", str(each.annotations("report").get("verdict", ""))
        if what == "model":
            yield from (("the image's provenance", each.needed.get("model", "")) for each in images)
        yield from (("the image's provenance", str(each.labels.get(f"{facts.LABEL}{name}", ""))) for each in images)
        if labels is not None:
            yield "the image's label", labels.get(f"{facts.LABEL}{name}", "")
        if what in {"model", "policy", "test set", "baseline"}:
            yield from (("the model card", each.property_of_model(name)) for each in self._good(statements.ML_BOM))

    def _check_labels(self, image: Stated) -> None:
        known = {facts.LABEL + name for name in ("model", "verdict", *_LABELS.values())}
        labels = self._seen.labels or {}
        for name in sorted({*image.labels, *(known & set(labels))}):
            found, said = labels.get(name, "nothing"), str(image.labels.get(name, "nothing"))
            if found != said:
                raise _WrongError("broken", f"the label {name} says {short(found)}, the image's provenance says {short(said)}")


_ABOUT_MODELS = frozenset({statements.TRAINING, statements.MODEL})


def _the(kind: str) -> str:
    said = {statements.TRAINING, statements.VERDICT, statements.SMOKE}
    return (
        f"the {kind}'s provenance" if kind == statements.IMAGE else f"the {kind} statement" if kind in said else f"the {kind}"
    )


def _names(digests: frozenset[str]) -> str:
    return short(min(digests, default="nothing"))
