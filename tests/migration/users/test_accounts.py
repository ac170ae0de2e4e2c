"""The lines of a passwd-file that is made, and what is shown of them."""

from mailserver.migration.users.accounts import Account, passwd_file


def test_an_app_password_whose_scheme_stands_behind_it_is_not_shown():
    """libpam-pwdfile's way: without a brace, by which a scheme is known."""
    made = passwd_file([Account("alice", secrets=["app_password=phone:pop3s::5f4dcc3b[34]"])], "")
    assert made.text == "alice:::::::app_password=phone:pop3s::5f4dcc3b[34]\n"
    assert made.shown == "alice:::::::app_password=phone:pop3s::...\n"
