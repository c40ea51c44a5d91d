#!/bin/bash
# The official image's contract, as far as silodns needs it.
set -eu

value() { # NAME or the contents of the file NAME_FILE
	local file=$1_FILE
	if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-}"; fi
}

if [ "$(id -u)" = 0 ]; then
	chown mysql:mysql /var/lib/mysql /run/mysqld
	exec setpriv --reuid=mysql --regid=mysql --clear-groups "$0" "$@"
fi
[ "$1" = mariadbd ] || exec "$@"

if [ ! -d /var/lib/mysql/mysql ]; then
	echo '[entrypoint] making a new database'
	mariadb-install-db --datadir=/var/lib/mysql --skip-test-db --auth-root-authentication-method=socket \
		--auth-root-socket-user=mysql >/dev/null
	mariadbd --skip-networking --datadir=/var/lib/mysql &
	server=$!
	until mariadb -umysql -e 'SELECT 1' >/dev/null 2>&1 || mariadb -uroot -e 'SELECT 1' >/dev/null 2>&1; do
		kill -0 $server
		sleep 0.1
	done
	name=$(value MARIADB_DATABASE) user=$(value MARIADB_USER) password=$(value MARIADB_PASSWORD)
	client() { mariadb -umysql "$@" 2>/dev/null || mariadb -uroot "$@"; }
	client <<-SQL
		CREATE DATABASE IF NOT EXISTS \`$name\`;
		CREATE USER IF NOT EXISTS '$user'@'%' IDENTIFIED BY '$password';
		GRANT ALL ON \`$name\`.* TO '$user'@'%';
		CREATE USER IF NOT EXISTS healthcheck@localhost IDENTIFIED VIA unix_socket;
	SQL
	for file in /docker-entrypoint-initdb.d/*.sql; do
		[ ! -e "$file" ] || client "$name" <"$file"
	done
	kill $server
	wait $server || true
fi
exec "$@" --datadir=/var/lib/mysql
