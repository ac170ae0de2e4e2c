"""What would become of a login that nobody has tried: each door of the way to the maildrop is asked what it would say.

The doors' own functions answer; here they are only called in their order.
"""
