"""What all worker processes remember together: failed attempts, usual networks, login delays, and the connections that each has.

Each class here has its model in ``net/``, which is for one process: a dict there, a table in the memory of all here.
"""
