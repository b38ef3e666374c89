"""Markdown of the study's page."""

from collections.abc import Iterator, Sequence

Lines = Iterator[str]


def heading(text: str, *paragraph: str) -> Lines:
    yield from (f"## {text}", "")
    if paragraph:
        yield from (*paragraph, "")


def table(header: Sequence[str], *rows: Sequence[str]) -> Lines:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"
