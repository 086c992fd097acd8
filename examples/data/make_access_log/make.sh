#!/usr/bin/env bash
# Serves pages with nginx inside a network namespace of its own, lets visitors.py request them, checks and packs the log.
# usage: make.sh <folder with html pages> [seconds]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "${1:?usage: make.sh <folder with html pages> [seconds]}" && pwd)
seconds=${2:-900}

if [[ ${IN_NAMESPACE:-} != yes ]]; then
    # In there the documentation ranges are local, so every visitor really connects from its own address.
    IN_NAMESPACE=yes exec unshare --map-root-user --net -- "$0" "$root" "$seconds"
fi

ip link set lo up
for network in 192.0.2.1/24 198.51.100.1/24 203.0.113.1/24; do
    ip address add "$network" dev lo
done
ip -6 address add 2001:db8::1/32 dev lo nodad
ip -6 route add local 2001:db8::/32 dev lo

work=$(mktemp -d)
sed -e "s|@ROOT@|$root|g; s|@WORK@|$work|g; s|@HERE@|$here|g" "$here/nginx.conf" >"$work/nginx.conf"
nginx -c "$work/nginx.conf" -e "$work/error.log"
stop() {
    if [[ -f $work/nginx.pid ]]; then
        kill -QUIT "$(cat "$work/nginx.pid")"
    fi
}
trap stop EXIT

python3 "$here/visitors.py" --seconds "$seconds"
stop
trap - EXIT
while [[ -f $work/nginx.pid ]]; do sleep 0.2; done

python3 "$here/check.py" "$work/access.log"
gzip -9n <"$work/access.log" >"$here/../access.log.gz"
rm -r "$work"
