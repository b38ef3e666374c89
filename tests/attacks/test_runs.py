"""Attacks by the training run itself, past a judge who was fooled. Each docstring names the defence it ends in."""

import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from slurm_bench.effects import processes, scratch, standstill, store
from slurm_bench.effects.containers import Apptainer
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.trials import TrialOutcome
from slurm_bench.words.verdicts import Outcome
from tests import waiting
from tests.attacks.conftest import Scene, is_root
from tests.clusters import DEV_CLUSTER

FINAL = "step:10/10 val_loss:3.0000 train_time:1ms step_avg:0.10ms"
HIDDEN = [("os.makedirs('/tmp/a/b'); os.chdir('/tmp/a/b'); os.chmod('/tmp/a', 0); time.sleep(2)", "nobody may read")]
if is_root():  # who may read every folder; tests/acceptance/test_ordinary_user.py runs this as somebody else
    HIDDEN = []
WRITE = "log.write_text(text)"
FASTER = ("SECONDS = 0.08", "SECONDS = 0.03")
NEVER_ENDING = ("time.sleep(seconds)", "time.sleep(900)")
UNTIL_TOLD = ("time.sleep(seconds)", "while not Path('data/go on').exists(): time.sleep(0.05)")

HOG = """
import time
while True:
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    time.sleep(0.06)
"""


@pytest.fixture
def word(scene: Scene) -> Iterator[Path]:
    """The file that a candidate with UNTIL_TOLD waits for; the test makes it."""
    word = Path(scene.config.task.data) / "go on"
    yield word
    word.unlink(missing_ok=True)


@contextmanager
def once_it_runs(scene: Scene, act: Callable[[], None]) -> Iterator[None]:
    """Do something from outside as soon as the next single trial has begun."""
    before = set(scene.paths.root.glob("single*"))

    def runs() -> bool:
        new = set(scene.paths.root.glob("single*")) - before
        return any('"begun"' in record.read_text() for folder in new for record in folder.glob("trials/00.json"))

    def wait_and_act() -> None:
        waiting.until(runs)
        act()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(wait_and_act)
        yield
        done.result()


def test_nine_crashes_and_one_good_run(scene: Scene) -> None:
    """Attack: most seeds crash on purpose, and only the good draws report.

    Defence: ten clean exits or no verdict for the candidate: a crash is its own failure and is not run again.
    """
    crash = (WRITE, f"import sys\nif random.random() < 0.9: sys.exit(1)\n{WRITE}")
    verdict = scene.submit(scene.candidate(("LOSS = 3.25", "LOSS = 3.00"), crash), judge_fooled=True)
    assert (verdict.outcome, verdict.rejected_by, verdict.rerun) == (Outcome.REJECTED, "loss", ())
    assert "clean runs of 10" in verdict.reason
    assert verdict.loss is None, "no p-value"


def test_a_run_that_takes_its_runner_down(scene: Scene) -> None:
    """Attack: on a bad draw, end or starve the runner (fork bomb, memory, slow clean-up), so that the trial is void.

    Defence: the runner writes a record before the candidate starts; only what the scheduler or the site ended is void.
    """

    def kill_runner() -> None:
        # As the kernel does that runs out of processes or memory; nothing inside can reach the runner by itself.
        runner = f"slurm_bench.steps.trial {scene.paths.root}/single"
        subprocess.run(["pkill", "-KILL", "-f", runner], check=True)

    with once_it_runs(scene, kill_runner):
        trial, _ = scene.trial(scene.candidate(NEVER_ENDING))
    assert trial.outcome is TrialOutcome.CRASHED
    assert trial.note.startswith("its runner was ended: FAILED")
    for left in left_in_scratch(scene):
        scratch.remove_locked(left)


def test_a_fork_bomb(scene: Scene) -> None:
    """Attack: use up all processes, so that the runner can start none either.

    Defence: a crash is the candidate's own whatever the runner meets while it runs; all its processes end with it.
    """
    bomb = "import os\nfor _ in range(3000):\n    try:\n        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
    bomb += "    except OSError: pass\nos._exit(5)\n"
    trial, _ = scene.trial(scene.candidate(after=f"\n{bomb}"))
    assert trial.outcome is TrialOutcome.CRASHED
    assert not left_in_scratch(scene)


def test_arithmetic_without_end(scene: Scene) -> None:
    """Attack: numbers of steps that take the runner or the desk for ever to add up.

    Defence: they are read once, when the array is planned, and no further than a billion.
    """
    lines = "\n".join(
        ["def never():", "    num_iterations = 9", *["    num_iterations = num_iterations * num_iterations"] * 60]
    )
    deep = f"def deeper():\n    num_iterations = {'+'.join(['1'] * 1500)}\n"
    trial, _ = scene.trial(scene.candidate(after=f"\n{lines}\n{deep}"))
    assert trial.outcome is TrialOutcome.CLEAN, trial.note


def test_working_while_the_incumbent_runs(scene: Scene, tmp_path: Path) -> None:
    """Attack: with retime.where=allocation on the node of its own trials, an agent's daemon keeps the cores busy.

    Defence: every process of its container is stopped while trials run; a name space of processes holds them all.
    """
    record, mark = tmp_path / "head.json", scene.paths.workspace / "experiments/daemon"
    daemon = "(setsid bash -c 'while true; do echo >> experiments/daemon; sleep 0.01; done' & ) & exec sleep 900"
    argv = [*standstill.recorded(record), *scene.agent_argv(daemon)]
    agent = processes.start(argv, output=tmp_path / "output")

    def works() -> bool:
        before = mark.stat().st_size
        time.sleep(0.5)
        return mark.stat().st_size > before

    try:
        waiting.until(lambda: mark.exists() and works())
        with standstill.of(record):
            assert not works()
        waiting.until(lambda: mark.exists() and works())
    finally:
        processes.end_tree(agent.pid)
        agent.wait()


def test_one_draw_with_a_little_noise(scene: Scene) -> None:
    """Attack: a fixed seed, and just enough noise that the losses are not identical.

    Defence: losses that scatter far less than the incumbent's are no sample.
    """
    fixed = ("loss = random.gauss(LOSS, 0.002)", "loss = 3.1 + random.gauss(0, 0.00003)")
    verdict = scene.submit(scene.candidate(fixed, FASTER), judge_fooled=True)
    assert (verdict.outcome, verdict.rejected_by) == (Outcome.REJECTED, "loss")
    assert "runs must draw their seeds" in verdict.reason


def test_an_identical_loss_ten_times(scene: Scene) -> None:
    """Attack: one good draw, replayed ten times by a fixed seed.

    Defence: a sample without variance carries no test.
    """
    fixed = ("loss = random.gauss(LOSS, 0.002)", "loss = 3.1")
    verdict = scene.submit(scene.candidate(fixed, FASTER), judge_fooled=True)
    assert (verdict.outcome, verdict.rejected_by) == (Outcome.REJECTED, "loss")
    assert "all losses are equal" in verdict.reason


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ((WRITE, f"print('=' * 100); print({FINAL!r})"), "the folder is empty"),
        ((WRITE, f"{WRITE}; import os; os._exit(0)\n"), ""),
        (
            (WRITE, f"import os; log.write_text(text.partition('step:1' + '0/10')[0]); os._exit(0); {WRITE}"),
            "no validation line",
        ),
        ((WRITE, "log.write_text(text.replace('val_loss:3', 'val_loss:nan'))"), "val_loss:nan.*no validation line of"),
        (
            (WRITE, "log.write_text(text + 'step:10/10 val_loss:nan train_time:1ms step_avg:1ms\\n')"),
            "no validation line of",
        ),
        ((WRITE, f"log.write_text(text + {FINAL!r} + chr(10))"), "comes after the last step"),
        ((WRITE, f"log.write_text({FINAL!r} + chr(10) + '=' * 100 + chr(10))"), "no validation line"),
        ((WRITE, f"{WRITE}; (log.parent / 'other.txt').write_text(text)"), "2 files in logs/"),
        ((WRITE, "log.symlink_to('/seal/train_gpt.py')"), "links and special files"),
        (("step:{num_iterations}/{num_iterations}", "step:20/20"), "logs 20 steps, its program declares 10"),
        (("ms = round(1000 * seconds)", "ms = round(1000000 * seconds)"), "claims .* s of training in"),
        (("val_loss:{loss:.4f}", "val_loss:{loss / 1e10:.4f}"), "above zero"),
        (("train_time:{ms}ms step_avg:{ms / num_iterations:.2f}ms", "train_time:0ms step_avg:0.00ms"), "above zero"),
        (("train_time:{ms}ms", "train_time:{ms // 10}ms"), "average is not its time over its steps"),
        (
            (WRITE, f"log.write_text({FINAL!r}.join(['=' * 100 + chr(10), chr(10)]) + text[:-9])"),
            "no validation line of",
        ),
    ],
)
def test_a_number_that_is_only_said(scene: Scene, edit: tuple[str, str], words: str) -> None:
    """Attack: a printed line and exit 0; an early exit; nan; two last lines; another number of steps; a forged
    line before the separator, and the true one spoilt.

    Defence: the one log in logs/ is read, not the output. After its last separator each line that speaks of the loss
    has upstream's form to the digit, the last stands at the last step, with the steps that the seal declares, and no
    more training time than the runner's clock saw.
    """
    trial, _ = scene.trial(scene.candidate(edit))
    if not words:  # a log that was complete when the program left: nothing to object to
        assert trial.outcome is TrialOutcome.CLEAN
        return
    assert trial.outcome in (TrialOutcome.NO_RESULT, TrialOutcome.IMPLAUSIBLE)
    assert re.search(words, trial.note), trial.note


def test_work_before_the_clock(scene: Scene) -> None:
    """Attack: move work from the timed to the untimed part, unseen by the static checker.

    Defence: the runner's own clock times the whole run; growth of what is not claimed, beside the incumbent's, that
    takes back half of what is saved leaves the verdict undecided until a model or a person has looked.
    """
    lines = ("time.sleep(seconds)", "[time.sleep(pause) for pause in (4, seconds)]")
    verdict = scene.submit(scene.candidate(FASTER, lines), judge_fooled=True)
    assert verdict.outcome is Outcome.UNDECIDED
    assert "is work moved from the timed to the untimed part?" in verdict.reason
    assert "a model (judge=panel) or a person" in verdict.reason
    second = store.read(scene.paths.submission(verdict.submission).second_opinion, Opinion)
    assert "work moved from the timed to the untimed part" in second.notes[0]


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        (
            [FASTER, ("random.gauss(LOSS, 0.002)", "random.gauss(2.5, 0.002)")],
            "lies more than 0.05 below the target 3.28",
        ),
        (
            [("SECONDS = 0.08", "SECONDS = 1.0"), ("round(1000 * seconds)", "random.randint(8, 12)")],
            "is work moved from the timed to the untimed part?",
        ),
    ],
)
def test_results_too_good_to_be_true(scene: Scene, edits: list[tuple[str, str]], words: str) -> None:
    """Attack: print a loss below anything that the task allows, or a hundredth of the time, unseen by the checker.

    Defence: neither is accepted by the static checker alone.
    """
    verdict = scene.submit(scene.candidate(*edits), judge_fooled=True)
    assert verdict.outcome is Outcome.UNDECIDED, verdict.reason
    assert words in verdict.reason


def test_a_run_without_end(scene: Scene) -> None:
    """Attack: a run that never ends, and ignores the request to.

    Defence: the runner's deadline ends it with all its processes, and that is a failed run of the candidate.
    """
    stay = ("import random", "import random, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    trial, _ = scene.trial(scene.candidate(stay, NEVER_ENDING), timeout_s=4)
    assert (trial.outcome, trial.exit_code) == (TrialOutcome.TIMED_OUT, None)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        ("open('/tmp/big', 'wb').write(bytes(2**28))", "wrote more than"),
        ("open(Path.home() / 'big', 'wb').write(bytes(2**28))", "wrote more than"),
        ("open('big', 'wb').write(bytes(2**28))", "wrote more than"),
        *HIDDEN,
        ("[open(f'/tmp/{k}', 'w').close() for k in range(110_000)]", "made more than 100000 files"),
    ],
)
def test_filling_the_disk(scene: Scene, write: str, words: str) -> None:
    """Attack: a candidate that fills its disk, openly or in folders that nobody may read.

    Defence: the runner looks every second; a run that wrote too much is ended and has failed, and what it wrote is
    removed.
    """
    candidate = scene.candidate(
        ("import random", "import os, random"), ("time.sleep(seconds)", f"{write}; time.sleep(900)")
    )
    trial, _ = scene.trial(candidate)
    assert trial.outcome is TrialOutcome.CRASHED, "not timed out: it was ended as soon as that was seen"
    assert words in trial.note
    assert not left_in_scratch(scene)


def test_filling_the_disk_with_a_file_in_no_folder(scene: Scene) -> None:
    """Attack: a file that is removed while it is open is in no folder, and fills the disk all the same.

    Defence: on a node of one's own, what vanishes of the free space counts too.
    """
    write = "f = open('/tmp/x', 'wb'); os.unlink('/tmp/x'); f.write(bytes(2**29)); f.flush(); os.fsync(f.fileno())"
    candidate = scene.candidate(
        ("import random", "import os, random"), ("time.sleep(seconds)", f"{write}; time.sleep(900)")
    )
    trial, _ = scene.trial(candidate, foreign_cores=64.0)
    assert trial.outcome is TrialOutcome.CRASHED
    assert "wrote more than" in trial.note


def test_printing_without_end(scene: Scene) -> None:
    """Attack: output that fills the file system of all nodes.

    Defence: output goes through a pipe that closes after 64 MiB.
    """
    endless = scene.candidate(("time.sleep(seconds)", "while True: print('x' * 2**20)"))
    trial, where = scene.trial(endless, timeout_s=15)
    assert trial.outcome in (TrialOutcome.TIMED_OUT, TrialOutcome.CRASHED)
    assert (where.trials / "00.out").stat().st_size == 64 * 2**20


def test_folders_deeper_than_any_path(scene: Scene) -> None:
    """Attack: a scratch folder that cannot be removed, since it nests deeper than a path or a recursion goes.

    Defence: rm and du walk by descriptors; folders without permissions get them back first, and fail the run.
    """
    dig = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nos.chmod('/trial/d/d', 0)\n"
    trial, _ = scene.trial(scene.candidate(after=dig))
    assert trial.outcome is (TrialOutcome.CLEAN if is_root() else TrialOutcome.CRASHED), trial.note
    assert not left_in_scratch(scene)


def left_in_scratch(scene: Scene) -> list[Path]:
    return list(Path(scene.config.cluster.scratch).glob("slurm_bench-trial-*"))


def test_a_child_that_outlives_the_trial(scene: Scene) -> None:
    """Attack: a daemon left behind, to slow down or spy on what comes next.

    Defence: the container's process namespace ends with the trial, and the runner looks for what is left.
    """
    mark = f"{uuid.uuid4().int % 10**8 + 10**8}"
    daemon = f"""
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvpe("sleep", ["sleep", "{mark}"], {{"PATH": os.environ["PATH"]}})
    os._exit(0)
"""
    seen: list[str] = []
    watching = threading.Event()

    def watch() -> None:
        while not watching.is_set():
            seen.append(processes.run(["pgrep", "-f", f"sleep {mark}"], timeout_s=waiting.LONG_S).stdout)
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    trial, _ = scene.trial(scene.candidate(after=f"{daemon}\ntime.sleep(4)\n"))
    watching.set()
    thread.join()
    assert any(seen), "the daemon did start"
    assert trial.outcome is TrialOutcome.CLEAN, trial.note
    assert processes.run(["pgrep", "-f", f"sleep {mark}"], timeout_s=10).stdout == ""


@pytest.mark.long
def test_somebody_else_on_the_node(scene: Scene) -> None:
    """Attack: something that eats the node's cores while the trial is timed.

    Defence: a trial waits for a quiet node, and is void on one that does not come to rest.
    """
    hog = processes.start([sys.executable, "-c", HOG], output=Path("/dev/null"))
    try:
        # One quiet sample is enough for the trial: the hog uses a quarter of a core, on a busy machine less in some.
        trial, _ = scene.trial(scene.candidate(), foreign_cores=0.02)
    finally:
        processes.end_tree(hog.pid)
        hog.wait()
    assert trial.outcome is TrialOutcome.INFRASTRUCTURE
    assert "the node is not quiet" in trial.note


def test_requeue_from_within(scene: Scene) -> None:
    """Attack: after a bad draw, have oneself run again.

    Defence: no scheduler inside, every process that can be signalled is the container's own, and a job that
    cannot be requeued; the run counts as it ended, and there is one attempt of it in the accounting.
    """
    again = """
import os, signal, subprocess
for program in ("scontrol requeue", "scontrol requeuehold", "scancel --signal=USR2"):
    subprocess.run(["bash", "-c", program + " $SLURM_JOB_ID"])
for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL):
    try:
        os.kill(-1, number)
    except OSError:
        pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    trial, where = scene.trial(scene.candidate(after=again))
    assert trial.outcome is TrialOutcome.CRASHED, trial.note
    (entry,) = [entry for entry in scene.retimer.ledger.entries() if entry.job_name.endswith(f"-{where.root.name}")]
    assert len(entry.attempts) == 1


def test_requeue_from_outside(scene: Scene, word: Path) -> None:
    """Attack: `scontrol requeue` by the job's own user, e.g. from another session of the same account.

    Defence: jobs are queued with --no-requeue, so Slurm refuses.
    """
    answers: list[processes.Completed] = []
    environment = {"PATH": os.environ["PATH"], "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}

    def requeue() -> None:
        argv = ["squeue", "-h", "--states=running", "--format=%A %j"]
        jobs = processes.run(argv, timeout_s=60, env=environment).stdout.split()
        (ours,) = [job for job, name in zip(jobs[::2], jobs[1::2], strict=True) if scene.retimer.identity in name]
        answers.append(processes.run(["scontrol", "requeue", ours], timeout_s=60, env=environment))
        word.touch()

    with once_it_runs(scene, requeue):
        trial, _ = scene.trial(scene.candidate(UNTIL_TOLD))
    assert answers and answers[0].exit_code != 0, answers
    assert trial.outcome is TrialOutcome.CLEAN, trial.note


def test_a_seal_that_changes_while_it_runs(scene: Scene, word: Path) -> None:
    """Attack: the stored bytes change between two trials, or during one.

    Defence: each trial checks the seal's hash before and after; one whose seal changed is void.
    """
    candidate = scene.candidate(UNTIL_TOLD, after="\n# The bytes of no other candidate, since they name the seal.\n")
    before = set(scene.paths.seals.iterdir())

    def change() -> None:
        (folder,) = set(scene.paths.seals.glob("[!.]*")) - before
        folder.chmod(0o755)
        (folder / "more.py").write_text("")
        word.touch()

    with once_it_runs(scene, change):
        trial, _ = scene.trial(candidate)
    assert trial.outcome is TrialOutcome.INFRASTRUCTURE
    assert "was changed after it was taken" in trial.note


def test_no_gpu_behind_the_flag(scene: Scene) -> None:
    """No attack, but a site's failure that looks like a run: `--nv` exits 0 where there is no GPU.

    Defence: the runner asks inside the container how many GPUs there are, and a trial with too few is void.
    """
    assert isinstance(scene.container, Apptainer)
    trial, _ = scene.trial(scene.candidate(), gpus=1)
    assert trial.outcome is TrialOutcome.INFRASTRUCTURE
    assert trial.note == "0 GPUs in the container, 1 are allocated"
