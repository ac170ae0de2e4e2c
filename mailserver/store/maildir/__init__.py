"""Maildrops in Maildirs: the lock, the index, the journal of deletions and the files."""
