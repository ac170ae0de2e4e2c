"""The program that asks PAM, with rights of its own: `auth/pam` starts it. It stands apart so that it loads nothing else."""
