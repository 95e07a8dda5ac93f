#!/bin/sh
# Builds the upstream programs that the integration tests compare with and
# drive, at the versions pinned in this folder's go.mod.
#
#   integration/peers/build.sh [OUTDIR]      default: .cache/peers of the repository
#
# A stamp of the pins and the toolchain makes a second run return at once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../.cache/peers}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here"

stamp=$(cat go.mod go.sum build.sh | cksum; go version)
tools=$(sed -n 's|^tool .*/\([^/]*\)$|\1|p; /^tool (/,/^)/s|^\t.*/\([^/]*\)$|\1|p' go.mod)
fresh=yes
[ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ] || fresh=no
for tool in $tools; do
    [ -x "$out/$tool" ] || fresh=no
done
[ $fresh = yes ] && exit 0

rm -f "$out/.stamp"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$out/" tool
printf '%s\n' "$stamp" >"$out/.stamp"
