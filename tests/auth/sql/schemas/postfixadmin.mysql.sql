-- PostfixAdmin 4 on MariaDB: the tables that a login concerns, with the names, types and keys that its upgrades arrive at.
CREATE TABLE domain (
    domain varchar(255) COLLATE latin1_general_ci NOT NULL PRIMARY KEY,
    description varchar(255) CHARACTER SET utf8mb4 NOT NULL,
    aliases int(10) NOT NULL DEFAULT 0,
    mailboxes int(10) NOT NULL DEFAULT 0,
    maxquota bigint(20) NOT NULL DEFAULT 0,
    quota bigint(20) NOT NULL DEFAULT 0,
    transport varchar(255) COLLATE latin1_general_ci NOT NULL,
    backupmx tinyint(1) NOT NULL DEFAULT 0,
    created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    active tinyint(1) NOT NULL DEFAULT 1,
    password_expiry int DEFAULT 0
) ENGINE=InnoDB CHARACTER SET latin1 COLLATE latin1_general_ci;
CREATE TABLE mailbox (
    username varchar(255) COLLATE latin1_general_ci NOT NULL PRIMARY KEY,
    password varchar(255) COLLATE latin1_general_ci NOT NULL,
    name varchar(255) CHARACTER SET utf8mb4 NOT NULL,
    maildir varchar(255) COLLATE latin1_general_ci NOT NULL,
    quota bigint(20) NOT NULL DEFAULT 0,
    local_part varchar(255) COLLATE latin1_general_ci NOT NULL,
    domain varchar(255) COLLATE latin1_general_ci NOT NULL,
    created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    active tinyint(1) NOT NULL DEFAULT 1,
    phone varchar(30) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
    email_other varchar(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
    token varchar(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
    token_validity datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    password_expiry datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    totp_secret varchar(255) CHARACTER SET utf8mb4 DEFAULT NULL,
    smtp_active tinyint(1) NOT NULL DEFAULT 1,
    KEY domain (domain)
) ENGINE=InnoDB CHARACTER SET latin1 COLLATE latin1_general_ci;
CREATE TABLE alias (
    address varchar(255) COLLATE latin1_general_ci NOT NULL PRIMARY KEY,
    goto text COLLATE latin1_general_ci NOT NULL,
    domain varchar(255) COLLATE latin1_general_ci NOT NULL,
    description varchar(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
    created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    active tinyint(1) NOT NULL DEFAULT 1,
    KEY domain (domain)
) ENGINE=InnoDB CHARACTER SET latin1 COLLATE latin1_general_ci;
CREATE TABLE alias_domain (
    alias_domain varchar(255) NOT NULL PRIMARY KEY,
    target_domain varchar(255) NOT NULL,
    description varchar(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
    created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
    active tinyint(1) NOT NULL DEFAULT 1
) ENGINE=InnoDB CHARACTER SET latin1 COLLATE latin1_general_ci;
CREATE TABLE mailbox_app_password (
    id int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username varchar(255) DEFAULT NULL,
    description varchar(255) DEFAULT NULL,
    password_hash varchar(255) DEFAULT NULL
);
