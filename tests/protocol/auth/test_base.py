"""The seam for authentication: its values, and that what we ship fits it."""

import pytest

from hosier.protocol.auth.base import AuthFraming, AuthMessage, AuthStep, Outcome, SecurityLayer
from hosier.protocol.auth.gssapi import GssapiFraming
from hosier.protocol.auth.password import PasswordFraming, Status
from hosier.testing import ToyFraming, ToyLayer


def test_values() -> None:
    assert AuthStep() == AuthStep(None, None)
    assert Outcome("fred").layer is None
    layer: SecurityLayer = ToyLayer()
    assert Outcome("fred", layer).layer is layer


def test_repr_names_types_only() -> None:
    """UP-REQ-13: a body may hold a password."""
    assert repr(AuthMessage(b"hunter2")) == "AuthMessage(body=<bytes>)"
    assert repr(AuthStep(b"hunter2", Outcome("fred"))) == (
        "AuthStep(body=<bytes>, outcome=Outcome(identity='fred', layer=None, reason=''))"
    )
    assert repr(AuthStep(Status(0))) == "AuthStep(body=<Status>, outcome=None)"


@pytest.mark.parametrize("framing", [PasswordFraming(), GssapiFraming(), ToyFraming()])
def test_framings_fit(framing: AuthFraming) -> None:
    """mypy checks the shape; a refusal must be a message that the client understands."""
    found = framing.decode(framing.refusal, from_client=False)
    assert found is not None
    assert found[1] == len(framing.refusal)
    assert 0 < framing.code < 0xFF
    assert framing.server_speaks_first is False
