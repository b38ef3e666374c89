"""scripts/build_image in a copy of the tree: what it refuses, and a tiny image with pins and variants."""

import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.conftest import IMAGE, REPOSITORY
from tests.waiting import LONG_S

pytestmark = pytest.mark.apptainer

TINY = """\
# base: rehearsal
# mksquashfs: -comp lz4 -b 64K

Bootstrap: localimage
From: {{ base }}

%files
    {{ wheels }} /wheels
    {{ folder }} /opt/tiny
    {{ hub }} /opt/hub

%post
    set -eu
    python3 -m zipfile -e /wheels/*.whl /opt/tiny
    # Smaller, so that the test is over sooner.
    rm -rf /wheels /usr/local/lib/python3.11 /usr/lib/x86_64-linux-gnu/perl*

%environment
    export LC_ALL=C.UTF-8 {{ environment }}

%test
    set -e
    cd /opt/tiny
    values=$(python3 -c 'import given, pinned; print(given.VALUE, pinned.VALUE)')
    echo "$values; $(ls /opt/hub) $FIRST$SECOND"

%labels
    title {{ title }}
    revision {{ revision }}
"""
PINS = """\
# A pins file.
title: tiny, with: {title}
python: 3.11
pip: --no-index
wheel: {wheel}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The script and its lowest image alone; of the definitions only a tiny one, without pins."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "containers" / "tiny").mkdir(parents=True)
    shutil.copy2(REPOSITORY / "scripts" / "build_image", tmp_path / "scripts")
    (tmp_path / "containers" / "rehearsal.sif").symlink_to(IMAGE)
    (tmp_path / "containers" / "tiny.def").write_text(TINY)
    (tmp_path / "containers" / "tiny" / "given.py").write_text("VALUE = 'given'\n")
    return tmp_path


def pin(tree: Path, name: str, **values: str) -> None:
    """containers/NAME.pins with a wheel of one module, whose VALUE is the pins' title."""
    title = values.pop("title", name)
    wheel = tree / "wheels" / name / "pinned-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pinned.py", f"VALUE = {title!r}\n")
        archive.writestr("pinned-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pinned\nVersion: 1.0\n")
        archive.writestr("pinned-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("pinned-1.0.dist-info/RECORD", "")
    text = PINS.format(title=title, wheel=values.pop("wheel", str(wheel)))
    text += "".join(f"{key}: {value}\n" for key, value in values.items())
    (tree / "containers" / f"{name}.pins").write_text(text)


def build(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [tree / "scripts" / "build_image", *arguments],
        env={**os.environ, "TMPDIR": str(tree)},
        capture_output=True,
        text=True,
        timeout=LONG_S,
    )


def refusal(tree: Path, *arguments: str) -> str:
    """What it says in its one line on standard error; nothing may be left behind."""
    before = sorted(tree.rglob("*"))
    done = build(tree, *arguments)
    assert done.returncode == 1, done
    assert sorted(tree.rglob("*")) == before
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_name_without_definition_is_refused(tree: Path) -> None:
    assert "there is no containers/huge.def" in refusal(tree, "huge")


def test_an_unknown_variant_is_refused_and_the_known_ones_are_named(tree: Path) -> None:
    pin(tree, "tiny-second")
    (tree / "containers" / "tiny.def").write_text(TINY.replace("# base: rehearsal\n", ""))
    for words in (("tiny", "third"), ("tiny-third",)):
        assert "there is no containers/tiny-third.pins (but tiny-second.pins)" in refusal(tree, *words)


def test_an_unknown_base_is_refused(tree: Path) -> None:
    assert "the base containers/huge.sif is missing: scripts/build_image huge" in refusal(tree, "tiny", "huge")


def test_too_little_space_is_said_before_anything_is_fetched(tree: Path) -> None:
    pin(tree, "tiny", space="100000 1", wheel="never==1.0")
    said = refusal(tree, "tiny")
    assert re.search(rf"too little space: 9\d+ GB more are needed in {tree} \(TMPDIR\) and 0 GB in containers", said)


def test_a_wheel_that_pip_cannot_find_is_named_with_the_remedy(tree: Path) -> None:
    pin(tree, "tiny", wheel="never==1.0", remedy="take the other variant")
    said = refusal(tree, "tiny")
    assert "never==1.0" in said
    assert said.endswith("; take the other variant\n")


def bring_from_hub(tree: Path, name: str, locked: str) -> None:
    """The folder that scripts/fetch_kernels makes, with one file, and a lock."""
    folder = tree / "containers" / f"{name}.hub" / "someone"
    folder.mkdir(parents=True)
    (folder / "words").write_text("a b ")
    digest = hashlib.sha256(locked.encode()).hexdigest()
    lock = f"# someone {'0' * 40}\n{digest}  someone/words\n"
    (tree / "containers" / f"{name}.lock").write_text(lock)


def test_files_of_the_hub_that_were_not_fetched_are_missed(tree: Path) -> None:
    pin(tree, "tiny-second", hub="someone main words")
    said = refusal(tree, "tiny", "second")
    assert said.endswith(
        "tiny-second.hub is missing: scripts/fetch_kernels tiny-second, on a machine that reaches the hub\n"
    )


@pytest.mark.parametrize(("locked", "further"), [("other", []), ("a b ", ["further"])])
def test_files_of_the_hub_that_are_not_as_locked_are_refused(tree: Path, locked: str, further: list[str]) -> None:
    pin(tree, "tiny", hub="someone main words")
    bring_from_hub(tree, "tiny", locked)
    for name in further:
        (tree / "containers" / "tiny.hub" / name).write_text("")
    assert "containers/tiny.hub does not hold what containers/tiny.lock says" in refusal(tree, "tiny")


def test_an_image_with_files_of_the_hub_and_variables(tree: Path) -> None:
    pin(tree, "tiny", hub="someone main words", environment="FIRST=1\nenvironment: SECOND=2")
    bring_from_hub(tree, "tiny", "a b ")
    done = build(tree, "tiny")
    assert done.returncode == 0, done.stderr
    assert "given tiny; someone 12\n" in done.stdout


def test_a_variant_is_built_from_its_own_pins_and_only_when_something_changed(tree: Path) -> None:
    pin(tree, "tiny")
    pin(tree, "tiny-second", title="the second, with a comma")
    done = build(tree, "tiny", "second")
    assert done.returncode == 0, done.stderr
    assert "given the second, with a comma;  \n" in done.stdout  # nothing of the hub, and no variables
    image = tree / "containers" / "tiny-second.sif"
    labels = subprocess.run(["apptainer", "inspect", image], capture_output=True, text=True).stdout
    assert "title: tiny, with: the second, with a comma" in labels

    # Its digest lies beside it, in the format of sha256sum, and is what is printed.
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    assert Path(f"{image}.sha256").read_text() == f"{digest}  tiny-second.sif\n"
    assert done.stdout.endswith(f"{image}\nsha256:{digest}\n")

    assert "already built" in build(tree, "tiny", "second").stdout
    (tree / "containers" / "tiny" / "given.py").write_text("raise SystemExit(1)\n")
    broken = build(tree, "tiny", "second")
    assert broken.returncode == 1
    assert "the image's %test failed" in broken.stderr
    assert hashlib.sha256(image.read_bytes()).hexdigest() == digest
    left = {path.name for path in (tree / "containers").glob("*.sif*")}
    assert left == {"rehearsal.sif"} | {f"tiny-second.sif{end}" for end in ("", ".inputs", ".lock", ".sha256")}
    assert not list(tree.glob("build_image.*"))
