-- mailcow (August 2026), MariaDB: the tables that a login concerns, with their names, types and keys.
CREATE TABLE domain (
    domain varchar(255) NOT NULL PRIMARY KEY,
    description varchar(255),
    aliases int(10) NOT NULL DEFAULT 0,
    mailboxes int(10) NOT NULL DEFAULT 0,
    defquota bigint(20) NOT NULL DEFAULT 3072,
    maxquota bigint(20) NOT NULL DEFAULT 102400,
    quota bigint(20) NOT NULL DEFAULT 102400,
    relayhost varchar(255) NOT NULL DEFAULT '0',
    backupmx tinyint(1) NOT NULL DEFAULT 0,
    gal tinyint(1) NOT NULL DEFAULT 1,
    relay_all_recipients tinyint(1) NOT NULL DEFAULT 0,
    relay_unknown_only tinyint(1) NOT NULL DEFAULT 0,
    created datetime NOT NULL DEFAULT now(),
    modified datetime ON UPDATE CURRENT_TIMESTAMP,
    active tinyint(1) NOT NULL DEFAULT 1
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC;
CREATE TABLE mailbox (
    username varchar(255) NOT NULL PRIMARY KEY,
    password varchar(255) NOT NULL,
    name varchar(255),
    description varchar(255),
    mailbox_path_prefix varchar(150) DEFAULT '/var/vmail/',
    quota bigint(20) NOT NULL DEFAULT 102400,
    local_part varchar(255) NOT NULL,
    domain varchar(255) NOT NULL,
    attributes json,
    custom_attributes json NOT NULL DEFAULT ('{}'),
    kind varchar(100) NOT NULL DEFAULT '',
    multiple_bookings int NOT NULL DEFAULT -1,
    authsource enum('mailcow', 'keycloak', 'generic-oidc', 'ldap') DEFAULT 'mailcow',
    created datetime NOT NULL DEFAULT now(),
    modified datetime ON UPDATE CURRENT_TIMESTAMP,
    active tinyint(1) NOT NULL DEFAULT 1,
    KEY domain (domain),
    KEY kind (kind)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC;
CREATE TABLE app_passwd (
    id int NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name varchar(255) NOT NULL,
    mailbox varchar(255) NOT NULL,
    domain varchar(255) NOT NULL,
    password varchar(255) NOT NULL,
    created datetime NOT NULL DEFAULT now(),
    modified datetime ON UPDATE CURRENT_TIMESTAMP,
    imap_access tinyint(1) NOT NULL DEFAULT 1,
    smtp_access tinyint(1) NOT NULL DEFAULT 1,
    dav_access tinyint(1) NOT NULL DEFAULT 1,
    eas_access tinyint(1) NOT NULL DEFAULT 1,
    pop3_access tinyint(1) NOT NULL DEFAULT 1,
    sieve_access tinyint(1) NOT NULL DEFAULT 1,
    active tinyint(1) NOT NULL DEFAULT 1,
    KEY mailbox (mailbox),
    KEY password (password),
    KEY domain (domain),
    CONSTRAINT fk_username_app_passwd FOREIGN KEY (mailbox) REFERENCES mailbox (username) ON DELETE CASCADE ON UPDATE NO ACTION
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC;
CREATE TABLE alias_domain (
    alias_domain varchar(255) NOT NULL PRIMARY KEY,
    target_domain varchar(255) NOT NULL,
    created datetime NOT NULL DEFAULT now(),
    modified datetime ON UPDATE CURRENT_TIMESTAMP,
    active tinyint(1) NOT NULL DEFAULT 1,
    KEY active (active),
    KEY target_domain (target_domain)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC;
CREATE TABLE alias (
    id int NOT NULL AUTO_INCREMENT PRIMARY KEY,
    address varchar(255) NOT NULL UNIQUE,
    goto text NOT NULL,
    domain varchar(255) NOT NULL,
    created datetime NOT NULL DEFAULT now(),
    modified datetime ON UPDATE CURRENT_TIMESTAMP,
    private_comment text,
    public_comment text,
    sogo_visible tinyint(1) NOT NULL DEFAULT 1,
    internal tinyint(1) NOT NULL DEFAULT 0,
    sender_allowed tinyint(1) NOT NULL DEFAULT 1,
    active tinyint(1) NOT NULL DEFAULT 1,
    KEY domain (domain)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC;
