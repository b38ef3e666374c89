import sys

from slurm_bench.steps.cli import main

sys.exit(main())
