"""The service and its parts, its workers, and what they say to one another."""
