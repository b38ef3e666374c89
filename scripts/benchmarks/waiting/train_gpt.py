"""A record that waits instead of training, and says so in the format of the records' logs: it takes no core."""

import random
import time
import uuid
from pathlib import Path

num_iterations = 10
SECONDS = 8.0

began = time.monotonic()
time.sleep(SECONDS + random.uniform(0, 0.01))  # runs of which all take as long are none
took_ms = 1000 * (time.monotonic() - began)
log = Path("logs") / f"{uuid.uuid4()}.txt"
log.parent.mkdir()
loss = random.gauss(0.7, 0.002)
text = Path(__file__).read_text() + "=" * 100 + "\n"
text += f"step:{num_iterations}/{num_iterations} val_loss:{loss:.4f} "
text += f"train_time:{took_ms:.0f}ms step_avg:{took_ms / num_iterations:.2f}ms\n"
log.write_text(text)
