"""The protocol and the SASL exchanges are pure, and so are these tests: no reactor, no clock, no socket."""
