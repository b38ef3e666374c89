"""What makes upstream's bytes those that the benchmark ran: a few lines each, checked by hash before and after."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rewrite:
    rule: str
    places: int
    """That the rule fits in its file: with more or fewer it is another file."""


@dataclass(frozen=True)
class UpstreamFile:
    """A file of a record."""

    path: str
    """In upstream's repository."""
    sha256: str
    rewrites: tuple[Rewrite, ...] = ()
    result_sha256: str = ""
    """Of what the rewrites make of it; empty without any."""

    @property
    def name(self) -> str:
        """In the record's folder."""
        return self.path.rpartition("/")[2]

    @property
    def final_sha256(self) -> str:
        return self.result_sha256 or self.sha256


@dataclass(frozen=True)
class UpstreamRecord:
    name: str
    commit: str
    files: tuple[UpstreamFile, ...]


class WrongBytes(ValueError):
    """Bytes are not what the tables say."""


# On bytes, line by line, so that line ends and a last line without one stay as they are.
_RULES = {
    "R1": (rb"^from kernels import get_kernel(?=\r?$)", rb"from flash_attn_interface import flash_attn_varlen_func"),
    "R2": (rb"^flash_attn_interface = get_kernel\([^\r\n]*(?:\r?\n|\Z)", rb""),
    "R3": (rb"(?<![\w.])flash_attn_interface\.(?=flash_attn_varlen_func\()", rb""),
    "R4": (rb"^([ \t]*aux_desc\.store\([^\r\n]*)\)(?=\r?$)", rb"\1.to(dtype))"),
    "own": (
        rb'^([ \t]*os\.makedirs\()"logs"(, exist_ok=True\))(\r?\n)([ \t]*logfile = [^\r\n]*)',
        rb"\4\3\1os.path.dirname(logfile)\2",
    ),
}


def parse(text: str) -> tuple[Rewrite, ...]:
    """The rewrites of a row: `R1x1+R3x2`, or `own` for one place.

    Raises:
        ValueError: a rule that is none.
    """
    found = [re.fullmatch(r"(R\d|own)(?:x(\d+))?", part) for part in text.split("+")]
    if not all(match and match[1] in _RULES for match in found):
        raise ValueError(f"{text!r} names an unknown rewrite rule")
    return tuple(Rewrite(match[1], int(match[2] or 1)) for match in found if match)


def rewritten(data: bytes, rewrites: Iterable[Rewrite]) -> bytes:
    """
    Raises:
        WrongBytes: a rule does not fit in as many places as it should.
    """
    for each in rewrites:
        pattern, replacement = _RULES[each.rule]
        data, places = re.subn(pattern, replacement, data, flags=re.MULTILINE)
        if places != each.places:
            raise WrongBytes(f"rewrite rule {each.rule} fits in {places} places, not in {each.places}")
    return data


def benchmark_bytes(file: UpstreamFile, upstream: bytes) -> bytes:
    """What the benchmark ran, from upstream's bytes.

    Raises:
        WrongBytes: those are not upstream's, or the result is not what the benchmark ran.
    """
    _check(file.name, upstream, file.sha256)
    result = rewritten(upstream, file.rewrites)
    _check(f"{file.name} after its rewrites", result, file.final_sha256)
    return result


def _check(what: str, data: bytes, sha256: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WrongBytes(f"{what} has the SHA-256 {found[:12]}…, not {sha256[:12]}…")
