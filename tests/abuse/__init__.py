"""What strangers, fools and attackers do to a server: it stays up, stays small, and serves the others."""
