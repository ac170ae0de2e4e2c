"""What can be wrong with a Maildir, found by reading alone, and how it is mended without losing a message."""
