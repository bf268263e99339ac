# Runs PostgreSQL out of the folder $ARK_VOLUME_POSTGRES, at $PORT, with the password $STORE_PASSWORD
# of its user `app`. Makes the database on the first start. POSIX shell: it runs in images too.
# $1: the address to listen at. $2: the major version that is wanted, if any.
set -eu
umask 077
listen=$1 wanted=$2 home=$ARK_VOLUME_POSTGRES
# The makers' image has a folder and a volume of its own at `data`.
data=$home/ark
if [ -s "$home/data/PG_VERSION" ] && [ ! -e "$data" ]; then mv "$home/data" "$data"; fi
fail() {
    echo "ark: $*" >&2
    exit 78
}
[ "$(id -u)" != 0 ] ||
    fail "PostgreSQL does not run as root, and this app has no user of its own (ark doctor says why)"
[ -w "$home" ] || fail "$home cannot be written to by user $(id -u)"
case $STORE_PASSWORD in
*"
"*) fail "the password has two lines" ;;
esac

# Data that is there needs the programs of the version that made it.
have=
if [ -s "$data/PG_VERSION" ]; then
    have=$(cat "$data/PG_VERSION")
    if [ -n "$wanted" ] && [ "$wanted" != "$have" ]; then
        fail "the data in $data is of PostgreSQL $have, and version $wanted is asked for: ask for $have, or dump and restore"
    fi
fi
version=${have:-$wanted}
programs() {
    saved=$IFS
    IFS=:
    # shellcheck disable=SC2086
    set -- $PATH
    IFS=$saved
    # The newest of Debian's first.
    ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -r || true
    for place in "$@" /usr/local/bin; do echo "$place"; done
}
bin=
for place in $(programs); do
    [ -x "$place/postgres" ] && [ -x "$place/initdb" ] || continue
    found=$("$place/postgres" -V) || continue
    found=${found#*) }
    found=${found%%[!0-9]*}
    if [ -z "$version" ] || [ "$version" = "$found" ]; then
        bin=$place
        break
    fi
done
[ -n "$bin" ] || fail "PostgreSQL${version:+ $version} is not here: no postgres and initdb in /usr/lib/postgresql/*/bin or PATH"

# Its tools want the user to have a name, which an app's own user has not: they get one in a user
# namespace, where this user is `daemon`.
named() {
    if id -un >/dev/null 2>&1; then
        "$@"
    elif unshare --user --map-user=1 --map-group=1 true 2>/dev/null; then
        unshare --user --map-user=1 --map-group=1 -- "$@"
    else
        fail "PostgreSQL's initdb wants user $(id -u) to have a name, and this machine allows no user namespaces to give it one"
    fi
}
statement() {
    named "$bin/postgres" --single -D "$1" -c exit_on_error=on -c log_min_messages=fatal \
        -c log_min_error_statement=panic -c logging_collector=off template1 >/dev/null
}

if [ -z "$have" ]; then
    rm -rf "$data.new"
    printf '%s' "$STORE_PASSWORD" >"$home/.password"
    named "$bin/initdb" -D "$data.new" -U app --pwfile="$home/.password" -A scram-sha-256 \
        -E UTF8 --locale=C >&2
    rm -f "$home/.password"
    echo 'CREATE DATABASE app' | statement "$data.new"
    # Whole or not at all.
    mv "$data.new" "$data"
    rm -f "$home/password.sha256"
fi
printf '%s\n' 'local all all scram-sha-256' 'host all all all scram-sha-256' \
    'host replication all all scram-sha-256' >"$data/pg_hba.conf"
rm -f "$home/.password"
# The password is what the configuration says, whatever it was before.
print=$(printf '%s' "$STORE_PASSWORD" | sha256sum)
if [ "$(cat "$home/password.sha256" 2>/dev/null || true)" != "$print" ]; then
    quoted=$(printf '%s' "$STORE_PASSWORD" | sed "s/'/''/g")
    printf "ALTER ROLE app PASSWORD '%s'\n" "$quoted" | statement "$data"
    printf '%s\n' "$print" >"$home/password.sha256"
fi
unset STORE_PASSWORD quoted print
exec "$bin/postgres" -D "$data" -p "$PORT" -c listen_addresses="$listen" \
    -c unix_socket_directories= -c logging_collector=off -c log_destination=stderr
