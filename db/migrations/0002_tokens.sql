-- Tokens, which credential made a change, and what was refused. Statements can be run twice, as those of 0001.

CREATE TABLE IF NOT EXISTS token (
	owner INT UNSIGNED NOT NULL,
	name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'BLAKE2b of its 256 random bits, hexadecimal',
	scope TEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'JSON: what it may do, from where, until when',
	created BIGINT UNSIGNED NOT NULL COMMENT 'microseconds since 1970, UTC',
	revision BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (owner, name),
	UNIQUE KEY hash (hash),
	CONSTRAINT token_owner FOREIGN KEY (owner) REFERENCES account (id)
) ENGINE = InnoDB;

-- Written once a minute by each hub, for the tokens that were used: a table of its own, so that no change waits for it, and no part of the log.
CREATE TABLE IF NOT EXISTS token_use (
	hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
	used BIGINT UNSIGNED NOT NULL COMMENT 'microseconds since 1970, UTC; give or take two minutes'
) ENGINE = InnoDB;

ALTER TABLE hub ADD COLUMN IF NOT EXISTS tokens BIGINT UNSIGNED NOT NULL DEFAULT 0;

-- Only metadata changes here: a long log is not copied.
ALTER TABLE change_log
	ADD COLUMN IF NOT EXISTS credential VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '' COMMENT 'name of the token; empty: password or command line',
	MODIFY kind ENUM('silo-put', 'silo-delete', 'user-put', 'user-delete', 'token-put', 'token-delete') CHARACTER SET ascii NOT NULL,
	MODIFY subject VARCHAR(129) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'silo id, user name, or user/token',
	MODIFY document MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'silo, user or token after the change, no secret in it; NULL: deleted';

-- Equal attempts of one hour are one row; rows are bounded in number and age.
CREATE TABLE IF NOT EXISTS refusal (
	id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
	fold CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'hash of what makes attempts equal, and the hour',
	first_at BIGINT UNSIGNED NOT NULL COMMENT 'microseconds since 1970, UTC',
	last_at BIGINT UNSIGNED NOT NULL,
	count BIGINT UNSIGNED NOT NULL,
	error VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	account VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'a user that exists; empty: none, or no such user',
	credential VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'name of the token; empty: none',
	peer VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	method VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	path VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'as the contract has it: /silos/{id}',
	subject VARCHAR(129) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'what stands for {id} or {name}',
	reason VARCHAR(255) NOT NULL,
	UNIQUE KEY fold (fold)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
