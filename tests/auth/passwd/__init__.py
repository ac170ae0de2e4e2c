"""The passwd-file: its table, its checker, and how changes of the file are seen."""
