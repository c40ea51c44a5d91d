-- The hub as one log: hub.revision is the lock that orders all changes; change_log holds every one of them.
-- Statements can be run twice (IF NOT EXISTS, INSERT IGNORE): a migration that was cut off is simply run again.

CREATE TABLE IF NOT EXISTS hub (
	id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
	identity CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'random, made with the database',
	revision BIGINT UNSIGNED NOT NULL COMMENT 'of the newest change',
	accounts BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'rows in each table at this revision: a dump that is restored half-way is known by it',
	silos BIGINT UNSIGNED NOT NULL DEFAULT 0,
	records BIGINT UNSIGNED NOT NULL DEFAULT 0,
	CONSTRAINT one_row CHECK (id = 1)
) ENGINE = InnoDB;

INSERT IGNORE INTO hub (id, identity, revision) VALUES (1, LEFT(SHA2(CONCAT(UUID(), RAND(), NOW(6)), 256), 32), 0);

CREATE TABLE IF NOT EXISTS account (
	id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
	name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	role ENUM('common', 'admin') CHARACTER SET ascii NOT NULL,
	quota INT UNSIGNED NOT NULL COMMENT 'silos that it may own; an admin has no limit',
	password_hash VARCHAR(127) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'Argon2id',
	revision BIGINT UNSIGNED NOT NULL,
	UNIQUE KEY name (name)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS silo (
	id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
	owner INT UNSIGNED NOT NULL,
	revision BIGINT UNSIGNED NOT NULL,
	CONSTRAINT silo_owner FOREIGN KEY (owner) REFERENCES account (id)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS record (
	silo VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	hostname VARCHAR(253) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	ip VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'canonical text',
	PRIMARY KEY (silo, hostname, ip),
	CONSTRAINT record_silo FOREIGN KEY (silo) REFERENCES silo (id) ON DELETE CASCADE
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS change_log (
	revision BIGINT UNSIGNED NOT NULL PRIMARY KEY,
	batch BIGINT UNSIGNED NOT NULL COMMENT 'random, one per transaction: tells whether a commit landed',
	kind ENUM('silo-put', 'silo-delete', 'user-put', 'user-delete') CHARACTER SET ascii NOT NULL,
	subject VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'silo id or user name',
	owner INT UNSIGNED NOT NULL COMMENT 'of the silo, or the user itself',
	former_owner INT UNSIGNED NOT NULL COMMENT 'of a silo that changed hands; 0: it did not',
	document MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'the silo after the change; NULL: deleted, or a user',
	actor VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'user name; empty: the command line',
	peer VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'address; empty: the command line',
	at BIGINT UNSIGNED NOT NULL COMMENT 'microseconds since 1970, UTC',
	KEY subject (subject, revision, kind, at) COMMENT 'a page of a history is found without reading documents'
) ENGINE = InnoDB;
