#!/usr/bin/env bash
# A real Kubernetes cluster on one Linux machine, without Docker: each node has network,
# mount, UTS and pid namespaces of its own, with its own containerd, kubelet and
# kube-proxy. It has no pod network until somebody installs one (or says `ptp`).
#
#   cluster.sh up                        builds what is missing, then starts the cluster; its pods
#                                        need a network, its nodes are registered and not yet Ready
#   cluster.sh down                      leaves nothing behind, whatever state the cluster is in
#   cluster.sh kubectl ARG…              as the cluster's administrator
#   cluster.sh exec NODE CMD…            in all the namespaces of a node
#   cluster.sh outside CMD…              on the client beyond the nodes: 198.51.100.10, 2001:db8:99::10
#   cluster.sh router CMD…               in the control plane's network namespace, everybody's router
#   cluster.sh ptp                       the reference network: ptp, host-local, portmap, static routes
#   cluster.sh dns                       CoreDNS
#   cluster.sh load IMAGE.tar            imports an image on all nodes, those to come as well
#   cluster.sh node-add NODE             another node
#   cluster.sh node-del NODE             kills the node and deletes its Node object
#   cluster.sh node-restart NODE         a reboot: the disk stays, all else is new
#   cluster.sh node-containerd NODE restart|stop|start      also node-kubelet, node-kube-proxy
#   cluster.sh api stop|start            the API server; while stopped, connections are refused
#   cluster.sh conformance FOCUS [SKIP]  Kubernetes' own end-to-end tests whose names match
#   cluster.sh logs DIR                  collects everybody's logs and each node's network state
#   cluster.sh path                      prints the run folder, in which each node has its disk
#
# Settings, in the environment. CLUSTER is asked for by every command, the others by `up` alone:
#
#   CLUSTER           the cluster's name, in the names of namespaces, cgroups and the run folder,
#                     so that clusters can run side by side; by default one of this checkout
#   NODES             "n1 n2": letters and a number, which is in the node's address
#   CONTAINERD        1: the distribution's, 2: the one pinned here
#   PROXY_MODE        iptables or nftables
#   FAMILY            ipv4 or dual
#   LAYOUT            flat: all nodes on one layer 2 network, 172.30.0.0/16 and fd00:30::/64;
#                     routed: each on its own, 172.30.0.0/24 and fd00:30::/64, 172.30.1.0/24 and
#                     fd00:30:0:1::/64, …, behind a router that knows nothing of pods;
#                     mixed: n1 and n2 on the first of these, n3 on the third, n4 on the fourth, …
#   POD_CIDRS         overlay: "10.244.0.0/16 fd00:10:244::/56" (the default);
#                     vnet: "172.30.128.0/17 fd00:30::1:0:0/96", of the nodes' own flat network; or two others
#   NODE_CIDR_MASKS   "24 64", with vnet "24 112"
#   SERVICE_CIDRS     "10.96.0.0/16 fd00:10:96::/112"; the DNS server is the tenth address, 10.96.0.10
#   TMPDIR            where the run folder is, /tmp otherwise. VNET_CLUSTER_CACHE: see build.sh
#
# With FAMILY=ipv4 the second of two is left out. Node nN has the address 172.30.0.(10+N), fd00:30::(10+N),
# in its own segment when routed or mixed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
for part in recipes layout controlplane node network; do
	# shellcheck source=/dev/null
	source "$here/$part.sh"
done
[[ $(id -u) == 0 ]] || fail "this makes namespaces and mounts, which takes root"
CLUSTER=${CLUSTER:-vnet$(printf '%s' "$root" | cksum | cut -c1-4)}
[[ $CLUSTER =~ ^[a-z0-9][a-z0-9-]{0,30}$ ]] || fail "CLUSTER: \"$CLUSTER\" is not lower-case letters, digits and dashes"
run=${TMPDIR:-/tmp}/vnet-cluster-$CLUSTER

# await SECONDS WHAT CMD…: until the command succeeds.
await() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[[ $SECONDS -lt $deadline ]] || fail "waited in vain for $what"
		sleep 0.1
	done
}

kubectl() { nsenter --net="/run/netns/$CLUSTER-cp" "$kubernetes/kubectl" --kubeconfig "$run/pki/admin.kubeconfig" "$@"; }
node_names() { kubectl get nodes -o 'jsonpath={.items[*].metadata.name}'; }

# keep_settings: later commands use what `up` was told, whatever the cache holds by then.
keep_settings() {
	local name
	kubernetes=$(folder kubernetes)
	# shellcheck disable=SC2034 # read through its name
	node_path=$PATH
	# shellcheck disable=SC2034
	[[ $CONTAINERD == 1 ]] || node_path=$(folder containerd):$PATH
	for name in CLUSTER NODES PROXY_MODE CONTAINERD FAMILY LAYOUT POD_CIDRS NODE_CIDR_MASKS SERVICE_CIDRS kubernetes node_path; do
		printf '%s=%q\n' "$name" "${!name}"
	done >"$run/settings"
}

# gather_images: all that are in the cache, without a copy.
gather_images() {
	local what image
	# A glob that matches nothing is a name that does not exist.
	for what in images coredns e2e agent; do
		for image in "$(folder "$what")"/*.tar; do
			[[ ! -e $image ]] || ln -s "$image" "$run/images/"
		done
	done
}

up() {
	local node what=(kubernetes plugins images)
	[[ ! -e $run ]] || fail "the cluster $CLUSTER is up, or half up ($run): cluster.sh down"
	settings
	[[ $CONTAINERD == 1 ]] || what+=(containerd)
	"$here/build.sh" "${what[@]}"
	mkdir -p "$run"/{cp,etcd,images}
	keep_settings
	gather_images
	wire_control_plane
	start_etcd
	make_keys
	start_api
	for node in $NODES; do node_start "$node"; done
	await 120 "the API server" api_ready
	start_controllers # not before: the controller manager gives up after ten seconds without one
	# shellcheck disable=SC2086 # one argument each
	node_wait $NODES
	await 30 "the default service account" has_service_account
}
has_service_account() { kubectl get serviceaccount default >/dev/null 2>&1; }

# down asks the kernel what there is, for a half-failed `up` has told nobody.
down() {
	local name names
	mapfile -t names < <(find /run/netns -maxdepth 1 -name "$CLUSTER-*" -printf '%f\n' | our_names)
	for name in "${names[@]}"; do empty_net "$name"; done
	mapfile -t names < <(find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$CLUSTER-*" -printf '%f\n' | our_names)
	for name in "${names[@]}"; do remove_cgroups "$name"; done
	rm -rf "$run"
}

# our_names: without the cluster's name; those of the cluster CLUSTER-x have a dash left.
our_names() { sed -n "s/^$CLUSTER-\([a-z0-9]*\)$/\1/p" | sort -u; }

load() {
	local node name
	name=$(basename "$1")
	cp "$1" "$run/images/.$name"
	mv "$run/images/.$name" "$run/images/$name"
	for node in $(node_names); do
		(in_node "$node" ctr -n k8s.io images import "$run/images/$name" >/dev/null)
	done
}

dns() {
	"$here/build.sh" coredns
	load "$(folder coredns)/coredns.tar"
	sed "s/10\.96\.0\.10/$(service_ip 10)/" "$here/manifests/coredns.yaml" | kubectl apply -f - >/dev/null
	kubectl -n kube-system rollout status deployment/coredns --timeout=60s >/dev/null
}

conformance() {
	local skip=()
	"$here/build.sh" e2e
	[[ -e $run/images/agnhost.tar ]] || load "$(folder e2e)/agnhost.tar"
	route_control_plane # the suite asks pods through the API server
	[[ -z ${2-} ]] || skip=(--ginkgo.skip="$2")
	in_net cp "$(folder e2e)/e2e.test" --kubeconfig="$run/pki/admin.kubeconfig" --kubectl-path="$kubernetes/kubectl" \
		--provider=skeleton --node-os-distro=custom --num-nodes="$(node_names | wc -w)" --minStartupPods=0 \
		--system-pods-startup-timeout=30s --ginkgo.no-color --ginkgo.silence-skips --report-dir="$run/e2e" --ginkgo.focus="$1" "${skip[@]}"
}

# logs DIR: what somebody needs who was not there.
logs() {
	local node what
	mkdir -p "$1/cp"
	cp "$run"/cp/*.log "$1/cp/"
	kubectl get all,nodes,events,endpointslices -A -o wide >"$1/objects.txt" 2>&1 || true
	kubectl describe pods -A >"$1/pods.txt" 2>&1 || true
	for node in "$run"/*/var-log; do
		[[ -e $node ]] || continue
		node=$(basename "$(dirname "$node")")
		mkdir -p "$1/$node"
		cp "$run/$node"/log/* "$1/$node/"
		cp -rL "$run/$node/var-log/pods" "$1/$node/" 2>/dev/null || true
		for what in 'ip -d addr' 'ip route' 'ip -6 route' 'ip neigh show proxy' 'iptables-save' 'ip6tables-save' 'nft list ruleset' 'ipset list'; do
			echo "# $what"
			# shellcheck disable=SC2086 # words
			in_net "$node" $what || true
		done >"$1/$node/network.txt" 2>&1
	done
}

# The shell reads a script while it runs it: what is called on the last line is read.
main() {
	local command=${1-}
	[[ $# == 0 ]] || shift
	if [[ -r $run/settings ]]; then
		# shellcheck source=/dev/null
		source "$run/settings"
	elif [[ $command != up && $command != down && $command != path ]]; then
		fail "the cluster $CLUSTER is not up (CLUSTER names another)"
	fi
	case $command in
	up | down | dns) "$command" ;;
	ptp) touch "$run/ptp" && connect ;;
	kubectl) kubectl "$@" ;;
	exec) in_node "$@" ;;
	outside) in_net out "$@" ;;
	router) in_net cp "$@" ;;
	load | api | logs | conformance) "$command" "${@:?an argument is missing}" ;;
	node-add | node-del | node-restart) "${command//-/_}" "${1:?NODE is missing}" ;;
	node-containerd | node-kubelet | node-kube-proxy) service "${1:?NODE is missing}" "${command#node-}" "${2:?restart, stop or start is missing}" ;;
	path) echo "$run" ;;
	*) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
	esac
}

main "$@"
