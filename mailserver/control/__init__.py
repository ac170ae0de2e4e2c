"""The operators' way to a running server: a Unix socket, the questions that it answers, and the client that asks them."""
