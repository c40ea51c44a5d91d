#!/bin/sh
# The point of it all, seen with one's own eyes: a machine whose address changes, and one that goes on reaching it by its name.
#   deploy/demo.sh        starts the demo, shows it, and leaves it running; deploy/demo.sh down ends it
# A project of its own, with a port that is free and no setting of yours: it touches no hub that runs here, and leaves nothing behind.
set -eu
cd "$(dirname "$0")/.."
unset $(env | sed -n 's/^\(SILODNS_[A-Z0-9_]*\)=.*/\1/p')
export SILODNS_PORT=0
compose() { docker compose -p "${COMPOSE_PROJECT_NAME:-silodns-demo}" --env-file /dev/null --profile demo "$@"; }
if [ "${1:-}" = down ]; then
	compose down --volumes
	exit
fi

upstream_address() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$(compose ps -q demo-upstream)"; }
# by name, from the downstream container: its own /etc/hosts, kept by the hostsync beside it
reach() {
	compose exec -T demo-downstream bash -c 'exec 3<>/dev/tcp/upstream.demo/8000 && cat <&3' 2>/dev/null
}
wait_for_greeting() {
	for _ in $(seq 1 300); do
		if [ "$(reach)" = "hello from $1" ]; then
			echo "downstream reaches upstream.demo: hello from $1"
			return
		fi
		sleep 0.1
	done
	echo "upstream.demo was not reached at $1" >&2
	exit 1
}

compose build secrets updater hostsync
compose up -d db api demo-upstream demo-updater demo-downstream demo-hostsync
first=$(upstream_address)
echo "upstream has $first"
wait_for_greeting "$first"

echo 'now its address changes'
container=$(compose ps -q demo-upstream)
network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$container")
docker network disconnect "$network" "$container"
# Somebody else takes the old address meanwhile, as it happens in life.
other=$(docker run -d --network "$network" --label silodns-demo debian:trixie-slim sleep 60)
trap 'docker rm -f "$other" >/dev/null' EXIT
docker network connect "$network" "$container"
second=$(upstream_address)
echo "upstream has $second"
[ "$first" != "$second" ] || { echo 'the address did not change' >&2; exit 1; }
wait_for_greeting "$second"
echo
compose exec -T demo-downstream cat /etc/hosts
echo
echo 'deploy/demo.sh down ends the demo'
