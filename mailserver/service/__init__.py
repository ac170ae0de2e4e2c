"""The service: binds the ports, becomes the user that serves, and runs the parts; alone or by worker processes."""

from mailserver.service.mail import MailService

__all__ = ["MailService"]
