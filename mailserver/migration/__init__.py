"""Moving in: mail, unique-ids and users of other servers, read from their files or over the network."""
