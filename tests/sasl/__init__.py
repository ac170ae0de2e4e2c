"""The exchanges, each against the vectors of its RFC."""
