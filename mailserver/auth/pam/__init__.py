"""System users through PAM: `checker` and `link` are the server's side, `keeper` is a program of its own, which keeps the rights."""
