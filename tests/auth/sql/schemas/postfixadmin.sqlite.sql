-- PostfixAdmin 4 on SQLite: the tables that a login concerns, with the names, types and keys that its upgrades arrive at.
CREATE TABLE domain (
    domain varchar(255) NOT NULL PRIMARY KEY,
    description varchar(255) NOT NULL,
    aliases int(11) NOT NULL DEFAULT 0,
    mailboxes int(11) NOT NULL DEFAULT 0,
    maxquota bigint(20) NOT NULL DEFAULT 0,
    quota bigint(20) NOT NULL DEFAULT 0,
    transport varchar(255) NOT NULL,
    backupmx tinyint(1) NOT NULL DEFAULT '0',
    created datetime NOT NULL DEFAULT '2000-01-01',
    modified datetime NOT NULL DEFAULT '2000-01-01',
    active tinyint(1) NOT NULL DEFAULT '1',
    password_expiry int DEFAULT 0
);
CREATE TABLE mailbox (
    username varchar(255) NOT NULL PRIMARY KEY,
    password varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    maildir varchar(255) NOT NULL,
    quota bigint(20) NOT NULL DEFAULT 0,
    local_part varchar(255) NOT NULL,
    domain varchar(255) NOT NULL,
    created datetime NOT NULL DEFAULT '2000-01-01',
    modified datetime NOT NULL DEFAULT '2000-01-01',
    active tinyint(1) NOT NULL DEFAULT '1',
    phone varchar(30) NOT NULL DEFAULT '',
    email_other varchar(255) NOT NULL DEFAULT '',
    token varchar(255) NOT NULL DEFAULT '',
    token_validity datetime NOT NULL DEFAULT '2000-01-01',
    password_expiry datetime NOT NULL DEFAULT '2000-01-01',
    totp_secret varchar(255) DEFAULT NULL,
    smtp_active tinyint(1) NOT NULL DEFAULT '1'
);
CREATE TABLE alias (
    address varchar(255) NOT NULL PRIMARY KEY,
    goto text NOT NULL,
    domain varchar(255) NOT NULL,
    created datetime NOT NULL DEFAULT '2000-01-01',
    modified datetime NOT NULL DEFAULT '2000-01-01',
    active tinyint(1) NOT NULL DEFAULT '1',
    description varchar(255) NOT NULL DEFAULT ''
);
CREATE TABLE alias_domain (
    alias_domain varchar(255) NOT NULL PRIMARY KEY,
    target_domain varchar(255) NOT NULL,
    created datetime NOT NULL DEFAULT '2000-01-01',
    modified datetime NOT NULL DEFAULT '2000-01-01',
    active tinyint(1) NOT NULL DEFAULT '1',
    description varchar(255) NOT NULL DEFAULT ''
);
CREATE TABLE mailbox_app_password (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    username varchar(255) DEFAULT NULL,
    description varchar(255) DEFAULT NULL,
    password_hash varchar(255) DEFAULT NULL
);
