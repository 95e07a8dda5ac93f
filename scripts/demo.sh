#!/usr/bin/env bash
# Two nodes on one VNet subnet, played by network namespaces on a bridge: pods
# are attached with cnitool, reach each other as their network security group
# allows, and are detached again. Everything is made for the demo and removed at
# its end. Needs root; `make demo` builds.
set -euo pipefail
cd "$(dirname "$0")/.."

ID=demo$$
DIR=$(mktemp -d)
export PATH=$PWD/bin:$PATH:/usr/sbin:/sbin CNI_PATH=$PWD/bin
CNITOOL=$PWD/.cache/peers/cnitool

bold='' plain=''
[[ ! -t 1 ]] || bold=$'\033[1m' plain=$'\033[0m'
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '  %s\n' "$*"; }

SERVERS=()
cleanup() {
	local ns
	[[ ${#SERVERS[@]} == 0 ]] || kill "${SERVERS[@]}" 2>/dev/null || true
	for ns in $(ip netns list | awk -v id="$ID" '$1 ~ "^" id "-" {print $1}'); do ip netns del "$ns"; done
	rm -rf "$DIR"
}
trap cleanup EXIT

# on NODE COMMAND…: in the node's namespaces, with a cnitool cache and xtables lock of its own
on() {
	local node=$1
	shift
	mkdir -p "$DIR/$node/var-lib"
	# shellcheck disable=SC2016 # the inner shell's arguments
	NETCONFPATH=$DIR/$node XTABLES_LOCKFILE=$DIR/xtables.lock ip netns exec "$ID-$node" \
		sh -c 'mount --bind "$0" /var/lib && exec "$@"' "$DIR/$node/var-lib" "$@"
}

# node NAME HOST POOL: a node with address HOST and POOL as its share of the subnet
node() {
	ip netns add "$ID-$1"
	ip -n "$ID-$1" link set lo up
	ip -n "$ID-vnet" link add "to-$1" mtu 1500 type veth peer name eth0 netns "$ID-$1"
	ip -n "$ID-vnet" link set "to-$1" master br0 up
	# A node that has been up for longer than two seconds is past this.
	ip netns exec "$ID-$1" sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad'
	ip -n "$ID-$1" addr add "10.241.0.$2/16" dev eth0
	ip -n "$ID-$1" addr add "fd00:10:241::$2/64" dev eth0 nodad
	ip -n "$ID-$1" link set eth0 up
	mkdir -p "$DIR/$1"
	cat >"$DIR/$1/10-pods.conflist" <<-EOF
		{"cniVersion": "1.0.0", "name": "pods", "plugins": [{
		  "type": "vnet", "uplink": "eth0", "stateDir": "$DIR/$1/state",
		  "ipam": {"type": "vnet-ipam", "pools": [
		    {"subnet": "10.241.0.0/16", "ranges": ["10.241.$3.1-10.241.$3.14"]},
		    {"subnet": "fd00:10:241::/64", "ranges": ["fd00:10:241::${3}01-fd00:10:241::${3}0e"]}]},
		  "nsg": {"documents": ["$DIR/etc-vnet"], "subnet": "pods-nsg"}
		}]}
	EOF
}

# pod NODE NAME: attaches a new pod and prints its addresses
pod() {
	ip netns add "$ID-$2"
	ip -n "$ID-$2" link set lo up
	on "$1" "$CNITOOL" add pods "/run/netns/$ID-$2" >"$DIR/$2.json"
	note "$2 on $1: $(grep -o '"address": "[^"]*"' "$DIR/$2.json" | cut -d'"' -f4 | paste -sd' ')"
}

# address POD 1|2: its IPv4 or IPv6 address
address() { grep -o '"address": "[^"/]*' "$DIR/$1.json" | cut -d'"' -f4 | sed -n "$2p"; }

reach() {
	local from=$1 to=$2 target=$3
	if ip netns exec "$ID-$from" ping -c 3 -i 0.05 -W 2 -q "$target" >"$DIR/ping" 2>&1; then
		note "$from -> $to ($target): $(awk -F'[/ ]' '/^rtt/ {print $8 " ms"}' "$DIR/ping")"
	else
		note "$from -> $to ($target): NO ANSWER"
		cat "$DIR/ping"
		exit 1
	fi
}

# serve POD PORT: a server in the pod, for as long as the demo runs
serve() {
	ip netns exec "$ID-$1" socat "TCP-LISTEN:$2,fork,reuseaddr" SYSTEM:'echo hello' >/dev/null 2>&1 &
	SERVERS+=($!)
	for _ in {1..50}; do
		ip netns exec "$ID-$1" ss -Hltn "sport = :$2" | grep -q . && return
		sleep 0.05
	done
}

# connect FROM TO ADDRESS PORT: does a TCP connection come about?
connect() {
	if ip netns exec "$ID-$1" timeout 1 bash -c "exec 3<>/dev/tcp/$3/$4" 2>/dev/null; then
		note "$1 -> $2, port $4: connected"
	else
		note "$1 -> $2, port $4: no answer"
	fi
}

say "A VNet subnet, 10.241.0.0/16 and fd00:10:241::/64, with two nodes"
ip netns add "$ID-vnet"
ip -n "$ID-vnet" link add br0 type bridge mcast_snooping 0
ip -n "$ID-vnet" link set br0 up
mkdir "$DIR/etc-vnet"
cp conf/nsg/pods-nsg.json "$DIR/etc-vnet"
node node1 4 4
node node2 5 5
note "node1 has 10.241.0.4 and leases 10.241.4.1-14; node2 has 10.241.0.5 and leases 10.241.5.1-14"

say "Three pods, attached with cnitool"
pod node1 web
pod node1 api
pod node2 db

say "They reach each other, on one node and across nodes (mean round trip)"
reach web api "$(address api 1)"
reach web api "$(address api 2)"
reach web db "$(address db 1)"
reach db web "$(address web 2)"
reach db node1 10.241.0.4

say "Their subnet has the group pods-nsg of conf/nsg, as az exports it: port 80 is open to the VNet, 8080 is not"
for port in 80 8080; do
	serve web "$port"
	connect db web "$(address web 1)" "$port"
done

say "Which rule decides? vnetctl test-ip-flow, with az's flags"
for port in 80 8080; do
	flow=(--direction Inbound --protocol TCP --local "$(address web 1):$port" --remote "$(address db 1):40000")
	note "port $port: $(vnetctl test-ip-flow --documents "$DIR/etc-vnet" --nsg pods-nsg --virtual-network 10.241.0.0/16 "${flow[@]}")"
done

say "The rule is changed in the document, and put in force on node1: vnetctl apply"
sed -i 's/"Deny"/"Allow"/' "$DIR/etc-vnet/pods-nsg.json"
on node1 vnetctl --state-dir "$DIR/node1/state" apply
connect db web "$(address web 1)" 8080

say "What the rules have counted: vnetctl counters"
on node1 vnetctl --state-dir "$DIR/node1/state" counters | awk 'NR == 1 || $(NF-1) > 0'

say "What node1 knows: vnetctl ipam, vnetctl pods"
on node1 vnetctl --state-dir "$DIR/node1/state" ipam
echo
on node1 vnetctl --state-dir "$DIR/node1/state" pods

say "What node1 shows: routes to its pods, and the addresses that it answers for on eth0"
on node1 ip route show proto static
on node1 ip -6 route show proto static
on node1 ip neigh show proxy

say "The pods go"
for p in web:node1 api:node1 db:node2; do
	on "${p#*:}" "$CNITOOL" check pods "/run/netns/$ID-${p%:*}" >/dev/null
	on "${p#*:}" "$CNITOOL" del pods "/run/netns/$ID-${p%:*}"
	note "${p%:*} was whole (CHECK) and is detached (DEL)"
done

say "Nothing is left of them"
on node1 vnetctl --state-dir "$DIR/node1/state" ipam
left=$(
	for n in node1 node2; do
		on "$n" ip -o link | grep ': vnet' || true
		on "$n" ip route show proto static
		on "$n" ip -6 route show proto static
		on "$n" ip neigh show proxy
		# Sets that hold what rules speak of, vnet-set-*, stay with the rules.
		on "$n" ipset list | awk '/^Name:/ {pods = !/vnet-set-/} /^Members:/ {m = 1; next} /^$/ {m = 0} m && pods'
	done
)
if [[ -n $left ]]; then
	note "left behind: $left"
	exit 1
fi
note "no link, route, proxy entry or set member on either node"
