"""Rules as an operator lives with them: curl meets them, a reload changes them in mid-use, and a hundred of them under
load lose nobody who should live and keep nobody who should end."""

from __future__ import annotations

import itertools
import random
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .harness import PATIENCE, Address, Hosier, command, run, wait_until
from .target import Target
from .wire import connect_request, credentials, echo_server, exactly

USERS = {"ann": "open sesame", "bob": "close sesame"}
LOGIN = '[users]\nann = "open sesame"\nbob = "close sesame"\n'

RELOADED = re.compile(r"^hosier: (?:not )?reloaded: ", re.MULTILINE)


@contextmanager
def configured(folder: Path, text: str, workers: int) -> Iterator[tuple[Hosier, Callable[[str], str]]]:
    """A server with a file, and a function that changes the file, sends SIGHUP, and waits for what is said about it."""
    file = folder / "hosier.toml"
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    with Hosier(f"--config={file}", f"--workers={workers}") as hosier:

        def reload(text: str) -> str:
            before = len(RELOADED.findall(hosier.messages))
            file.write_text(text, encoding="utf-8")
            hosier.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(RELOADED.findall(hosier.messages)) > before, "it is reloaded")
            return hosier.messages.splitlines()[-1]

        yield hosier, reload


def curl(path: str, hosier: Hosier, user: str, url: str) -> subprocess.CompletedProcess[bytes]:
    proxy = ["--proxy", f"socks5h://{hosier.address}", "--proxy-user", f"{user}:{USERS[user]}"]
    return run([path, "-q", "--silent", "--show-error", "--fail", *proxy, url], status=None)


@pytest.mark.real
@pytest.mark.parametrize("workers", [1, 2])
def test_curl_meets_rules(program: Callable[..., str], target: Target, tmp_path: Path, workers: int) -> None:
    """Replies as rules say them, in the words that curl has; wrong input changes nothing; explain agrees."""
    path = program("curl")
    port = target.port
    rules = f"""
        [groups]
        staff = ["ann"]
        [[rules]]
        name = "not for bob"
        action = "deny"
        users = ["bob"]
        ports = [{port}]
        reply = "host-unreachable"
        [[rules]]
        action = "allow"
        groups = ["staff"]
        egress = ["127.0.0.9"]
    """
    with configured(tmp_path, LOGIN + rules, workers) as (hosier, reload):
        url = target.url("127.0.0.1")
        assert curl(path, hosier, "ann", url).stdout.startswith(b'{"peer": "127.0.0.9"'), "it leaves from there"
        done = curl(path, hosier, "bob", url)
        assert done.returncode == 97
        assert b"(4)" in done.stderr
        question = ["config", "explain", str(tmp_path / "hosier.toml"), f"--to=127.0.0.1:{port}"]
        for user, code in (("ann", 0), ("bob", 1)):
            explained = run(command(*question, f"--user={user}"), status=None)
            assert explained.returncode == code
            assert b"rule 1 (not for bob)" in explained.stdout
        assert "rules, item 1, ports: 0 are no ports" in reload(LOGIN + rules.replace(str(port), "0"))
        assert curl(path, hosier, "bob", url).returncode == 97
        assert reload(LOGIN + rules.replace(str(port), "1")).startswith("hosier: reloaded: ")
        assert curl(path, hosier, "bob", url).returncode == 0


@pytest.mark.real
@pytest.mark.parametrize("workers", [1, 2])
def test_reload_in_the_middle_of_downloads(
    program: Callable[..., str], target: Target, tmp_path: Path, workers: int
) -> None:
    """Ann's download comes to its end, bob's is cut off."""
    path = program("curl")
    with configured(tmp_path, LOGIN, workers) as (hosier, reload):
        fetch = [path, "-q", "--silent", "--fail", "--proxy", f"socks5h://{hosier.address}", "--output", "/dev/null"]
        url = target.url("127.0.0.1", "/held/8000000")
        downloads = {
            user: subprocess.Popen([*fetch, "--proxy-user", f"{user}:{password}", url])
            for user, password in USERS.items()
        }
        wait_until(lambda: len(target.held) == 2, "both are under way")
        said = reload(LOGIN + '[[rules]]\naction = "deny"\nusers = ["bob"]\n')
        assert said == "hosier: reloaded: 1 session ended"
        assert downloads["bob"].wait(PATIENCE) != 0
        target.goes_on.set()
        assert downloads["ann"].wait(PATIENCE) == 0


class Chatter(threading.Thread):
    """A client that sends and gets back numbered lines until it is told to stop or is cut off."""

    def __init__(self, proxy: Address, target: Address, user: str) -> None:
        super().__init__(daemon=True)
        self.user = user
        self.turns = 0
        self.alive = True
        self.wrong = ""
        self._enough = threading.Event()
        self._sock = socket.create_connection(proxy, PATIENCE)
        self._sock.sendall(b"\x05\x01\x02" + credentials(user, USERS[user]) + connect_request(target))
        assert exactly(self._sock, 14)[:6] == b"\x05\x02\x01\x00\x05\x00"

    def run(self) -> None:
        with self._sock, suppress(ConnectionError):
            for number in itertools.count():
                line = b"%s %08d" % (self.user.encode(), number)
                self._sock.sendall(line)
                answer = b""
                while len(answer) < len(line):
                    piece = self._sock.recv(len(line) - len(answer))
                    if not piece:
                        self.alive = False
                        return
                    answer += piece
                if answer != line:
                    self.wrong = f"{answer!r} in the place of {line!r}"
                self.turns += 1
                if self._enough.wait(0.05):
                    return
        self.alive = self._enough.is_set()

    def stop(self) -> None:
        self._enough.set()
        self.join(PATIENCE)


@pytest.mark.real
@pytest.mark.timeout(180)
def test_a_hundred_reloads_under_load(tmp_path: Path) -> None:
    """Two workers, five hundred talkative sessions, and new ones all the while. Ninety-nine reloads, some of
    them wrong, forbid nobody who is there; the last one forbids bob: all of his sessions end, and none of ann's.
    """
    dice = random.Random(8)
    everybody = LOGIN + '[[rules]]\naction = "allow"\nusers = ["ann", "bob"]\n[[rules]]\naction = "deny"\n'
    with echo_server() as target, configured(tmp_path, everybody, 2) as (hosier, reload):
        chatters = [Chatter(hosier.address, target, user) for user in USERS for _ in range(250)]
        for chatter in chatters:
            chatter.start()
        for number in range(99):
            variants = (
                (everybody, "reloaded: no session had to end"),
                (
                    f'{everybody}[[rules]]\naction = "allow"\nports = [{number + 1}]\n',
                    "reloaded: no session had to end",
                ),
                (LOGIN, "reloaded: no session had to end"),
                (everybody.replace("deny", "dny"), "not reloaded: "),
                ("users = 7\n", "not reloaded: "),
            )
            text, said = dice.choice(variants)
            assert reload(text).startswith(f"hosier: {said}")
            if not number % 10:
                late = Chatter(hosier.address, target, dice.choice(tuple(USERS)))
                late.start()
                chatters.append(late)
        time.sleep(0.2)
        assert [chatter.user for chatter in chatters if not chatter.alive] == []
        bobs = [chatter for chatter in chatters if chatter.user == "bob"]
        said = reload(everybody.replace('"ann", "bob"', '"ann"'))
        assert said == f"hosier: reloaded: {len(bobs)} sessions ended"
        for chatter in bobs:
            chatter.join(PATIENCE)
        assert not any(chatter.alive for chatter in bobs)
        turns = {chatter: chatter.turns for chatter in chatters if chatter.user == "ann"}
        wait_until(lambda: all(chatter.turns > before for chatter, before in turns.items()), "all of ann's go on")
        for chatter in turns:
            chatter.stop()
        assert all(chatter.alive for chatter in turns)
        assert not [chatter.wrong for chatter in chatters if chatter.wrong]
        ends = [session["end"] for session in hosier.sessions(str(target), 5, chatters)]
        assert sum(end.startswith("refused: not allowed any more: rule 2") for end in ends) == len(bobs)
