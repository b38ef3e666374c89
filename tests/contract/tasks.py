"""What the contract's arrays run: tasks.py WHAT FOLDER TASK."""

import os
import sys
import time
from pathlib import Path

what, folder, task = sys.argv[1:]
(Path(folder) / f"task{task}").write_text("\n".join(sorted(os.environ)))
if what == "fail at odd":
    sys.exit(int(task) % 2)
if what == "sleep":
    time.sleep(120)
