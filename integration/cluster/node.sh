# shellcheck shell=bash
# Nodes: from nothing to registered, rebooted, gone. Sourced by cluster.sh.
# shellcheck disable=SC2154 # run, here and kubernetes, set by cluster.sh

# node_start NODE: wires and boots it, whether its disk is new or not.
node_start() {
	local disk=$run/$1
	mkdir -p "$disk"/{log,etc,etc.work,etc-cni,opt,var-lib,var-log,cgroup}
	[[ -e $run/pki/kubelet-$1.kubeconfig ]] || identity "kubelet-$1" "system:node:$1" system:nodes
	cat /proc/sys/kernel/random/uuid >"$disk/boot_id"
	wire_node "$1"
	nsenter --net="/run/netns/$CLUSTER-$1" setsid nohup unshare --mount --uts --pid --fork --kill-child --mount-proc \
		"$here/node-init.sh" "$run" "$1" >>"$disk/log/init.log" 2>&1 </dev/null &
}

# node_stop NODE: pulls the plug. unshare ignores SIGTERM, so everything is killed; the
# links and rules of the node go with its namespace. No cgroup may be left of it: a
# kubelet spends seconds on each whose container its containerd does not know.
node_stop() {
	in_net cp ip link del "to-$1" 2>/dev/null || true
	empty_net "$1"
	remove_cgroups "$1"
}

# node_wait NODE…: until they are registered and have their ranges and images.
node_wait() {
	local node
	for node in "$@"; do
		await 90 "node $node's registration" registered "$node"
		await 90 "node $node's images" test -e "$run/$node/var-lib/images-are-here"
	done
}
registered() { [[ -n $(kubectl get node "$1" -o 'jsonpath={.spec.podCIDR}' 2>/dev/null) ]]; }

# in_node NODE CMD…: in all the namespaces of the node, with its containerd's programs.
# Process 1 is the child of the unshare that started it.
in_node() {
	local node=$1 pid
	shift
	pid=$(node_pid "$node") || fail "node $node does not run"
	exec nsenter -t "$pid" -m -u -n -p -- env PATH="$node_path" "$@"
}
node_pid() {
	local pid
	for pid in $(ip netns pids "$CLUSTER-$1"); do
		[[ $(awk '/^NSpid:/ {print $3}' "/proc/$pid/status" 2>/dev/null) != 1 ]] || { echo "$pid"; return; }
	done
	return 1
}

# service NODE NAME restart|stop|start: containerd, kubelet or kube-proxy of a node. Its
# supervisor in node-init.sh starts it again, unless the file says not to.
service() {
	local stop=/run/$2.stop
	case $3 in
	stop) (in_node "$1" sh -c "touch $stop; kill \$(cat /run/$2.pid); while kill -0 \$(cat /run/$2.pid); do sleep 0.05; done" 2>/dev/null) ;;
	start) (in_node "$1" rm -f "$stop") ;;
	restart) (in_node "$1" sh -c "kill \$(cat /run/$2.pid)") ;;
	*) fail "\"$3\" is not restart, stop or start" ;;
	esac
	[[ $2 != containerd || $3 == stop ]] || await 30 "containerd on $1" containerd_answers "$1"
}
containerd_answers() { (in_node "$1" ctr version) >/dev/null 2>&1; }

node_add() {
	[[ $1 =~ ^[a-z]{1,8}[1-9][0-9]?$ ]] || fail "\"$1\" is not some letters and a number below 100, like n3"
	[[ ! -e $run/$1 ]] || fail "there is a node $1"
	node_start "$1"
	node_wait "$1"
	connect
}

node_del() {
	node_stop "$1"
	kubectl delete node "$1" --ignore-not-found >/dev/null
	rm -rf "${run:?}/$1" "$run/pki/kubelet-$1".*
	connect
}

# node_restart NODE: a power failure and what follows it. The disk stays; /run, links,
# rules and sets are new, and so is the boot id.
node_restart() {
	node_stop "$1"
	node_start "$1"
	await 60 "containerd on $1" containerd_answers "$1"
	connect
}

# remove_cgroups NODE: leaf by leaf, once the kernel is done with the processes.
remove_cgroups() {
	await 20 "the end of $1's cgroups" no_cgroups "$1"
}
no_cgroups() {
	local all=()
	mapfile -t all < <(find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$CLUSTER-$1")
	[[ ${#all[@]} -gt 0 ]] || return 0
	find "${all[@]}" -depth -type d -exec rmdir {} + 2>/dev/null
}
