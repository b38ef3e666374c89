from slurm_bench.pure.leaderboard import Entry
from slurm_bench.pure.main_line import Commit, Step, arrivals, listings, main_line, window


def step(sha: str, subject: str = "Update", *added: str, code: bool = False, readme: str = "") -> Step:
    return Step(Commit(sha, (), subject), added, code, readme)


def entry(number: int, name: str = "", pull: str = "") -> Entry:
    log = f"records/track_1_short/{name}/a.txt" if name else ""
    return Entry(number, "1.0", "2030-01-01", "@someone", log, pull)


def test_the_main_line_follows_merges_on_the_server_and_pulls() -> None:
    """A merged pull request is the second parent; what the server had when a maintainer pulled is, too."""
    commits = [
        Commit("f", ("e", "x"), "Merge pull request #7 from someone/master"),
        Commit("e", ("local", "d"), "Merge branch 'master' of https://example.org/x"),
        Commit("local", ("a",), "On a maintainer's machine"),
        Commit("d", ("c", "y"), "Merge branch 'topic' into master"),
        Commit("c", ("a",), "On the server"),
        Commit("y", ("a",), "In a topic"),
        Commit("x", ("a",), "In a pull request"),
        Commit("a", (), "The first"),
    ]
    assert [commit.sha for commit in main_line(commits)] == ["a", "c", "d", "e", "f"]
    assert main_line([]) == []


def test_a_record_comes_with_its_pull_request_or_its_first_log() -> None:
    line = [
        step("a", "New record (#1)"),
        step("b", "Tidy up", "records/track_1_short/One/a.txt"),
        step("c", "Merge pull request #22 from someone/x"),
        step("d", "Words", "records/older_place/Three/b.txt", "Four/a.txt"),
        step("e", "Mentions (#5) and goes on"),
    ]
    entries = [entry(29, "One", "1"), entry(30, "Two", "22"), entry(31, "Three"), entry(32, "Four"), entry(33, "", "5")]
    assert arrivals(line, entries) == {29: 0, 30: 2, 31: 3}


def test_the_code_is_looked_for_until_the_record_is_listed_or_the_next_one_comes() -> None:
    line = [
        step("a", code=True),
        step("b", code=True),
        step("c"),
        step("d", code=True),
        step("e", code=True),
        step("f", readme="board"),
        step("g", code=True),
        step("h", readme="later"),
    ]
    listed = listings(line, {"board": [29, 30], "later": [29, 30]})
    assert listed == {29: [5, 7], 30: [5, 7]}
    came = {29: 0, 30: 3}
    first, second = (window(number, line, came, listed) for number in (29, 30))
    assert [each.commit.sha for each in (first.came, *first.edits, first.listed)] == ["a", "b", "f"]
    assert [each.commit.sha for each in (second.came, *second.edits, second.listed)] == ["d", "e", "f"]
