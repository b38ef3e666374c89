"""Digests that others publish: they must never come out otherwise."""

import hashlib
from datetime import UTC, datetime

import pytest

from slurm_bench.pure import stamps
from slurm_bench.words.bundles import Stamp
from slurm_bench.words.records import Seal

STAMP = Stamp(
    submission="0002",
    previous="aa",
    confirmation=1,
    files={"b.json": "22", "a.json": "11"},
    stamped_at=datetime(2026, 11, 23, 12, tzinfo=UTC),
)


def test_a_digest_is_that_of_the_canonical_text() -> None:
    text = (
        '{"confirmation":1,"files":{"a.json":"11","b.json":"22"},"previous":"aa",'
        '"stamped_at":"2026-11-23T12:00:00Z","submission":"0002","version":1}'
    )
    assert stamps.digest(STAMP) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"submission": "0003"},
        {"previous": "ab"},
        {"confirmation": None},
        {"files": {"a.json": "11"}},
        {"stamped_at": datetime(2026, 11, 23, 13, tzinfo=UTC)},
    ],
)
def test_every_field_counts(change: dict[str, object]) -> None:
    assert stamps.digest(STAMP.model_copy(update=change)) != stamps.digest(STAMP)


def test_an_origin_is_of_session_configuration_and_starting_record() -> None:
    one, other = Seal(sha256="1", files=()), Seal(sha256="2", files=())
    told = [("id", at, "c", one) for at in (("june", "a"), ("july", "a"), ("june", "b"))]
    told += [("id2", told[0][1], "c", one), ("id", told[0][1], "c2", one), ("id", told[0][1], "c", other)]
    assert len({stamps.origin(*each) for each in told}) == len(told)
