"""The pages say what is so: examples run, options and targets exist, links lead somewhere."""

import json
import re
import shlex
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from hosier.auth.scrypt import hash_password
from hosier.auth.users_file import change_user
from hosier.cli.main import main
from hosier.cli.options import in_option
from hosier.config.build import build_settings
from hosier.config.example import example
from hosier.config.load import load
from hosier.config.sources import Sources
from hosier.observe.access_log import json_line
from hosier.observe.record import SessionRecord
from hosier.server.settings import Limits, UdpSettings

from .real.other_tools import comparison

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "integrations").glob("*.md")),
    *sorted((ROOT / "decisions").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/*.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "fuzz")),
]
# Pages whose Python examples are programs of their own; those of extending.md make one together.
PROGRAMS = (
    "README.md",
    "docs/start.md",
    "docs/server.md",
    "docs/gateway.md",
    "docs/client.md",
    "docs/gssapi.md",
    "docs/socksify.md",
    "docs/trio.md",
    "docs/coming-from.md",
    "docs/testing.md",  # whose tests are run by tests/testing/test_fixtures.py
)
TOGETHER = "docs/extending.md"
# Those of the integrations need a proxy and a target; tests/integrations/test_pages.py runs them.
ELSEWHERE = "docs/integrations/"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: Path | str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text(page)) if found == language]


def run_python(program: str, folder: Path, data: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=data,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# --- Python ---


def programs() -> list[tuple[str, str]]:
    return [(page, block) for page in PROGRAMS for block in blocks(page, "python")]


@pytest.mark.parametrize(("page", "program"), programs(), ids=lambda value: value if value in PROGRAMS else "")
def test_programs(page: str, program: str, tmp_path: Path) -> None:
    assert "Traceback" not in run_python(program, tmp_path)


def test_every_python_example_is_run() -> None:
    for page in PAGES:
        if blocks(page, "python") and not name(page).startswith(ELSEWHERE):
            assert name(page) in (*PROGRAMS, TOGETHER), f"the examples in {name(page)} are run by nobody"


@pytest.fixture
def token_package(tmp_path: Path) -> Path:
    """The method of extending.md, as its package would install it."""
    (tmp_path / "token_method.py").write_text("\n".join(blocks(TOGETHER, "python")), encoding="utf-8")
    (package,) = blocks(TOGETHER, "toml")
    found = re.search(r'\[project\.entry-points\."(hosier\.methods)"\]\n(\w+) = "(.+)"', package)
    assert found is not None
    information = tmp_path / "hosier_token-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: hosier-token\nVersion: 1\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(f"[{found[1]}]\n{found[2]} = {found[3]}\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def greeter() -> Iterator[int]:
    """The port of a server that says hello to one client."""

    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"hello")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=greet)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(30)


CLIENT = """
import asyncio, hosier, threading, token_method

async def main(port):
    async with hosier.Server(listen=["127.0.0.1:0"], methods=["token"], on_session_end=print) as server:
        address = server.addresses[0]
        print(await asyncio.to_thread(client, (address.host, address.port), port, b"open sesame"))
        try:
            await asyncio.to_thread(client, (address.host, address.port), port, b"open please")
        except hosier.AuthError as error:
            print(error)

def client(proxy, port, token):
    sock, handoff = token_method.connect(proxy, "127.0.0.1", port, token_method.TokenMethod(token))
    data = handoff.leftover
    with sock:
        while piece := sock.recv(100):
            data += piece
    return data

asyncio.run(main(int(input())))
"""


def test_the_method_of_the_page(token_package: Path, greeter: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server half, client half and package of extending.md, with a real server between them."""
    monkeypatch.setenv("TOKEN", "open sesame")
    monkeypatch.setenv("PYTHONPATH", str(token_package))
    said = run_python(CLIENT, token_package, str(greeter))
    assert "b'hello'" in said
    assert "user='token holder'" in said
    assert "method='81 (private)'" in said
    assert "refused the credentials" in said


# --- commands ---


def commands(page: Path) -> list[str]:
    """Every `hosier serve …` in the page's examples and in its running text."""
    whole = text(page)
    lines = [line for _, body in FENCE.findall(whole) for line in body.replace("\\\n", " ").splitlines()]
    lines += [line.strip() for line in whole.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", whole))
    return [line for line in lines if re.match(r"(\w+='?[^']*'? )?hosier serve\b", line)]


def arguments(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    words = words[words.index("serve") + 1 :]
    end = next((i for i, word in enumerate(words) if re.match(r"[0-9]?[|>&]", word)), len(words))
    return words[:end]


PARSE = """
import asyncio, json, sys
from hosier.cli.main import main
asyncio.Runner.run = lambda runner, work: work.close()  # everything but the serving itself
for line, words in json.load(sys.stdin):
    try:
        code = main(["serve", *words])
    except SystemExit as stop:
        code = stop.code
    if code:
        sys.exit(f"{line}: {code}")
"""


def test_commands_are_understood(tmp_path: Path) -> None:
    """By the program itself, values included."""
    for file in ("hosier.toml", "FILE"):
        (tmp_path / file).write_text(example(), encoding="utf-8")
    found = [(f"{name(page)}: {line}", arguments(line)) for page in PAGES for line in commands(page)]
    assert len(found) > 8
    run_python(PARSE, tmp_path, json.dumps(found))


def test_configuration_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example file says what the page says that it does."""
    (text_of_file,) = blocks("docs/configuration.md", "toml")
    file = tmp_path / "hosier.toml"
    file.write_text(text_of_file, encoding="utf-8")
    (tmp_path / "ann.password").write_text("from a file\n", encoding="utf-8")
    monkeypatch.setenv("BOBS_PASSWORD", "from outside")
    settings = build_settings(Sources(file=load(file)))
    assert settings.users == {"ann": "from a file", "bob": "from outside", "eve": "open sesame"}
    assert settings.limits == Limits(idle=600)
    assert settings.is_public


def test_rules_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example decides as the page says, word by word."""
    monkeypatch.chdir(tmp_path)
    (text_of_file,) = blocks("docs/rules.md", "toml")
    Path("hosier.toml").write_text(text_of_file, encoding="utf-8")
    for user in ("ann", "bob", "eve"):
        change_user("users", user.encode(), hash_password(b"open sesame", log_n=4))
    (dialogue,) = (
        body for _, body in FENCE.findall(text("docs/rules.md")) if body.startswith("$ hosier config explain")
    )
    asked, _, answer = dialogue.partition("\n")
    assert main(shlex.split(asked)[2:]) == 1
    assert capsys.readouterr().out == answer
    for question, granted in (
        ("--user ann --to 10.1.2.3:80", True),
        ("--user eve --to 10.1.2.3:80 --from 198.51.100.1", False),
        ("--user eve --to 203.0.113.1:80 --from 198.51.100.1", True),
        ("--user eve --to 203.0.113.1:80", False),
        ("--user bob --to 203.0.113.1:25", False),
        ("--user bob --to ads7.example.com:443 --at 'sat 12:00' --address 203.0.113.1", True),
        ("--user bob --to ads7.example.com:443 --at 'fri 12:00'", False),
    ):
        assert main(["config", "explain", "hosier.toml", *shlex.split(question)]) == (not granted), question


def test_options_that_pages_mention_exist() -> None:
    known = set(options())
    foreign = {"--proxy", "--proxy-user", "--proxy-server", "--proxy-type", "--proxy-auth", "--ulimit", "--global"}
    pages = ("README.md", "SECURITY.md", "docs/start.md", "docs/server.md", "docs/configuration.md")
    for page in (ROOT / page for page in pages):
        mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text(page)))
        assert mentioned <= known | foreign, name(page)


def options() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hosier", "serve", "--help"], capture_output=True, text=True, check=True, timeout=30
    )
    return re.findall(r"^  (?:-\w, )?(--[a-z][a-z0-9-]*)", done.stdout, re.MULTILINE)


def table(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text(page), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_every_option_is_explained() -> None:
    section = table("docs/server.md", "Options")
    for option in options():
        if option != "--help":
            assert re.search(rf"^\| .*`{option}\b", section, re.MULTILINE), f"docs/server.md does not explain {option}"


def test_every_limit_is_explained() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", table("docs/server.md", "Limits"), re.MULTILINE))
    assert rows == {field.name: f"{field.default:g}" for field in fields(Limits)}


def test_every_setting_of_udp_is_explained() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", table("docs/udp.md", "Settings"), re.MULTILINE))
    assert rows == {field.name: in_option(field.default) for field in fields(UdpSettings)}


def test_every_field_of_the_log_is_explained() -> None:
    record = SessionRecord(("127.0.0.1", 1), None, 5, "", "", None, None, None, None, 0, 0, 0.0, "")
    section = table("docs/server.md", "The access log")
    rows = re.findall(r"^\| [^|]*\| `(\w+)` \|", section, re.MULTILINE)
    assert rows == list(json.loads(json_line(record, "now")))


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    for page in PAGES:
        # In running text "make" is a verb: only what is marked as code counts.
        code = [*(body for _, body in FENCE.findall(text(page))), *re.findall(r"`([^`\n]+)`", text(page))]
        for found in (found for line in code for found in re.findall(r"^make ([a-z-]+)", line, re.MULTILINE)):
            assert found in targets, f"{name(page)}: make {found}"
    table_of_targets = text("CONTRIBUTING.md")
    assert all(f"`make {target}`" in table_of_targets for target in targets - {"help"})


# --- links ---


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", text(page))):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        assert ROOT in target.parents, f"{name(page)} leads out of the repository"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}"


def test_every_page_is_linked() -> None:
    """Who begins at the README finds all of them."""
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for link in LINK.findall(text(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists() and target not in reached:
                waiting.append(target)
    assert {name(page) for page in PAGES} <= {name(page) for page in reached}


@pytest.mark.parametrize("page", ["README.md", "docs/run.md"])
def test_what_became_of_programs_with_other_tools(page: str) -> None:
    """The table says what the tests find (tests/real/test_run_programs.py)."""
    assert comparison() in (ROOT / page).read_text(encoding="utf-8")


def test_decisions_are_complete() -> None:
    """Numbered without a gap, listed, and each with its four parts."""
    pages = sorted((ROOT / "decisions").glob("0*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    index = text("decisions/README.md")
    for page in pages:
        content = text(page)
        assert content.startswith(f"# {page.name[:4]}. ")
        assert f"({page.name})" in index
        for part in ("**Context.**", "**Choice.**", "**What would change it.**"):
            assert part in content, f"{page.name} lacks {part}"


def test_every_tool_has_its_reason() -> None:
    page = text("decisions/0010-development-tools.md").lower()
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras: dict[str, list[str]] = tomllib.load(file)["project"]["optional-dependencies"]
    wanted = [line for line in text("benchmarks/requirements.txt").splitlines() if line and not line.startswith("#")]
    for requirement in (*extras["dev"], *extras["uvloop"], *wanted):
        package = re.split(r"[^\w-]", requirement)[0].lower()
        assert package == "hosier" or re.search(rf"(?<![\w-]){package}(?![\w-])", page), f"why {package}?"


def test_place_for_the_figures() -> None:
    readme = text("README.md")
    assert readme.count("<!-- figures -->") == readme.count("<!-- /figures -->") == 1
    assert readme.index("<!-- figures -->") < readme.index("<!-- /figures -->")


def test_stale_keys_are_noticed(tmp_path: Path) -> None:
    """The table of configuration.md is the settings'."""
    for file in ("generate.py", "protocol.md", "configuration.md", "rules.md"):
        (tmp_path / file).write_text(text(f"docs/{file}"), encoding="utf-8")
    page, script = tmp_path / "configuration.md", [sys.executable, str(tmp_path / "generate.py")]
    assert subprocess.run([*script, "--check"], capture_output=True, check=False).returncode == 0
    page.write_text(text("docs/configuration.md").replace("| `open` |", "| `opn` |"), encoding="utf-8")
    done = subprocess.run([*script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"{page} is stale: run python docs/generate.py\n")
