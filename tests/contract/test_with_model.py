"""containers/bin/with_model: a program's connections to its loopback come out of a Unix socket of the host."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from slurm_bench.effects import processes
from slurm_bench.effects.containers import Apptainer, Container, Mount, NoContainer, Program
from tests.conftest import IMAGE, REPOSITORY
from tests.waiting import LONG_S, until

WITH_MODEL = REPOSITORY / "containers" / "bin" / "with_model"
Host = Callable[[socket.socket], None]


@pytest.fixture(params=["none", pytest.param("apptainer", marks=pytest.mark.apptainer)])
def container(request: pytest.FixtureRequest) -> Container:
    return NoContainer() if request.param == "none" else Apptainer(IMAGE, gpu_devices=False)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def listening(path: Path, host: Host) -> Iterator[None]:
    """A host that serves each connection to a Unix socket in a thread of its own."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            host(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threading.Thread(target=accept, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def run(container: Container, tmp_path: Path, port: int, script: str) -> processes.Completed:
    """Run Python lines that find their connection as `c`, in the container."""
    folders = {name: tmp_path / name for name in ("work", "home", "model")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    tools, model = Mount(WITH_MODEL.parent, "/tools"), Mount(folders["model"], "/model")
    work, home = (Mount(folders[name], f"/{name}", writable=True) for name in ("work", "home"))
    connected = f"import socket, threading\nc = socket.create_connection(('127.0.0.1', {port}), {LONG_S})\n{script}"
    program = Program(
        command=["with_model", str(port), f"{container.inside(model)}/socket", "python3", "-c", connected],
        mounts=[work, tools, model],
        home=home,
        directory=work,
        environment={},
        path=[container.inside(tools)],
    )
    return processes.run(container.argv(program), timeout_s=LONG_S)


def until_end(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_the_end_of_one_way_leaves_the_other_open(container: Container, tmp_path: Path, port: int) -> None:
    def answer_at_the_end(connection: socket.socket) -> None:
        connection.sendall(until_end(connection)[::-1])

    (tmp_path / "model").mkdir()
    with listening(tmp_path / "model" / "socket", answer_at_the_end):
        script = "c.sendall(b'question'); c.shutdown(socket.SHUT_WR); print(c.makefile().read())"
        assert run(container, tmp_path, port, script) == processes.Completed(0, "noitseuq\n", "")


def test_each_part_passes_before_the_next_is_there(container: Container, tmp_path: Path, port: int) -> None:
    def one_by_one(connection: socket.socket) -> None:
        for part in (b"one\n", b"two\n", b"three\n"):
            connection.sendall(part)
            assert connection.recv(5) == b"more\n"

    (tmp_path / "model").mkdir()
    with listening(tmp_path / "model" / "socket", one_by_one):
        script = "for line in c.makefile('r'): print(line, end=''); c.sendall(b'more\\n')"
        assert run(container, tmp_path, port, script) == processes.Completed(0, "one\ntwo\nthree\n", "")


def test_much_at_once(container: Container, tmp_path: Path, port: int) -> None:
    def echo(connection: socket.socket) -> None:
        while part := connection.recv(65536):
            connection.sendall(part)

    (tmp_path / "model").mkdir()
    script = f"""
def talk(byte):
    with socket.create_connection(('127.0.0.1', {port}), {LONG_S}) as c:
        sender = threading.Thread(target=lambda: (c.sendall(byte * 3_000_000), c.shutdown(socket.SHUT_WR)))
        sender.start()
        whole.append(c.makefile('rb').read() == byte * 3_000_000)
whole = []
talks = [threading.Thread(target=talk, args=(bytes([65 + number]),)) for number in range(8)]
for each in talks: each.start()
for each in talks: each.join()
print(whole)
"""
    with listening(tmp_path / "model" / "socket", echo):
        assert run(container, tmp_path, port, script) == processes.Completed(0, f"{[True] * 8}\n", "")


def test_no_host_is_a_closed_connection(container: Container, tmp_path: Path, port: int) -> None:
    done = run(container, tmp_path, port, "print(c.recv(1))")
    assert done == processes.Completed(0, "b''\n", "")


def test_a_program_that_leaves_is_told_to_the_host(container: Container, tmp_path: Path, port: int) -> None:
    left = threading.Event()

    def listen(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"?")
        assert until_end(connection) == b""
        left.set()

    (tmp_path / "model").mkdir()
    with listening(tmp_path / "model" / "socket", listen):
        assert run(container, tmp_path, port, "c.sendall(b'half'); c.recv(1); raise SystemExit(7)").exit_code == 7
        assert left.wait(LONG_S)


def test_signals_reach_the_program_and_the_forwarder_ends_after_it(tmp_path: Path, port: int) -> None:
    program = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
    command = [str(WITH_MODEL), str(port), str(tmp_path / "socket"), sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        socket.create_connection(("127.0.0.1", port)).close()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b""
        assert process.wait() == 7
    until(lambda: not accepts(port))


def accepts(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["8000", "/model/socket"], "with_model PORT SOCKET COMMAND"), (["port", "/s", "true"], "with_model PORT SOCKET")],
)
def test_wrong_use(arguments: list[str], words: str) -> None:
    done = processes.run([str(WITH_MODEL), *arguments], timeout_s=LONG_S)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_taken_port_and_a_missing_program_are_one_line_each(tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = processes.run([str(WITH_MODEL), str(port), "/s", "true"], timeout_s=LONG_S)
    assert done.exit_code == 2
    assert "Address already in use" in done.stderr
    done = processes.run([str(WITH_MODEL), str(port), "/s", "no-such-program"], timeout_s=LONG_S)
    assert done == processes.Completed(127, "", "with_model: no-such-program: No such file or directory")
