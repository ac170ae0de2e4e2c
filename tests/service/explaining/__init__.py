"""What is said of a login that nobody has tried, beside what becomes of it when it is tried: they never differ."""
