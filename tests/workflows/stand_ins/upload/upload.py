"""Keeps files as actions/upload-artifact does: patterns with exclusions, no hidden files, relative to their common root."""

import glob
import os
import shutil
import sys
from pathlib import Path


def files(pattern: str) -> set[Path]:
    """The files that a pattern names; a folder stands for all in it that is not hidden."""
    found: set[Path] = set()
    for match in map(Path, glob.glob(pattern, recursive=True)):  # noqa: PTH207 - patterns are absolute
        inside = [match] if match.is_file() else [path for path in match.rglob("*") if path.is_file()]
        shown = os.environ["INCLUDE_HIDDEN_FILES"] == "true"
        found |= {p for p in inside if shown or not any(part.startswith(".") for part in p.relative_to(match.parent).parts)}
    return found


def main() -> None:
    """Copy the files to the shared folder."""
    patterns = [line.strip() for line in os.environ["PATTERNS"].splitlines() if line.strip()]
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    chosen = set().union(*map(files, wanted)) - set().union(*(files(p[1:]) for p in patterns if p.startswith("!")))
    if not chosen and os.environ["IF_NO_FILES_FOUND"] == "error":
        sys.exit(f"no files at {patterns}")
    roots = [path if path.is_dir() else path.parent for path in map(Path, (pattern.split("/*")[0] for pattern in wanted))]
    root = Path(os.path.commonpath(roots))
    target = Path(os.environ["STAND_IN_ARTIFACTS"]) / os.environ["NAME"]
    if target.exists() and os.environ["OVERWRITE"] != "true":
        sys.exit(f"there is an artifact {target.name} already")
    shutil.rmtree(target, ignore_errors=True)
    for file in chosen:
        (target / file.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target / file.relative_to(root))


main()
