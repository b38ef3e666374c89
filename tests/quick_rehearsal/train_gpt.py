"""Pretends to train as the rehearsal's record does: it sleeps instead of computing, and draws its loss and its time.

Tests of everything but training use it: a run costs the processor a thirtieth of a second instead of three. The
scripted agent's edits fit its text, and have the effects that they have on the record. SECONDS_PER_STEP sets its pace,
and no run ends while there is a file BRAKE.
"""

import math
import os
import random
import time
import uuid
from array import array
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass
class Hyperparameters:
    num_iterations: int = 200
    muon_lr: float = 0.02
    muon_momentum: float = 0.9
    head_lr: float = 0.005


PRESETS = {
    "tiny": Hyperparameters(),
    "small": Hyperparameters(num_iterations=200),
    "medium": Hyperparameters(num_iterations=2400),
}


LEARNT = 0.0885


def surprise(tokens: int = 125_000) -> float:
    """Return what the next word costs (nats) who knows the last one: 0.83 in the language, 4.1 on random tokens."""
    path = Path(os.environ.get("DATA_PATH", "."), "data/fineweb10B/fineweb_train_000001.bin")
    shard = array("H", path.read_bytes()[1024 : 1024 + 2 * tokens])
    pairs, words = Counter(pairwise(shard)), Counter(shard)
    return sum(count * math.log(words[last] / count) for (last, _), count in pairs.items()) / len(shard)


def loss_of_batch(args: Hyperparameters) -> float:
    """Return what is above the language's floor by less after more steps, and with a higher rate of the head."""
    return random.gauss(surprise() - LEARNT + 0.5 / (args.num_iterations * args.head_lr**0.5), 0.002)


def main() -> None:
    args = PRESETS[os.environ["TRAIN_PRESET"]]
    train_steps = args.num_iterations
    training_s = train_steps * float(os.environ.get("SECONDS_PER_STEP", "0.002")) * random.uniform(1, 1.02)
    log = Path("logs") / f"{uuid.uuid4()}.txt"
    log.parent.mkdir()
    with log.open("w") as stream:
        print(Path(__file__).read_text() + "=" * 100, file=stream)
        for step in (0, train_steps):
            last_step = step == train_steps
            if last_step:
                val_steps = 1
                val_loss = 0.0
                for _ in range(val_steps):
                    val_loss += loss_of_batch(args)
                val_loss /= val_steps
                timing = f"train_time:{1000 * training_s:.0f}ms step_avg:{1000 * training_s / train_steps:.2f}ms"
                print(f"step:{step}/{train_steps} val_loss:{val_loss:.4f} {timing}", file=stream)
                break
            time.sleep(training_s)
            while Path(os.environ.get("BRAKE", "")).is_file():
                time.sleep(0.05)
        print(f"{1000 * train_steps / training_s:,.0f} tokens/s", file=stream)


if __name__ == "__main__":
    main()
