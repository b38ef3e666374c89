from slurm_bench.pure.plain import one_line, printable


def test_nothing_commands_a_terminal() -> None:
    assert printable("a\x1b]0;owned\x07b\n\tc\x9b2J") == "a\ufffd]0;owned\ufffdb\n\tc\ufffd2J"


def test_nothing_that_no_file_takes() -> None:
    assert printable("\ud800é").encode() == "\ufffdé".encode()


def test_a_line_stays_one_and_short() -> None:
    assert one_line("failed\n12:00:00 submission 0009: accepted\r\n") == "failed 12:00:00 submission 0009: accepted"
    assert one_line("x" * 1000) == "x" * 300
