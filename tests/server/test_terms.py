"""What settings come to before there is a socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosier.auth.scrypt import hash_password
from hosier.auth.users import FixedUsers
from hosier.auth.users_file import change_user
from hosier.auth.watched_users import WatchedUsers
from hosier.errors import ConfigError
from hosier.policy.facts import Facts
from hosier.policy.rulebook import Rulebook
from hosier.policy.rules import Rule
from hosier.server.settings import ServerSettings
from hosier.server.terms import Terms, rulebook_of

RULE = Rule(action="allow", listeners=["*:1080"])


def test_nothing_given() -> None:
    terms = Terms(ServerSettings())
    assert (terms.users, list(terms.methods), terms.framings, terms.rulebook) == (None, [0], {}, None)
    assert terms.admits_socks4
    assert not terms.questions_socks4
    assert not terms.accounts
    terms.close()


def test_users() -> None:
    terms = Terms(ServerSettings(users={"ann": "one"}))
    assert isinstance(terms.users, FixedUsers)
    assert list(terms.methods) == list(terms.framings) == [2]
    assert not terms.admits_socks4
    assert terms.questions_socks4


def test_the_same_users_stay_the_same_object(tmp_path: Path) -> None:
    path = str(tmp_path / "users")
    change_user(path, b"ann", hash_password(b"one"))
    before = Terms(ServerSettings(users_file=path))
    users = before.users
    assert isinstance(users, WatchedUsers)
    change_user(path, b"bob", hash_password(b"two"))
    after = Terms(ServerSettings(users_file=path, strict=True), before)
    assert after.users is users
    assert not users.has("bob"), "until it is taken over"
    after.take_over(before)
    assert users.has("bob")
    others = Terms(ServerSettings(users={"eve": "three"}), after)
    assert others.users is not users
    others.take_over(after)
    (tmp_path / "users").write_text("nonsense")
    with pytest.raises(ConfigError, match="line 1"):
        Terms(ServerSettings(users_file=path), before)


def test_listeners_of_rules() -> None:
    """``*:1080`` stands for both families' addresses, as it does in ``listen``."""
    book = rulebook_of(ServerSettings(listen=["*:1080", "127.0.0.1:1081"], open=True, rules=[RULE]), Rulebook)
    assert book is not None
    for listener, allowed in (("0.0.0.0:1080", True), ("[::]:1080", True), ("127.0.0.1:1081", False)):
        assert book.decide(Facts(listener=listener)).allowed == allowed


def test_where_no_rule_holds() -> None:
    for listen, allowed in ((["127.0.0.1:1080"], True), (["*:1080"], False)):
        settings = ServerSettings(listen=listen, open=True, rules=[Rule(action="deny", users=["eve"])])
        book = rulebook_of(settings, Rulebook)
        assert book is not None
        assert book.decide(Facts()).allowed == allowed
