#!/usr/bin/env bash
# A tour in one minute, without a container registry in reach: build a small image from the host's own programs, push
# it to a registry on loopback, pull it again, run it on overlay and on vfs. Expects the virtual environment of `make venv`.
set -euo pipefail

cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
work=$(mktemp -d)
export SWAPBOX_ROOT="$work/root" SWAPBOX_RUN_ROOT="$work/run"
# Otherwise it would leave a bridge on the host.
export SWAPBOX_NETWORK_DRIVER=none
server=

finish() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap finish EXIT

show() { # show TITLE COMMAND...: a title, and a command as one would type it
    local word
    printf '\n\033[1m# %s\033[0m\n$' "$1"
    for word in "${@:2}"; do
        case $word in
            *[!A-Za-z0-9_./:=@%,+-]*) printf ' %s' "${word@Q}" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    echo
}

step() { # step TITLE COMMAND...: show and run a command, and say how long it took
    local start
    show "$@"
    shift
    start=$(date +%s%N)
    "$@"
    printf '\033[2m(%d ms)\033[0m\n' $((($(date +%s%N) - start) / 1000000))
}

step "An image of the host's own sh, ls, cat and id, with the libraries they need" \
    swapbox image from-host demo sh ls cat id sleep

touch "$work/server"
show "A registry on loopback, in the background" swapbox registry serve --addr 127.0.0.1:0 "$work/registry"
swapbox registry serve --addr 127.0.0.1:0 "$work/registry" >"$work/server" &
server=$!
until address=$(grep -om1 '127.0.0.1:[0-9]*' "$work/server"); do
    kill -0 "$server" || { echo "the registry did not start" >&2; exit 1; }
done
head -n1 "$work/server"
image="$address/demo"

step "Name the image after it" swapbox tag demo "$image"
step "Push it to a registry on loopback" swapbox push "$image"
step "Forget it" swapbox rmi demo "$image"
step "Pull" swapbox pull "$image"

for driver in overlay vfs; do
    step "Run it on $driver" \
        swapbox run --rm --storage-driver "$driver" -e "DRIVER=$driver" "$image" \
        sh -c 'echo "hello from $DRIVER, pid $$ on $(cat /etc/hostname)"; ls -l /; id'
done

step "In the background, and its log" swapbox run -d --name background "$image" sh -c 'echo working; exec sleep 100'

step "Containers" swapbox ps
step "Its log" swapbox logs background
step "Remove it" swapbox rm -f background
step "Which drivers were chosen, and why" swapbox info --why

cat <<'END'

With Docker Hub in reach you would type:

    swapbox run --rm alpine echo hello
    swapbox run -it --storage-driver vfs --memory 64m alpine sh
END
