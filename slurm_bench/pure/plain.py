"""Text that untrusted programs wrote, made fit for logs, records and a person's terminal."""

_LONGEST_LINE = 300
_HARMLESS = "\n\t\N{NO-BREAK SPACE}"


def printable(text: str) -> str:
    """The text without what commands a terminal, or what no file takes; its lines stay."""
    return "".join(each if each.isprintable() or each in _HARMLESS else "\N{REPLACEMENT CHARACTER}" for each in text)


def odd_line(text: str) -> int | None:
    """Return the number of the first line that is not printable; lines end with \\n and nothing else.

    A shell, Python and a reader must see the same lines in the same text.
    """
    return next((number for number, line in enumerate(text.split("\n"), start=1) if printable(line) != line), None)


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """The text as one line, cut off where it is long: it cannot be taken for several."""
    return printable(" ".join(text.split()))[:longest]
