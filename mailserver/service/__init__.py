"""The service: it binds, becomes who serves, makes the parts of the settings, and ends them; alone or by workers."""

from mailserver.service.mail import MailService

__all__ = ["MailService"]
