#!/bin/sh
# Makes the secrets of compose.yaml, in ops/secrets/ or the folder named; leaves those that are there.
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# Only you get into the folder; within a container the files are for its own user.
chmod 700 "$folder"

put() {
    [ -e "$folder/$1" ] && return
    printf '%s\n' "$2" >"$folder/$1"
    chmod 644 "$folder/$1"
}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

for name in postgres_password admin_password ingest_password project_password read_password \
    redis_password status_token grafana_password; do
    put "$name" "$(random)"
done
for role in admin ingest project; do
    password=$(cat "$folder/${role}_password")
    put "${role}_url" "postgresql://projector_$role:$password@postgres/projector"
done
