"""What may stand behind ``pam:``."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from mailserver.auth.pam.options import Options
from mailserver.auth.plugins import PamFactory


def test_it_is_a_plugin_of_strcred() -> None:
    factory: Any = PamFactory()
    verifyObject(ICheckerFactory, factory)
    verifyObject(IPlugin, factory)
    assert (factory.authType, factory.credentialInterfaces) == ("pam", (IUsernamePassword,))
    assert repr(factory.generateChecker("mailserver:min_uid=500")) == "PamUsers('mailserver')"


def test_options_follow_the_service() -> None:
    assert Options.read("mailserver") == Options("mailserver")
    written = "pop3:min_uid=500:domain=example.org:timeout=30:remember=60:processes=2:folder=/etc/mailserver/pam.d"
    assert Options.read(written) == Options("pop3", 500, "example.org", 30, 60, 2, "/etc/mailserver/pam.d")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "the name of a service"),
        ("../shadow", "the name of a service"),
        ("Mailserver", "the name of a service"),
        ("a/b", "the name of a service"),
        ("x:uid=5", '"uid" is none of min_uid='),
        ("x:min_uid", '"min_uid" is none of'),
        ("x:service=y", '"service" is none of'),
        ("x:min_uid=-1", "min_uid must be a number"),
        ("x:min_uid=\u0663", "min_uid must be a number"),
        ("x:timeout=0", "timeout must be from 1 to 300"),
        ("x:remember=301", "remember must be from 0 to 300"),
        ("x:processes=65", "processes must be from 1 to 64"),
        ("x:domain=Example.org", "the domain must be one in lower case"),
        ("x:domain=a@b", "the domain must be one in lower case"),
        ("x:folder=pam.d", "the folder must be a path from the root"),
    ],
)
def test_what_fits_nowhere_is_an_error_that_says_so(written: str, told: str) -> None:
    with pytest.raises(InvalidAuthArgumentString, match=told):
        PamFactory().generateChecker(written)
