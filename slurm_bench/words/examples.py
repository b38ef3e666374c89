"""Command lines that `--help` shows, by command: what follows `python -m slurm_bench`, and what it does.

A test composes every one of them, so that none goes out of date.
"""

EXAMPLES = {
    "run": (
        ("", "rehearse the whole benchmark on this machine"),
        ("cluster=slurm container=apptainer agent=claude session=first", "queue one session of a real agent"),
        ("-m cluster=slurm container=apptainer agent=claude,codex seed=1,2,3", "queue a campaign of six"),
    ),
    "status": (
        ("command=status campaign=rehearsal", "live on a terminal, until all of it is over or Ctrl-C"),
        ("command=status campaign=rehearsal format=json", "once, for machines"),
    ),
    "stop": (
        ("command=stop campaign=rehearsal session=first", "end one session; the same run goes on with it later"),
        ("command=stop campaign=rehearsal all=true", "end all of the campaign"),
    ),
    "budget": (
        ("command=budget campaign=rehearsal", "what the campaign has spent, reserved and left"),
        ("command=budget campaign=rehearsal format=csv", "the same for a spreadsheet"),
        ("command=budget cluster=slurm guard=show sessions=6", "how to make Slurm itself enforce it"),
    ),
    "report": (
        ("command=report campaign=rehearsal", "write runs/rehearsal/report.html and what lies beside it"),
        ('command=report rule_set="objective of the start" until=2026-07-17_FP8DownProjection', "another 100 %"),
        ("command=report campaigns=[june,july] published=true out=/tmp/both", "two campaigns beside published results"),
    ),
    "retime": (
        ("command=retime", "ten runs of the starting record"),
        ("command=retime directory=/path/of/candidate", "ten of a candidate, beside ten of the starting record"),
        ("command=retime task=nanogpt_speedrun record=2025-09-10_Yarn format=json", "the same of a human record"),
    ),
    "judge": (
        ("command=judge directory=/path/of/candidate", "what the static checker says of it"),
        ("command=judge judge=panel directory=/path/of/candidate", "what models say of it, too"),
        ("command=judge cases=tests/judge_cases", "how often the judge is right on labelled cases"),
    ),
    "confirm": (
        ("command=confirm campaign=rehearsal session=first", "time its best accepted candidate afresh: its score"),
        ("command=confirm campaign=rehearsal session=first runs=/scratch/runs", "of a campaign elsewhere"),
    ),
    "bundle": (
        ("command=bundle campaign=rehearsal session=first", "an archive for each of its verdicts"),
        ("command=bundle campaign=rehearsal session=first submission=4 out=/tmp/paper", "one of them, elsewhere"),
    ),
    "reverify": (
        ("command=reverify bundle=/tmp/paper/first-0004.tar", "compute that verdict again from it"),
        ("command=reverify bundle=/tmp/paper/first-0004.tar format=json", "the same for machines"),
    ),
    "baselines": (
        ("command=baselines", "fetch all of them"),
        ("command=baselines only=[2025-09-10_Yarn] source=/path/of/clone", "one of them, without internet"),
    ),
    "records": (
        (
            "command=records source=/path/of/clone",
            "compare the tables with upstream's leaderboard, and ask what is open",
        ),
        (
            "command=records source=/path/of/clone into=/tmp/tables",
            "write proposed tables, each choice with its reason",
        ),
    ),
    "data": (
        ("command=data", "get what is missing"),
        ("command=data verify=true", "read every shard, and compare its hash"),
        ("command=data folder=/shared/data source=/path/of/shards", "bring them from another folder"),
    ),
    "doctor": (
        ("command=doctor cluster=slurm container=apptainer write=/tmp/cluster/ours.yaml", "write the site's file"),
        ("command=doctor cluster=slurm container=apptainer agent=claude gpu=true", "check it, a node's GPUs as well"),
    ),
}
