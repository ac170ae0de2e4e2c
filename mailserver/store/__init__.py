"""Maildrops: where messages lie, under what lock, and in what order. It knows no protocol."""

from mailserver.store.memory import MemoryStore

__all__ = ["MemoryStore"]
