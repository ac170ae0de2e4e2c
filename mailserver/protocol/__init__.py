"""The protocol as a function of bytes and a snapshot: nothing here waits, opens, reads a clock or draws a number."""
