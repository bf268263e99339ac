# Runs Redis out of the folder $ARK_VOLUME_REDIS, at $PORT, with the password $STORE_PASSWORD. What is
# written is kept (its append-only file). POSIX shell: it runs in images too.
# $1: the address to listen at. $2: the major version that is wanted, if any.
set -eu
umask 077
listen=$1 wanted=$2 home=$ARK_VOLUME_REDIS
fail() {
    echo "ark: $*" >&2
    exit 78
}
[ -w "$home" ] || fail "$home cannot be written to by user $(id -u)"
case $STORE_PASSWORD in
*"
"*) fail "the password has two lines" ;;
esac
PATH=$PATH:/usr/local/bin:/usr/bin
command -v redis-server >/dev/null || fail "Redis is not here: no redis-server in PATH"
if [ -n "$wanted" ]; then
    found=$(redis-server -v)
    found=${found#*v=}
    found=${found%%.*}
    [ "$wanted" = "$found" ] || fail "Redis $wanted is asked for, and redis-server is of version $found"
fi
cd "$home"
# Told by its standard input: arguments can be seen by everybody.
password=$(printf '%s' "$STORE_PASSWORD" | sed 's/[\\"]/\\&/g')
unset STORE_PASSWORD
exec redis-server - <<END
bind $listen
port $PORT
dir "$home"
appendonly yes
requirepass "$password"
END
