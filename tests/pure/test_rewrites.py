"""Each rewrite rule on small texts of the same shapes: exactly those bytes, or a refusal."""

import hashlib

import pytest

from slurm_bench.pure.rewrites import Rewrite, UpstreamFile, WrongBytes, benchmark_bytes, parse, rewritten

IMPORT = b"from kernels import get_kernel\n"
DIRECT = b"from flash_attn_interface import flash_attn_varlen_func\n"
ASSIGNED = b"flash_attn_interface = get_kernel('someone/attention').flash_attn_interface\n"
CALL = b"        y = flash_attn_interface.flash_attn_varlen_func(q[0], k[0],  \n            causal=True)\n"
DIRECT_CALL = b"        y = flash_attn_varlen_func(q[0], k[0],  \n            causal=True)\n"
STORE = b"    aux_desc.store([row, column + SIZE // 2], value)\n"
CAST_STORE = b"    aux_desc.store([row, column + SIZE // 2], value.to(dtype))\n"
FOLDER = b'    os.makedirs("logs", exist_ok=True)\n    logfile = f"logs/{name}.txt"\n'
OWN_FOLDER = b'    logfile = f"logs/{name}.txt"\n    os.makedirs(os.path.dirname(logfile), exist_ok=True)\n'

SHAPES = [
    ("R1x1", IMPORT, DIRECT),
    ("R2x1", ASSIGNED, b""),
    ("R3x1", CALL, DIRECT_CALL),
    ("R4x1", STORE, CAST_STORE),
    ("own", FOLDER, OWN_FOLDER),
]


@pytest.mark.parametrize(("rule", "before", "after"), SHAPES)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("last", [False, True], ids=["in-the-middle", "last-without-newline"])
def test_a_rule_changes_its_lines_and_no_other_byte(
    rule: str, before: bytes, after: bytes, end: bytes, last: bool
) -> None:
    head, tail = b"# \xff\xfe odd bytes \t \n\n", b"\n\t# after\n\n"
    text, wanted = head + before + tail, head + after + tail
    if last:
        text, wanted = (head + before)[:-1], (head + after)[: -1 if after else None]
    assert rewritten(text.replace(b"\n", end), parse(rule)) == wanted.replace(b"\n", end)


@pytest.mark.parametrize(("rule", "before", "after"), SHAPES)
def test_a_rule_has_to_fit_as_often_as_the_table_says(rule: str, before: bytes, after: bytes) -> None:
    name = rule.removesuffix("x1")
    assert rewritten(before + b"# between\n" + before, [Rewrite(name, 2)]) == after + b"# between\n" + after
    with pytest.raises(WrongBytes, match=rf"{name} fits in 2 places, not in 1"):
        rewritten(before + b"# between\n" + before, [Rewrite(name, 1)])
    with pytest.raises(WrongBytes, match=rf"{name} fits in 0 places, not in 1"):
        rewritten(b"# nothing of that kind\n", [Rewrite(name, 1)])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("R1", b"# from kernels import get_kernel\n"),
        ("R1", b"from kernels import get_kernel, more\n"),
        ("R1", b"    from kernels import get_kernel\n"),
        ("R2", b"other = get_kernel('flash_attn_interface = get_kernel(')\n"),
        ("R3", b"x = flash_attn_interface.flash_attn_func(q)\n"),
        ("R3", b"x = my.flash_attn_interface.flash_attn_varlen_func(q)\n"),
        ("R3", b"x = not_flash_attn_interface.flash_attn_varlen_func(q)\n"),
        ("R4", b"    c_desc.store([row, column], value)\n"),
        ("R4", b"    aux_desc.load([row, column])\n"),
        ("own", b'os.makedirs("logs", exist_ok=True)\nprint()\nlogfile = "x"\n'),
        ("own", b'os.makedirs(f"logs/{name}", exist_ok=True)\nlogfile = "x"\n'),
    ],
)
def test_what_only_looks_alike_stays(rule: str, text: bytes) -> None:
    assert rewritten(text, [Rewrite(rule, 0)]) == text


def test_all_rules_of_a_row() -> None:
    before = IMPORT + b"import torch\n\n" + ASSIGNED + b"\n" + CALL + CALL + STORE + STORE
    after = DIRECT + b"import torch\n\n\n" + DIRECT_CALL + DIRECT_CALL + CAST_STORE + CAST_STORE
    assert rewritten(before, parse("R1x1+R2x1+R3x2+R4x2")) == after


def test_rows_are_parsed() -> None:
    assert parse("R1x1+R3x12") == (Rewrite("R1", 1), Rewrite("R3", 12))
    assert parse("own") == (Rewrite("own", 1),)


@pytest.mark.parametrize("text", ["", "R9x1", "R1x1+", "R1x1,R2x1", "Rx1", "own+new"])
def test_no_unknown_rule(text: str) -> None:
    with pytest.raises(ValueError, match="unknown rewrite rule"):
        parse(text)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_bytes_are_checked_before_and_after() -> None:
    file = UpstreamFile("folder/train_gpt.py", sha256(IMPORT), parse("R1x1"), sha256(DIRECT))
    assert (file.name, file.final_sha256) == ("train_gpt.py", sha256(DIRECT))
    assert benchmark_bytes(file, IMPORT) == DIRECT
    with pytest.raises(WrongBytes, match=r"^train_gpt\.py has the SHA-256"):
        benchmark_bytes(file, IMPORT + b"\n")
    other = UpstreamFile("train_gpt.py", sha256(IMPORT), parse("R1x1"), sha256(CALL))
    with pytest.raises(WrongBytes, match=r"^train_gpt\.py after its rewrites has the SHA-256"):
        benchmark_bytes(other, IMPORT)


def test_a_file_without_rewrites_stays() -> None:
    file = UpstreamFile("train_gpt.py", sha256(b"a\r\n"))
    assert benchmark_bytes(file, b"a\r\n") == b"a\r\n"
