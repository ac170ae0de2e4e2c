"""The commands around the service: what twist and twistd start, and the demonstration that `make serve` runs."""
