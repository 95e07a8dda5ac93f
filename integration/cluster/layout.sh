# shellcheck shell=bash
# The cluster's settings, its addresses and its cables. Sourced by cluster.sh and
# by node-init.sh. Every namespace, folder and cgroup carries the cluster's name.

# settings: what the environment says, or else the defaults.
settings() {
	NODES=${NODES:-n1 n2} PROXY_MODE=${PROXY_MODE:-iptables} CONTAINERD=${CONTAINERD:-1}
	FAMILY=${FAMILY:-ipv4} LAYOUT=${LAYOUT:-flat} POD_CIDRS=${POD_CIDRS:-overlay}
	local masks='24 64'
	case $POD_CIDRS in
	overlay) POD_CIDRS='10.244.0.0/16 fd00:10:244::/56' ;;
	vnet) POD_CIDRS='172.30.128.0/17 fd00:30::1:0:0/96' masks='24 112' ;;
	esac
	SERVICE_CIDRS=${SERVICE_CIDRS:-10.96.0.0/16 fd00:10:96::/112} NODE_CIDR_MASKS=${NODE_CIDR_MASKS:-$masks}
	if [[ $FAMILY == ipv4 ]]; then
		POD_CIDRS=${POD_CIDRS%% *} SERVICE_CIDRS=${SERVICE_CIDRS%% *} NODE_CIDR_MASKS=${NODE_CIDR_MASKS%% *}
	fi
	expect FAMILY ipv4 dual
	expect LAYOUT flat routed mixed
	expect CONTAINERD 1 2
	expect PROXY_MODE iptables nftables
	for node in $NODES; do
		[[ $node =~ ^[a-z]{1,8}[1-9][0-9]?$ ]] || fail "NODES: \"$node\" is not some letters and a number below 100, like n1"
	done
}

# expect NAME VALUE…: the setting NAME is one of these.
expect() {
	local name=$1
	shift
	[[ " $* " == *" ${!name} "* ]] || fail "$name is \"${!name}\", not one of: $*"
}

dual() { [[ $FAMILY == dual ]]; }
comma() { printf '%s' "${1// /,}"; }

# The first address of the services is the API server's, the tenth the DNS server's.
service_ip() { local first=${SERVICE_CIDRS%%/*}; printf '%s' "${first%0}$1"; }

# number NODE: n3 → 3. segment NODE: the number of the layer 2 network it is on.
number() { printf '%s' "${1##*[!0-9]}"; }
segment() {
	local n
	n=$(number "$1")
	case $LAYOUT in
	flat) echo 0 ;;
	routed) echo $((n - 1)) ;;
	mixed) echo $((n > 2 ? n - 1 : 0)) ;;
	esac
}

# address NODE, gateway NODE: with their prefix lengths, IPv4 and then IPv6.
address() {
	if [[ $LAYOUT == flat ]]; then printf '172.30.0.%d/16' $((10 + $(number "$1")))
	else printf '172.30.%d.%d/24' "$(segment "$1")" $((10 + $(number "$1"))); fi
	! dual || printf ' fd00:30:0:%x::%d/64' "$(segment "$1")" $((10 + $(number "$1")))
}
gateway() {
	if [[ $LAYOUT == flat ]]; then printf '172.30.0.1/16'; else printf '172.30.%d.1/24' "$(segment "$1")"; fi
	! dual || printf ' fd00:30:0:%x::1/64' "$(segment "$1")"
}

# node_ips NODE: its addresses alone, as the kubelet wants them.
node_ips() {
	local pair ips=()
	for pair in $(address "$1"); do ips+=("${pair%/*}"); done
	comma "${ips[*]}"
}

# in_net NAME CMD…: runs it in one of the cluster's network namespaces.
in_net() {
	local name=$1
	shift
	nsenter --net="/run/netns/$CLUSTER-$name" "$@"
}

# namespace NAME: an empty network namespace. Bridges' frames bypass iptables, or the
# machine's idea of it would hold for all (a new namespace inherits it).
namespace() {
	ip netns add "$CLUSTER-$1"
	# shellcheck disable=SC2016 # for the inner shell
	in_net "$1" sh -c 'ip link set lo up
		for f in /proc/sys/net/bridge/bridge-nf-call-*tables; do echo 0 >"$f"; done 2>/dev/null; true'
}

# forward NAME: makes a router of the namespace.
forward() {
	in_net "$1" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
	! dual || in_net "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
}

# address_add NAMESPACE LINK ADDRESS…: nodad, for nobody waits for tentative addresses.
address_add() {
	local name=$1 link=$2 address
	shift 2
	for address in "$@"; do
		if [[ $address == *:* ]]; then in_net "$name" ip addr add "$address" dev "$link" nodad
		else in_net "$name" ip addr add "$address" dev "$link"; fi
	done
}

# default_via NAMESPACE GATEWAY…: GATEWAY with or without a prefix length.
default_via() {
	local name=$1 via
	shift
	for via in "$@"; do in_net "$name" ip route add default via "${via%/*}"; done
}

# wire_control_plane: the control plane's namespace is everybody's router. Its default
# route, without which the API server finds no address to advertise, leads outside,
# where nobody forwards: to the Internet, so to say.
wire_control_plane() {
	namespace cp
	namespace out
	forward cp
	ip link add out netns "$CLUSTER-cp" type veth peer name eth0 netns "$CLUSTER-out"
	in_net cp ip link set out up
	in_net out ip link set eth0 up
	address_add cp out 198.51.100.1/24
	address_add out eth0 198.51.100.10/24
	default_via out 198.51.100.1
	default_via cp 198.51.100.10
	pod_routes_for lo
	! dual || {
		address_add cp out 2001:db8:99::1/64
		address_add out eth0 2001:db8:99::10/64
		default_via out 2001:db8:99::1
		default_via cp 2001:db8:99::10
	}
	wire_segment n1
}

# pod_routes_for LINK: whose packets may use the control plane's routes to pods (see
# network.sh), lo being the API server itself. They are in a table of their own, for
# those from outside may never.
pod_routes_for() {
	local family
	for family in -4 -6; do
		[[ -n $(in_net cp ip $family rule show iif "$1") ]] || in_net cp ip $family rule add iif "$1" lookup 100
	done
}

# wire_segment NODE: the bridge of the node's layer 2 network, unless it is there. It
# floods multicast: there is no querier, and nodes answer for neighbours in groups
# that they never joined.
wire_segment() {
	local bridge addresses
	bridge=br$(segment "$1")
	! in_net cp ip link show "$bridge" >/dev/null 2>&1 || return 0
	in_net cp ip link add "$bridge" type bridge mcast_snooping 0
	read -ra addresses < <(gateway "$1"; echo)
	address_add cp "$bridge" "${addresses[@]}"
	in_net cp ip link set "$bridge" up
}

# wire_node NODE: its namespace and its cable. Both ends are made where they belong. The
# hardware address is always the same, as a machine's is, or the others would go on
# sending to the old one after a reboot.
wire_node() {
	local addresses gateways
	read -ra addresses < <(address "$1"; echo)
	read -ra gateways < <(gateway "$1"; echo)
	wire_segment "$1"
	namespace "$1"
	ip link add "to-$1" netns "$CLUSTER-cp" type veth \
		peer name eth0 address "02:00:00:00:00:$(printf %02x "$(number "$1")")" netns "$CLUSTER-$1"
	in_net cp ip link set "to-$1" master "br$(segment "$1")" up
	in_net "$1" ip link set eth0 up
	forward "$1"
	address_add "$1" eth0 "${addresses[@]}"
	default_via "$1" "${gateways[@]}"
}

# empty_net NAME: kills what runs in the namespace and removes it. A node's processes
# are in its pid namespace as well, whose end takes the pods' processes along.
empty_net() {
	local pids deadline=$((SECONDS + 20))
	[[ -e /run/netns/$CLUSTER-$1 ]] || return 0
	while pids=$(ip netns pids "$CLUSTER-$1") && [[ -n $pids ]]; do
		# shellcheck disable=SC2086 # one argument each
		kill -9 $pids 2>/dev/null || true
		[[ $SECONDS -lt $deadline ]] || fail "processes in $CLUSTER-$1 do not die: $pids"
		sleep 0.05
	done
	ip netns del "$CLUSTER-$1"
}
