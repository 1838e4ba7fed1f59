"""What can be typed behind ``metricgate tags``, ``publish`` and ``verify``."""

from __future__ import annotations

import argparse
from pathlib import Path

from metricgate import options


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of a release."""
    _add_tags(commands)
    _add_publish(commands)
    _add_verify(commands)


def _add_tags(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tags = options.command(
        commands,
        "tags",
        "print what the images of a release would be called; touches nothing",
        "metricgate tags --ref refs/tags/v1.2.3 --sha $(git rev-parse HEAD) --image ghcr.io/acme/model\n"
        "  metricgate tags --image ghcr.io/acme/model --existing 1.3.0 --existing 2.0.0 --json\n"
        "  metricgate tags --image ghcr.io/acme/model --rule type=semver,pattern={{version}} --rule type=sha",
    )
    _naming_options(tags, image_required=True)
    tags.add_argument(
        "--existing", action="append", default=[], metavar="TAG", help="a tag that the registry has; may be repeated"
    )
    tags.add_argument("--json", action="store_true", help="print version, tags, moves and labels as JSON")


def _naming_options(parser: argparse.ArgumentParser, *, image_required: bool) -> None:
    from_config = "" if image_required else " (default: as the configuration says)"
    parser.add_argument("--ref", metavar="REF", help="refs/tags/v1.2.3, refs/heads/main … (default: GITHUB_REF)")
    parser.add_argument("--sha", metavar="COMMIT", help="the commit (default: GITHUB_SHA)")
    parser.add_argument(
        "--image",
        action="append",
        required=image_required,
        default=None if image_required else [],
        metavar="NAME",
        help=f"ghcr.io/owner/model; may be repeated{from_config}",
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="RULE",
        help="as in docker/metadata-action, may be repeated (default: {{version}}, {{major}}.{{minor}} and {{major}})",
    )
    parser.add_argument("--flavor", action="append", default=[], metavar="FLAVOR", help="latest=auto, prefix=…, suffix=…")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="one more label; may be repeated")
    parser.add_argument("--default-branch", default="", metavar="BRANCH", help="for type=edge and {{is_default_branch}}")


def _add_publish(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    publish = options.command(
        commands,
        "publish",
        "put the model of a tagged commit into an image: find its verdict, build, test, push, sign, tag",
        "metricgate publish --ref refs/tags/v1.2.3 --sha $(git rev-parse HEAD) --image ghcr.io/acme/model --key key.pem\n"
        "  metricgate publish --dry-run --image localhost:5000/model     # builds and tests, shows what would move",
    )
    options.config(publish)
    _naming_options(publish, image_required=False)
    publish.add_argument(
        "--model", type=Path, metavar="PATH", help="the model's file or folder, checked by its digest (default: the kept one)"
    )
    publish.add_argument("--golden", type=Path, metavar="FILE", help="golden.jsonl of the run (default: the recorded one)")
    publish.add_argument("--store", metavar="FOLDER", help="where runs are recorded (default: as the configuration says)")
    publish.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="an EC private key, PEM (default: METRICGATE_SIGNING_KEY; in a GitHub job with `id-token: write`, none is needed)",
    )
    publish.add_argument(
        "--allow-stale", action="store_true", help="publish although the verdict is stale; the evidence says so"
    )
    publish.add_argument("--dry-run", action="store_true", help="build and test, show what would move, publish nothing")
    publish.add_argument("--json", action="store_true", help="print what was published as JSON")


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = options.command(
        commands,
        "verify",
        "walk the evidence of an image: which data, code and verdict its model comes from, and who signed that",
        "metricgate verify ghcr.io/acme/model:1.2.3 --key metricgate.pub\n"
        "  metricgate verify ghcr.io/acme/model:1.2.3 \\\n"
        "    --identity https://github.com/acme/model/.github/workflows/release.yml@refs/tags/v1.2.3\n"
        "  metricgate verify ./image-layout --key metricgate.pub --offline",
    )
    verify.add_argument("image", metavar="IMAGE", help="name:tag, name@sha256:…, or a folder with an OCI image layout")
    who = verify.add_mutually_exclusive_group()
    who.add_argument("--key", type=Path, metavar="FILE", help="the public key, PEM")
    who.add_argument("--identity", metavar="URL", help="who has to have signed: the workflow and its ref, exactly")
    verify.add_argument("--issuer", metavar="URL", help="with --identity: who has to have said so (default: GitHub Actions)")
    verify.add_argument(
        "--repository",
        metavar="URL",
        help="with --identity: the repository whose job has to have signed (default: that of the workflow)",
    )
    verify.add_argument("--model", type=Path, metavar="PATH", help="a file or folder that has to be the model in the image")
    verify.add_argument("--offline", action="store_true", help="ask nobody but the registry; of a layout, nobody at all")
    verify.add_argument("--save", type=Path, metavar="FOLDER", help="copy image and evidence there, to be verified offline")
    verify.add_argument("--json", action="store_true", help="print every link as JSON")
