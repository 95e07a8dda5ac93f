#!/usr/bin/env bash
# Builds what a cluster runs, from the Go module proxy and the distribution's own
# programs, into a cache. What is there already is not built again.
#
#   integration/cluster/build.sh [WHAT…]       default: what `cluster.sh up` needs
#   integration/cluster/build.sh -p WHAT       prints the folder that WHAT is in
#
#   kubernetes   API server, controller manager, scheduler, kubelet, kube-proxy, kubectl
#   e2e          Kubernetes' own end-to-end suite, and agnhost, the image it asks for
#   containerd   containerd 2 with its shim and ctr
#   coredns      CoreDNS, and its image
#   plugins      the CNI reference plugins
#   images       local.test/pause:1 and local.test/busybox:1
#   agent        vnet-agent and all that its image vnet-cni/vnet-agent:dev holds
#
# VNET_CLUSTER_CACHE is the cache's folder, ~/.cache/vnet-cni/cluster otherwise.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
# shellcheck source=integration/cluster/recipes.sh
source "$here/recipes.sh"

# build WHAT: into a folder on the side, which takes its name when it is whole.
build() (
	local out
	out=$(folder "$1")
	[[ ! -d $out ]] || return 0
	mkdir -p "$cache"
	exec 9>"$cache/.lock-$1"
	flock 9
	[[ ! -d $out ]] || return 0 # somebody else built it while we waited
	[[ $1 != agent ]] || build plugins
	printf 'building %s\n' "$1" >&2
	rm -rf "$out.new"
	mkdir "$out.new"
	"build_$1" "$out.new" 9>&-
	mv -T "$out.new" "$out"
	# Other versions of it, a day after anybody built them.
	find "$cache" -maxdepth 1 -name "$1-*" ! -path "$out" -mtime +0 -exec rm -rf {} +
)

if [[ ${1-} == -p ]]; then
	folder "${2:?WHAT is missing}"
	exit
fi
[[ $# -gt 0 ]] || set -- kubernetes plugins images
for what in "$@"; do
	build "$what"
done
