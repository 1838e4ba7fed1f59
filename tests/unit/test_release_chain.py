"""The chain from the data to the image: what fits together, and which link says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evidence_scene import COMMIT, FILES, REPOSITORY, digest, known

from metricgate.release import chain, facts, stated, statements
from metricgate.release.chain import Chain, Link, Seen
from metricgate.release.stated import Stated
from metricgate.report.document import Report, SideInfo, Waiver

HASHES = {name: digest(content) for name, content in FILES.items()}
IMAGE = digest("the image")
Change = Callable[[dict[str, Any]], object]


def _seen(**changes: Any) -> Seen:
    told = replace(known(HASHES), **changes.pop("facts", {}))
    labels = facts.labels(
        model=told.model_digest,
        verdict=told.report.verdict,
        report=told.report_digest,
        policy=told.policy,
        test_set=told.test_set,
        baseline=told.baseline,
    )
    return Seen(**{"digest": IMAGE, "labels": {facts.REVISION: COMMIT, **labels}, "files": HASHES, **changes})


def _labels() -> dict[str, str]:
    return dict(_seen().labels or {})


def _stated(*, leave_out: tuple[str, ...] = (), change: dict[str, Change] | None = None, **changes: Any) -> list[Stated]:
    found = []
    for each in statements.all_of(replace(known(HASHES), **{"image_digest": IMAGE, **changes})):
        if each.name not in leave_out:
            document = json.loads(each.content)
            if change and each.name in change:
                change[each.name](document)
            found.append(Stated(kind=stated.kind_of(document), digest=each.digest, document=document))
    return found


def _link(found: Chain, name: str) -> Link:
    return next(link for link in found.links if link.name == name)


def _first(found: Chain) -> Link:
    assert found.first is not None
    return found.first


def test_every_link_of_a_release_holds() -> None:
    found = chain.judge(_seen(), _stated(), repository=REPOSITORY)
    assert [link.name for link in found.links] == ["data", "run", "model", "verdict", "image", "smoke test", "contents"]
    assert {link.state for link in found.links} == {"ok"}
    assert found.first is None
    assert not found.notes


def test_the_order_in_which_statements_are_found_does_not_matter() -> None:
    assert chain.judge(_seen(), _stated()[::-1]) == chain.judge(_seen(), _stated())


def test_without_any_statement_every_link_is_missing() -> None:
    found = chain.judge(_seen(), [])
    assert {link.state for link in found.links} == {"missing"}


@pytest.mark.parametrize(
    ("left_out", "link"),
    [
        (statements.TRAINING, "run"),
        (statements.MODEL, "model"),
        (statements.VERDICT, "verdict"),
        (statements.IMAGE, "image"),
        (statements.SMOKE, "smoke test"),
        (statements.SBOM, "contents"),
        (statements.ML_BOM, "contents"),
    ],
)
def test_a_missing_statement_is_named(left_out: str, link: str) -> None:
    found = _link(chain.judge(_seen(), _stated(leave_out=(left_out,))), link)
    assert found.state == "missing"
    assert left_out.rsplit(maxsplit=1)[-1] in found.says


@pytest.mark.parametrize("kind", [statements.TRAINING, statements.MODEL, statements.VERDICT, statements.IMAGE, statements.SBOM])
def test_a_statement_whose_signature_does_not_hold_breaks_its_link_and_says_why(kind: str) -> None:
    good = _stated(leave_out=(kind,))
    found = chain.judge(_seen(), [*good, Stated(kind=kind, document={}, problem="its signature does not match")])
    assert "its signature does not match" in _first(found).says
    assert _first(found).state == "broken"


def test_a_bad_statement_beside_a_good_one_is_told_and_breaks_nothing() -> None:
    bad = Stated(kind=statements.VERDICT, document={}, problem="it is signed with another key")
    found = chain.judge(_seen(), [*_stated(), bad, Stated(kind="", document={}, problem="it is no Sigstore bundle")])
    assert found.first is None
    assert any("it is signed with another key" in note for note in found.notes)
    assert any("it is no Sigstore bundle" in note for note in found.notes)


def test_data_that_was_not_declared_is_not_claimed_and_breaks_nothing() -> None:
    run = known(HASHES).run
    run = run.model_copy(update={"fingerprints": run.fingerprints.model_copy(update={"data": None})})
    found = chain.judge(_seen(), _stated(run=run))
    assert _link(found, "data").state == "untold"
    assert found.first is None


def test_a_smoke_test_that_was_not_made_is_not_claimed() -> None:
    found = chain.judge(_seen(), _stated(smoke=None))
    assert _link(found, "smoke test").state == "untold"
    assert found.first is None


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**HASHES, "saved_model.pb": digest("other")}, "saved_model.pb has other bytes"),
        ({**HASHES, "extra.py": digest("extra")}, "extra.py was added"),
        ({"saved_model.pb": HASHES["saved_model.pb"]}, "variables/variables.data is missing"),
    ],
)
def test_a_model_that_is_not_the_one_that_was_signed_is_found_by_its_file(files: dict[str, str], words: str) -> None:
    first = _first(chain.judge(_seen(files=files), _stated()))
    assert (first.name, first.state) == ("model", "broken")
    assert words in first.says


def test_a_training_of_another_model_is_named_where_everything_else_is_about_this_one() -> None:
    other = next(each for each in _stated(model_digest=digest("another model")) if each.kind == statements.TRAINING)
    first = _first(chain.judge(_seen(), [*_stated(leave_out=(statements.TRAINING,)), other]))
    assert first.name == "run"
    assert "another model" in first.says
    assert "was trained" in _link(chain.judge(_seen(), [*_stated(leave_out=(statements.TRAINING,)), other]), "model").says


def test_a_model_that_nobody_trained_is_named_where_nothing_else_knows_it() -> None:
    other = {"saved_model.pb": digest("another")}
    signature = next(each for each in _stated(model_files=other) if each.kind == statements.MODEL)
    found = chain.judge(_seen(files=other), [*_stated(leave_out=(statements.MODEL,)), signature])
    assert _link(found, "run").state == "broken"
    assert _link(found, "verdict").state == "broken"


@pytest.mark.parametrize("kind", [statements.VERDICT, statements.IMAGE, statements.SMOKE, statements.SBOM, statements.ML_BOM])
def test_a_statement_about_another_image_does_not_count_for_this_one(kind: str) -> None:
    replayed = next(each for each in _stated(image_digest=digest("another image")) if each.kind == kind)
    first = _first(chain.judge(_seen(), [*_stated(leave_out=(kind,)), replayed]))
    assert first.state == "broken"
    assert "about another image" in first.says
    assert stated.short(digest("another image")) in first.says


def test_a_statement_about_another_image_beside_the_right_one_is_told() -> None:
    replayed = next(each for each in _stated(image_digest=digest("another image")) if each.kind == statements.VERDICT)
    found = chain.judge(_seen(), [*_stated(), replayed])
    assert found.first is None
    assert any("about another image" in note for note in found.notes)


def _fail(document: dict[str, Any]) -> None:
    predicate = document["predicate"]
    predicate["result"] = "FAILED"
    predicate["failedTests"], predicate["passedTests"] = predicate["passedTests"], []


def test_two_verdicts_that_contradict_each_other_break_the_chain() -> None:
    failed = next(each for each in _stated(change={statements.VERDICT: _fail}) if each.kind == statements.VERDICT)
    first = _first(chain.judge(_seen(), [*_stated(), failed]))
    assert first.name == "verdict"
    assert "contradict each other: one says FAILED and one PASSED" in first.says


def test_two_trainings_of_the_same_model_from_different_data_break_the_chain() -> None:
    run = known(HASHES).run
    run = run.model_copy(update={"fingerprints": run.fingerprints.model_copy(update={"data": digest("other data")})})
    first = _first(chain.judge(_seen(), [*_stated(), *_stated(run=run)]))
    assert first.name == "run"
    assert "contradict" in first.says


def test_a_release_that_was_run_again_by_another_job_contradicts_nothing() -> None:
    again = replace(known(HASHES).job, url=f"{REPOSITORY}/actions/runs/13")
    smoke = {"exchanges": 3, "p50_ms": 7.5}
    found = chain.judge(_seen(), [*_stated(), *_stated(job=again, training=again, smoke=smoke)])
    assert found.first is None


@pytest.mark.parametrize("kind", [statements.TRAINING, statements.VERDICT, statements.SMOKE, statements.SBOM, statements.IMAGE])
def test_what_an_earlier_attempt_left_behind_in_part_does_not_matter_once_all_is_there(kind: str) -> None:
    again = replace(known(HASHES).job, url=f"{REPOSITORY}/actions/runs/13")
    for whole, part in ((_stated(), _stated(job=again, training=again)), (_stated(job=again, training=again), _stated())):
        remains = [each for each in part if each.kind != kind]
        assert chain.judge(_seen(), [*whole, *remains]).first is None


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_a_failed_verdict_that_nobody_accepted_breaks_the_chain(verdict: Any) -> None:
    report = _failed(verdict)
    first = _first(chain.judge(_seen(facts={"report": report}), _stated(report=report)))
    assert first.name == "verdict"
    assert "nobody accepted" in first.says


def test_a_failed_verdict_that_somebody_accepted_for_this_commit_holds_and_names_them() -> None:
    waiver = Waiver(by="octocat", at="2026-10-31T09:00:00Z", commit=COMMIT)
    report = _failed("fail").waived(waiver)
    found = chain.judge(_seen(facts={"report": report}), _stated(report=report, waiver=waiver))
    assert found.first is None
    assert "octocat" in _link(found, "verdict").says
    other = waiver.model_copy(update={"commit": "d" * 40})
    first = _first(chain.judge(_seen(facts={"report": report}), _stated(report=report, waiver=other)))
    assert "another commit" in first.says


def _failed(verdict: Any) -> Report:
    rule = known(HASHES).report.rules[0].model_copy(update={"outcome": verdict})
    code: Any = {"fail": 1, "inconclusive": 3}[verdict]
    return Report(
        verdict=verdict, exit_code=code, baseline=SideInfo(commit="b" * 40), candidate=SideInfo(), rules=(rule,), alpha=0.05
    )


def test_a_verdict_whose_result_is_not_what_its_rules_say_breaks_the_chain() -> None:
    def polish(document: dict[str, Any]) -> None:
        document["predicate"]["result"] = "PASSED"

    report = _failed("fail")
    found = _stated(report=report, change={statements.VERDICT: polish})
    assert "contradicts itself" in _link(chain.judge(_seen(facts={"report": report}), found), "verdict").says


def test_a_warned_verdict_holds() -> None:
    report = known(HASHES).report.model_copy(update={"warnings": ("the test set is small",)})
    found = chain.judge(_seen(), _stated(report=report))
    assert _link(found, "verdict").says.startswith("WARNED")
    assert found.first is None


_DIGESTS = {"policy": "policy", "test_set": "test set", "baseline": "baseline", "report_digest": "report"}
_SAYERS = [statements.VERDICT, statements.IMAGE, statements.ML_BOM, "label"]


@pytest.mark.parametrize(
    ("fact", "what", "kind"),
    # The model card does not name the report.
    [(*each, kind) for each in _DIGESTS.items() for kind in _SAYERS if (each[1], kind) != ("report", statements.ML_BOM)],
)
def test_a_digest_that_is_not_the_same_everywhere_breaks_the_verdict(fact: str, what: str, kind: str) -> None:
    other: dict[str, Any] = {fact: digest("another")}
    if kind == "label":
        found = chain.judge(_seen(facts=other), _stated())
    else:
        changed = next(each for each in _stated(**other) if each.kind == kind)
        found = chain.judge(_seen(), [*_stated(leave_out=(kind,)), changed])
    link = _link(found, "verdict")
    assert link.state == "broken"
    assert f"the {what} is not the same everywhere" in link.says


def test_a_baseline_that_only_one_side_knows_breaks_the_verdict() -> None:
    changed = next(each for each in _stated(baseline=None) if each.kind == statements.VERDICT)
    link = _link(chain.judge(_seen(), [*_stated(leave_out=(statements.VERDICT,)), changed]), "verdict")
    assert "the verdict says nothing" in link.says


@pytest.mark.parametrize("name", [facts.REVISION, f"{facts.LABEL}model", f"{facts.LABEL}policy", f"{facts.LABEL}verdict"])
def test_a_label_that_does_not_agree_is_named(name: str) -> None:
    labels = {**_labels(), name: "something else"}
    found = chain.judge(_seen(labels=labels), _stated())
    assert _first(found).state == "broken"
    assert "something else" in _first(found).says
    assert _link(found, "image").state == "broken"


def test_a_label_of_ours_that_is_gone_is_named() -> None:
    labels = {name: value for name, value in _labels().items() if name != f"{facts.LABEL}test-set"}
    assert "test-set says nothing" in _link(chain.judge(_seen(labels=labels), _stated()), "image").says


def test_a_label_of_ours_that_nobody_stated_is_named() -> None:
    labels = {**_labels(), f"{facts.LABEL}baseline": digest("baseline")}
    link = _link(chain.judge(_seen(labels=labels), _stated(baseline=None)), "image")
    assert "baseline says" in link.says
    assert "the image's provenance says nothing" in link.says


def test_a_verdict_that_is_not_the_one_on_the_label_breaks_the_verdict() -> None:
    labels = {**_labels(), f"{facts.LABEL}verdict": "inconclusive"}
    link = _link(chain.judge(_seen(labels=labels), _stated()), "verdict")
    assert link.says == "the verdict is not the same everywhere: the verdict says pass, the image's label says inconclusive"


def test_a_model_card_of_another_model_breaks_the_model() -> None:
    def rename(document: dict[str, Any]) -> None:
        for each in document["predicate"]["metadata"]["component"]["properties"]:
            if each["name"] == "metricgate:model":
                each["value"] = digest("another")

    link = _link(chain.judge(_seen(), _stated(change={statements.ML_BOM: rename})), "model")
    assert "the model is not the same everywhere" in link.says
    assert "the model card says" in link.says


def test_labels_that_are_not_about_the_chain_are_free() -> None:
    labels = {**_labels(), "org.opencontainers.image.title": "digits", f"{facts.LABEL}team": "vision"}
    assert chain.judge(_seen(labels=labels), _stated()).first is None


def test_an_image_of_another_commit_than_its_training_breaks_the_chain() -> None:
    changed = next(each for each in _stated(commit="d" * 40) if each.kind == statements.IMAGE)
    first = _first(chain.judge(_seen(), [*_stated(leave_out=(statements.IMAGE,)), changed]))
    assert "the commit is not the same everywhere" in first.says


def test_an_image_that_says_it_is_from_another_repository_than_its_signature_breaks_the_chain() -> None:
    first = _first(chain.judge(_seen(), _stated(), repository="https://github.com/evil/model"))
    assert first.name == "image"
    assert "signed in https://github.com/evil/model" in first.says
    longer = chain.judge(_seen(), _stated(), repository="https://github.com/acme/mode")
    assert longer.first is not None


@pytest.mark.parametrize(("name", "link"), [("verdict", "image"), ("model", "image")])
def test_an_image_that_names_another_model_or_verdict_breaks_the_chain(name: str, link: str) -> None:
    def point_elsewhere(document: dict[str, Any]) -> None:
        for each in document["predicate"]["buildDefinition"]["resolvedDependencies"]:
            if each["name"] == name:
                each["digest"]["sha256"] = "0" * 64

    found = chain.judge(_seen(), _stated(change={statements.IMAGE: point_elsewhere}))
    assert _link(found, link).state == "broken"


def test_a_verdict_about_another_training_breaks_the_chain() -> None:
    def point_elsewhere(document: dict[str, Any]) -> None:
        for each in document["predicate"]["configuration"]:
            if each["name"] == "training":
                each["digest"]["sha256"] = "0" * 64

    found = chain.judge(_seen(), _stated(change={statements.VERDICT: point_elsewhere}))
    assert "another training" in _link(found, "verdict").says


@pytest.mark.parametrize("kind", [statements.SMOKE, statements.SBOM, statements.ML_BOM])
def test_a_statement_that_the_provenance_of_the_image_does_not_name_breaks_the_chain(kind: str) -> None:
    changed = [replace(each, digest=digest("other bytes")) if each.kind == kind else each for each in _stated()]
    assert "not the one that the image's provenance names" in _first(chain.judge(_seen(), changed)).says


def test_a_smoke_test_that_did_not_pass_breaks_the_chain() -> None:
    found = chain.judge(_seen(), _stated(smoke={"exchanges": 3, "result": "FAILED"}))
    assert _first(found).name == "smoke test"


def test_damage_is_named_before_anything_else_about_a_link() -> None:
    found = chain.judge(_seen(damaged=("the layer sha256:1234 is damaged",)), _stated())
    assert _first(found) == Link("image", "broken", "the layer sha256:1234 is damaged")
    found = chain.judge(_seen(files={}, model_damaged="the last layer is damaged"), _stated())
    assert Link("model", "broken", "the last layer is damaged") in found.links


def test_an_image_without_a_model_says_so() -> None:
    assert _link(chain.judge(_seen(files={}), _stated()), "model").says == "the last layer of the image holds no model"


def test_what_was_allowed_is_told() -> None:
    found = chain.judge(_seen(), _stated(stale=("the baseline moved on",), code=("model.keras: a Lambda layer",)))
    assert found.first is None
    assert set(found.notes) == {
        "published although stale: the baseline moved on",
        "the model brings code: model.keras: a Lambda layer",
    }


def test_a_model_that_is_one_file_is_known_by_the_digest_of_that_file() -> None:
    one = {"model.keras": digest("weights")}
    told: dict[str, Any] = {"model_files": one, "model_digest": digest("weights")}
    found = chain.judge(_seen(files=one, facts=told), _stated(**told))
    assert found.first is None
    changed = chain.judge(_seen(files={"model.keras": digest("other")}, facts=told), _stated(**told))
    assert _first(changed).says == "the model in the image is not the one that was signed: the model is another file"


def test_a_folder_with_one_file_is_not_the_model_that_is_this_file() -> None:
    one = {"model.keras": digest("weights")}
    assert stated.model_digests(one) == (stated.model_digests(one)[0], digest("weights"))
    assert stated.model_digests(one)[0] != digest("weights")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_PATHS = st.sampled_from(
    [
        ("predicate",),
        ("subject",),
        ("predicate", "configuration"),
        ("predicate", "buildDefinition"),
        ("predicate", "buildDefinition", "resolvedDependencies"),
        ("predicate", "buildDefinition", "internalParameters"),
        ("predicate", "runDetails"),
        ("predicate", "resources"),
        ("predicate", "serialization"),
        ("predicate", "metadata"),
        ("predicate", "result"),
    ]
)


@given(kind=st.sampled_from([each.kind for each in _stated()]), path=_PATHS, value=_JSON)
def test_whatever_stands_in_a_signed_statement_the_chain_is_judged(kind: str, path: tuple[str, ...], value: object) -> None:
    def change(document: dict[str, Any]) -> None:
        *way, last = path
        inside: Any = document
        for name in way:
            inside = inside.get(name)
            if not isinstance(inside, dict):
                return
        if last in inside:
            inside[last] = value

    judged = chain.judge(_seen(), _stated(change={kind: change}))
    assert len(judged.links) == 7
    json.dumps([link.says for link in judged.links])
