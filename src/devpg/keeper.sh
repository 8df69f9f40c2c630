# Keeps one Postgres server and ends it when nobody holds it any more, however its owner died (SIGKILL too).
# Arguments: the root folder; `pipe` (the owner holds the write end of our stdin) or `lease` (every user holds the
# FIFO $root/lease open for writing); the seconds to outlive the last user; what to do at the end of file
# (`fast keep` or `immediate remove`); `--no-sync` or nothing, for initdb; initdb; postgres; then the server's options.
# Orders come on the same line-wise stream: `fast keep`, `fast remove`, `immediate keep`, `immediate remove`.
# Writes the server's pid to $root/server.pid; ends with the server, whoever ended that.

# A Ctrl-C or a closed terminal must not take the keeper before the server: only the stream decides.
trap '' HUP INT QUIT TERM
umask 077
root=$1 hold=$2 linger=$3 orphaned=$4 sync=$5 initdb=$6 postgres=$7
shift 7

if [ "$hold" = lease ]; then exec 3<"$root/lease" </dev/null; else exec 3<&0 </dev/null; fi

if [ ! -e "$root/data" ]; then
    # Built aside and renamed: a folder half made by a killed initdb is never taken for a cluster.
    rm -rf "$root/data.new"
    "$initdb" -D "$root/data.new" -A trust -U postgres -E UTF8 --no-locale --no-instructions $sync 3<&- >&2 || exit 10
    mv "$root/data.new" "$root/data"
fi

"$postgres" -D "$root/data" "$@" 3<&- >&2 &
server=$!
echo "$server" >"$root/server.pid"

# Sends a signal, then waits $2 tenths of a second; the main shell kills us as soon as the server is gone.
signal_and_wait() {
    kill "-$1" "$server"
    # A stopped (SIGSTOP) server acts on nothing else before this.
    kill -CONT "$server"
    tenths=0
    while [ "$tenths" -lt "$2" ]; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
}

watch() {
    how= end=
    while [ -z "$how" ]; do
        if read -r word rest <&3; then
            # Any other word is a new user of the lease.
            case $word in fast | immediate) how=$word end=$rest ;; esac
        elif [ "$hold" = lease ]; then
            # The last user left. One that comes from now on either finds no FIFO, or has left a line in it.
            sleep "$linger"
            mv "$root/lease" "$root/lease.closing"
            if read -r word rest <&3; then
                mv "$root/lease.closing" "$root/lease"
            else
                how=${orphaned% *} end=${orphaned#* }
            fi
        else
            how=${orphaned% *} end=${orphaned#* }
        fi
    done
    [ "$end" = remove ] && : >"$root/remove"
    # Fast may wait for a checkpoint, immediate kills what is left after 5 s by itself: neither may hang for ever.
    [ "$how" = fast ] && signal_and_wait INT 200
    signal_and_wait QUIT 80
    signal_and_wait KILL 10
}

watch 2>/dev/null &
watcher=$!
wait "$server"
status=$?
kill -KILL "$watcher"
wait "$watcher" 2>/dev/null
if [ -e "$root/remove" ]; then
    cd /
    rm -rf "$root"
fi
exit "$status"
