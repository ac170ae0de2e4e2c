"""The server to try, as a newcomer starts it."""
