"""One folder of runs, two users of one group: what one cannot read is named, and what both need serves both."""

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Verdict
from tests import users
from tests.acceptance.rehearsals import QUICK
from tests.clusters import DEV_CLUSTER
from tests.users import GROUP, Place, User

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason=users.NOT_ROOT)

ADA, BEN = 47001, 47002
SAID = "not readable by you, and all of it unknown: hers (of user 47001); ask user 47001 for chmod -R g+rX of it"
TO_THE_END = (*QUICK, "retime.caches=decoy")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with users.place() as made:
        made.share_runs(made.user(ADA))
        yield made


@pytest.fixture(scope="module")
def ada(place: Place) -> User:
    return place.user(ADA, umask="077")


@pytest.fixture(scope="module")
def ben(place: Place) -> User:
    return place.user(BEN, umask="022")


@pytest.fixture(scope="module")
def both(ada: User, ben: User) -> tuple[str, str]:
    """What each is told whose session in the same campaign has come to its end."""
    hers = ada.bench(*TO_THE_END, "session=hers")
    his = ben.bench(*TO_THE_END, "session=his")
    assert (hers.returncode, his.returncode) == (0, 0), hers.stderr + his.stderr
    return hers.stdout, his.stdout


def refused(done: "subprocess.CompletedProcess[str]", exit_code: int = 2) -> str:
    """Return the one line that a command ends with."""
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1].removeprefix("slurm_bench: ")


@pytest.mark.long
def test_a_session_begins_beside_one_of_a_user_who_keeps_everything_to_herself(
    both: tuple[str, str], place: Place
) -> None:
    campaign = CampaignPaths(place.runs / "rehearsal")
    hers, his = (campaign.root / name for name in ("hers", "his"))
    assert (hers.stat().st_mode & 0o777, his.stat().st_mode & 0o777) == (0o700, 0o755), "as their umasks say"
    for shared in (campaign.root, campaign.root / "calibrations", place.runs / "usage", place.runs / "shards"):
        facts = shared.stat()
        assert (facts.st_mode & 0o7770, facts.st_gid) == (0o2770, GROUP), shared
    assert campaign.ledger_lock.stat().st_mode & 0o060 == 0o060
    assert SAID not in both[0] and SAID in both[1], "each is told what he is not told of"


@pytest.mark.long
@pytest.mark.usefixtures("both")
class TestWhatCannotBeReadIsNamed:
    def test_by_status(self, ben: User) -> None:
        done = ben.bench("command=status")
        assert done.returncode == 0, done.stderr
        title, second, *_ = done.stdout.splitlines()
        assert title.startswith("campaign rehearsal, 1 session and 1 not readable, ") and second == SAID
        shown = json.loads(ben.bench("command=status", "command.format=json").stdout)
        assert shown["unreadable"] == [{"name": "hers", "owner": "user 47001"}]

    def test_by_budget(self, ben: User) -> None:
        table = ben.bench("command=budget")
        assert table.returncode == 0, table.stderr
        assert SAID in table.stdout and "readable part" in table.stdout and "whole campaign" not in table.stdout
        rows = list(csv.DictReader(io.StringIO(ben.bench("command=budget", "command.format=csv").stdout)))
        (row,) = [row for row in rows if row["account"] == "hers"]
        assert (row["figure"], row["h100_hours"]) == ("unreadable, of user 47001", "")
        shown = json.loads(ben.bench("command=budget", "command.format=json").stdout)
        assert shown["unreadable"] == [{"name": "hers", "owner": "user 47001"}] and shown["left"] is None

    def test_by_report(self, ben: User, place: Place) -> None:
        done = ben.bench("command=report", f"command.out={place.root}/home-{BEN}/out")
        assert done.returncode == 0, done.stderr
        assert SAID in done.stdout
        written = place.root / f"home-{BEN}/out"
        assert SAID in (written / "report.html").read_text()
        assert json.loads((written / "report.json").read_text())["unreadable"][0]["name"] == "hers"

    def test_by_whoever_asks_for_that_session(self, ben: User) -> None:
        for command in ("status", "stop", "bundle", "confirm"):
            assert refused(ben.bench(f"command={command}", "session=hers")) == f"session hers: {SAID}"

    def test_and_nobody_spends_of_a_limit_of_which_nobody_knows_what_is_left(self, ben: User) -> None:
        done = ben.bench(*QUICK, "session=another", "budget.campaign_h100_hours=100")
        expected = f"nobody knows what is left of the campaign's 100 H100-hours: {SAID}"
        assert refused(done, exit_code=3) == expected
        assert refused(ben.bench("command=budget", "campaign=none")).startswith("no sessions in ")

    def test_her_own_view_is_whole(self, ada: User) -> None:
        done = ada.bench("command=budget")
        assert done.returncode == 0, done.stderr
        assert "whole campaign" in done.stdout and "unknown" not in done.stdout


def begun(place: Place, campaign: str, name: str, state: SessionState = SessionState.RUNNING) -> CampaignPaths:
    """A session that ada has begun, by the configuration of a command line of hers."""
    overrides = [f"runs={place.runs}", f"campaign={campaign}", f"session={name}", *QUICK]
    code = (
        "import sys\n"
        "from slurm_bench.steps import cli, site\n"
        "from slurm_bench.words.paths import SessionPaths\n"
        "(config,) = cli.composed(sys.argv[1:])\n"
        "site.make_absolute(config)\n"
        "site.save_config(SessionPaths(config.session_dir), config)\n"
    )
    ada = place.user(ADA, umask="022")
    done = ada.run(place.python, "-c", code, *overrides)
    assert done.returncode == 0, done.stderr
    found = CampaignPaths(place.runs / campaign)
    record = Session(id=name, name=name, campaign=campaign, revision="", state=state, started="2026-11-30T12:00:00Z")
    store.write(found.root / name / "session.json", record)
    os.chown(found.root / name / "session.json", ADA, GROUP)
    return found


def test_a_campaign_that_cannot_be_read_is_not_said_to_be_missing(place: Place, ben: User) -> None:
    campaign = begun(place, "closed", "hers")
    campaign.root.chmod(0o700)
    expected = (
        f"campaign closed may not be read by you: {campaign.root} is user 47001's; "
        f"ask user 47001 for chmod -R g+rX {campaign.root}"
    )
    for command in ("status", "budget", "report", "stop", "confirm", "bundle"):
        assert refused(ben.bench(f"command={command}", "campaign=closed", "session=hers")) == expected


def test_one_closed_session_is_missing_from_no_view(place: Place, ben: User) -> None:
    campaign = begun(place, "half_closed", "theirs", SessionState.FINISHED)
    begun(place, "half_closed", "hers")
    (campaign.root / "hers").chmod(0o700)
    views = {
        "status": ben.bench("command=status", "campaign=half_closed"),
        "budget": ben.bench("command=budget", "campaign=half_closed"),
        "report": ben.bench("command=report", "campaign=half_closed", f"command.out={place.root}/home-{BEN}/half"),
    }
    for name, done in views.items():
        assert done.returncode == 0, done.stderr
        assert SAID in done.stdout, name
    (campaign.root / "hers").chmod(0o755)
    (campaign.root / "hers/ledger").mkdir(mode=0o700)
    assert SAID in ben.bench("command=status", "campaign=half_closed").stdout, "what it spent cannot be read"


def test_a_desk_at_work_times_nothing_more_of_an_unknown_rest(place: Place, ben: User) -> None:
    """As it is where a colleague closes her session while another's desk serves."""
    campaign = begun(place, "limited", "hers")
    campaign.root.chmod(0o2775)
    (campaign.root / "hers").chmod(0o700)
    code = (
        "import sys\n"
        "from slurm_bench.steps import cli, launch, session, site\n"
        "from slurm_bench.words.paths import SessionPaths\n"
        "(config,) = cli.composed(sys.argv[1:])\n"
        "site.make_absolute(config)\n"
        "paths = SessionPaths(config.session_dir)\n"
        "launch._open(config, paths)\n"
        "session.run(paths.root)\n"
    )
    limited = ("campaign=limited", "session=his", "retime.caches=empty", "budget.campaign_h100_hours=100")
    home = f"{place.root}/home-{BEN}"
    own = [f"runs={place.runs}", f"task.data={home}/data", f"cluster.scratch={home}", *QUICK, *limited]
    done = ben.run(place.python, "-c", code, *own)
    assert done.returncode == 0, done.stderr
    verdicts = [store.read(each.verdict, Verdict) for each in SessionPaths(campaign.root / "his").timed()]
    outcomes = [verdict.outcome.value for verdict in verdicts]
    assert outcomes == ["invalid", "rejected", *["undecided"] * 4], "its agent asks once more for each"
    assert verdicts[-1].reason == f"nobody knows what is left of the campaign's 100 H100-hours: {SAID}"
    assert not list((campaign.root / "his/ledger").glob("*.json")), "nothing was reserved"


def test_nobody_goes_on_with_somebody_elses_session(place: Place, ben: User) -> None:
    campaign = begun(place, "taken", "hers")
    expected = "session hers is user 47001's, who alone goes on with it: begin another with session="
    for mode in (0o755, 0o700):
        (campaign.root / "hers").chmod(mode)
        assert refused(ben.bench(*QUICK, "campaign=taken", "session=hers")) == expected


def test_somebody_elses_session_is_stopped_by_whom_it_belongs_to(place: Place, ben: User) -> None:
    begun(place, "open", "hers")
    expected = "session: hers is user 47001's, and left alone: ask user 47001, or an administrator of Slurm, to stop it"
    for which in ("session=hers", "command.all=true"):
        assert refused(ben.bench("command=stop", "campaign=open", which)) == expected


def test_who_may_only_look_looks(place: Place, ben: User) -> None:
    campaign = begun(place, "looked_at", "hers", SessionState.FINISHED)
    for folder in (campaign.root, campaign.root / "hers"):
        folder.chmod(0o2755)
    before = sorted(path for path in campaign.root.rglob("*"))
    for command in ("status", "budget"):
        done = ben.bench(f"command={command}", "campaign=looked_at")
        assert done.returncode == 0, done.stderr
        assert "hers" in done.stdout and "unreadable" not in done.stdout
    said = refused(ben.bench("command=report", "campaign=looked_at"))
    assert said == f"you may not write in {campaign.root}; command.out=FOLDER writes the report into one of your own"
    assert sorted(path for path in campaign.root.rglob("*")) == before, "and writes nothing there"


def test_a_session_needs_folders_that_its_user_may_write_in(place: Place, ben: User) -> None:
    campaign = begun(place, "hers_alone", "hers")
    expected = f"runs: {campaign.root} is user 47001's, and you may not write there: ask user 47001 for chmod g+ws"
    for mode in (0o2755, 0o700):
        campaign.root.chmod(mode)
        said = refused(ben.bench(*QUICK, "campaign=hers_alone", "session=his"))
        assert said == f"{expected} {campaign.root}"


@pytest.mark.slurm
def test_a_poll_folder_that_another_user_made_closes_slurm_to_nobody(tmp_path: Path) -> None:
    with users.place() as place:
        ada, ben = place.user(ADA, umask="077"), place.user(1001)
        place.share_runs(ada, mode=0o755)
        code = (
            "import sys\n"
            "from datetime import UTC, datetime\n"
            "from pathlib import Path\n"
            "from slurm_bench.effects.cluster import Queued\n"
            "from slurm_bench.effects.slurm import SlurmCluster\n"
            "from slurm_bench.steps import cli\n"
            "(config,) = cli.composed(sys.argv[1:])\n"
            "cluster = SlurmCluster(config.cluster, Path(config.runs) / 'usage')\n"
            "print(cluster.look([Queued('slurm_bench-never-queued', datetime.now(UTC), 1)]))\n"
        )
        conf = f"cluster.slurm_conf={DEV_CLUSTER}/slurm.conf"
        for user in (ada, ben):
            done = user.run(place.python, "-c", code, f"runs={place.runs}", "cluster=dev", conf)
            assert done.returncode == 0, done.stderr
            assert "slurm_bench-never-queued" in done.stdout
        assert [path.name for path in place.runs.iterdir()] == ["poll"], "he asked by himself, and left nothing"
