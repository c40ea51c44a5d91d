-- Secrets of the settings (SILODNS_UPDATER_TOKEN, SILODNS_HOSTSYNC_TOKEN) of which a token was made. Statements can be run twice, as those of 0001.

-- Each is taken once: a token that was revoked stays so, though the settings still name its secret.
CREATE TABLE IF NOT EXISTS client_secret (
	hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'as token.hash'
) ENGINE = InnoDB;
