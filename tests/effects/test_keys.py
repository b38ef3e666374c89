"""A key is read from where only its owner reads, and shows itself nowhere."""

import os
import pickle
import traceback
from pathlib import Path

import pytest

from slurm_bench.effects import keys
from slurm_bench.effects.keys import Key
from slurm_bench.words.errors import UsageError

SECRET = "sk-test-0123456789abcdef"
VARIABLE = "SOME_API_KEY"


def key_file(folder: Path, content: str = SECRET + "\n", mode: int = 0o600) -> Path:
    file = folder / "key"
    file.write_text(content)
    file.chmod(mode)
    return file


def refusal(file: Path | None, environment: dict[str, str] | None = None) -> str:
    """What is said of it, after a look whether the whole traceback keeps the key."""
    with pytest.raises(UsageError) as caught:
        keys.read(VARIABLE, file, environment or {})
    in_package = caught.value.__traceback__
    assert in_package
    shown = traceback.TracebackException(UsageError, caught.value, in_package.tb_next, capture_locals=True)
    assert SECRET not in "".join(shown.format())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_key_of_the_environment() -> None:
    assert keys.read(VARIABLE, None, {VARIABLE: f" {SECRET}\n"}).reveal() == SECRET


def test_the_file_wins(tmp_path: Path) -> None:
    key = keys.read(VARIABLE, key_file(tmp_path, "of-the-file\n"), {VARIABLE: SECRET})
    assert key.reveal() == "of-the-file"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_only_is_read(tmp_path: Path, mode: int) -> None:
    assert keys.read(VARIABLE, key_file(tmp_path, mode=mode), {}).reveal() == SECRET


@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        ("", "missing or empty"),
        (" \n", "missing or empty"),
        (f"{SECRET} {SECRET}", "white space"),
        (f"{SECRET}\n{SECRET}", "white space"),
        (f"{SECRET}é", "character"),
        (SECRET * 1000, "longer"),
    ],
)
def test_what_cannot_be_a_key_is_refused(tmp_path: Path, value: str, flaw: str) -> None:
    of_environment = refusal(None, {VARIABLE: value})
    assert flaw in of_environment and VARIABLE in of_environment
    file = key_file(tmp_path, value)
    of_file = refusal(file, {VARIABLE: SECRET})
    assert flaw in of_file and str(file) in of_file


def test_no_key_at_all_says_where_to_put_one() -> None:
    message = refusal(None)
    assert VARIABLE in message and "key_file" in message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])
def test_a_file_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    message = refusal(key_file(tmp_path, mode=mode))
    assert f"{mode:o}" in message and "chmod 600" in message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing", {VARIABLE: SECRET})


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(key_file(tmp_path))
    assert "link" in refusal(link)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    assert "not a regular file" in refusal(pipe)
    assert "not a regular file" in refusal(tmp_path)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        file = key_file(tmp_path)
        os.chown(file, 12345, 12345)
    else:
        file = Path("/etc/passwd")
    assert "another user" in refusal(file)


def test_a_key_shows_itself_nowhere() -> None:
    key = Key(SECRET)
    shown = [repr(key), str(key), f"{key}", f"{key!s:>40}", repr(vars(key)), repr([key]), f"{key.__dict__}"]
    assert not [text for text in shown if SECRET in text]
    with pytest.raises(TypeError) as caught:
        pickle.dumps(key)
    assert SECRET not in str(caught.value)


def test_a_key_is_taken_out_of_a_text() -> None:
    assert Key(SECRET).redact(f"a {SECRET} and {SECRET}{SECRET}.") == "a <key> and <key><key>."
    assert Key("").redact("nothing to hide") == "nothing to hide"


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_a_stream_is_redacted_whatever_its_pieces(size: int) -> None:
    text = f"data: {SECRET[:3]}{SECRET}, {SECRET[:-1]} {SECRET}{SECRET[:5]}".encode()
    redactor = Key(SECRET).redactor()
    shown = b"".join(redactor.feed(text[at : at + size]) for at in range(0, len(text), size)) + redactor.end()
    assert shown == text.replace(SECRET.encode(), b"<key>")


def test_nothing_is_held_that_cannot_be_the_key() -> None:
    redactor = Key(SECRET).redactor()
    assert redactor.feed(b"data: hello\n\n") == b"data: hello\n\n"
    assert redactor.end() == b""
