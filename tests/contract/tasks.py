"""What the contract's arrays run: tasks.py WHAT FOLDER TASK."""

import os
import signal
import sys
import time
from pathlib import Path

what, folder, task = sys.argv[1:]
mark = Path(folder) / f"task{task}"
first = not mark.exists()
mark.write_text("\n".join(sorted(os.environ)))
what, _, seconds = what.partition(" for ")
if what == "fail at odd":
    sys.exit(74 * (int(task) % 2))  # as a runner that cannot write its record
if what == "outlast":  # the request to end at the time limit
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if what == "sleep the first time" and not first:
    sys.exit()
if what.startswith(("sleep", "outlast")):
    time.sleep(float(seconds or 120))
