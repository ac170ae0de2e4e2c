"""Users, passwords and settings of other servers, as files of ours: one file for each kind of source, which says what it cannot take over."""
