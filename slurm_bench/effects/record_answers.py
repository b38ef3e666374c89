"""The file in which a person's answers to the questions of `command=records` are kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import yaml

from slurm_bench.pure.proposals import Answer, Topic
from slurm_bench.words.errors import UsageError


def read(file: Path) -> dict[int, dict[Topic, Answer]]:
    """Return the answers by the record's number on the leaderboard; nothing where there is no file.

    Raises:
        UsageError: it is not of the form that human_baselines/README.md says.
    """
    if not file.exists():
        return {}
    try:
        found = yaml.safe_load(file.read_text()) or {}
        return {int(number): dict(_answer(*each) for each in answers.items()) for number, answers in found.items()}
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: {' '.join(str(error).split())}; human_baselines/README.md says its form") from None


def _answer(topic: str, answer: Mapping[str, object]) -> tuple[Topic, Answer]:
    """
    Raises:
        ValueError: it is none.
    """
    if topic not in get_args(Topic):
        raise ValueError(f"{topic!r} is none of {', '.join(get_args(Topic))}")
    if set(answer) != {"choose", "because"}:
        raise ValueError(f"{topic} wants 'choose' and 'because', and has {', '.join(answer) or 'neither'}")
    choose = answer["choose"]
    chosen = tuple(map(str, choose)) if isinstance(choose, list) else (str(choose),)
    return cast(Topic, topic), Answer(chosen, str(answer["because"]))
