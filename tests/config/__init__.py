"""The settings: reading them, and telling all that is wrong."""
