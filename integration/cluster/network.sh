# shellcheck shell=bash
# The reference network: ptp with host-local and portmap, and static routes between
# the nodes. The mark that a network of ours is measured by. Sourced by cluster.sh.
# shellcheck disable=SC2154 # run, set by cluster.sh

# connect: brings the reference network to all nodes, if the cluster has it. Repeatable,
# for routes and rules are gone when a node has booted.
connect() {
	local node
	[[ -e $run/ptp ]] || return 0
	for node in $(node_names); do
		await 60 "node $node's range" registered "$node"
	done
	route_pods
	for node in $(node_names); do
		masquerade "$node"
		ptp_conflist "$node"
	done
}

ranges() { kubectl get node "$1" -o 'jsonpath={.spec.podCIDRs[*]}'; }

# hop_for NODE CIDR: the node's address of the same family.
hop_for() {
	local pair
	for pair in $(address "$1"); do
		if same_family "$pair" "$2"; then echo "${pair%/*}"; fi
	done
}
same_family() { [[ $1 == *:* && $2 == *:* || $1 != *:* && $2 != *:* ]]; }

# route_pods: the way to each node's pods, known to the other nodes on its layer 2
# network, or else to the router.
route_pods() {
	local node other cidr
	if [[ $LAYOUT != flat ]]; then
		route_control_plane
		for node in $(node_names); do pod_routes_for "br$(segment "$node")"; done
		return
	fi
	for node in $(node_names); do
		for cidr in $(ranges "$node"); do
			for other in $(node_names); do
				[[ $other == "$node" ]] || in_net "$other" ip route replace "$cidr" via "$(hop_for "$node" "$cidr")"
			done
		done
	done
}

# route_control_plane: the API server's way to pods, which it needs to be a proxy for
# them. It has none otherwise, like one that a cloud keeps elsewhere.
route_control_plane() {
	local node cidr
	for node in $(node_names); do
		for cidr in $(ranges "$node"); do
			in_net cp ip route replace "$cidr" via "$(hop_for "$node" "$cidr")" table 100
		done
	done
}

# masquerade NODE: nobody beyond the nodes, not even the control plane, knows the way
# back to a pod.
masquerade() {
	local cidr cluster tool
	for cidr in $(ranges "$1"); do
		for cluster in $POD_CIDRS; do
			tool=iptables
			[[ $cidr != *:* ]] || tool=ip6tables
			same_family "$cidr" "$cluster" || continue
			in_net "$1" $tool -w -t nat -C POSTROUTING -s "$cidr" ! -d "$cluster" -j MASQUERADE 2>/dev/null ||
				in_net "$1" $tool -w -t nat -A POSTROUTING -s "$cidr" ! -d "$cluster" -j MASQUERADE
		done
	done
}

# ptp_conflist NODE: plugins first, configuration last and whole.
ptp_conflist() {
	local cidr sets='' routes='' conf=$run/$1/etc-cni/net.d
	cp -u "$(folder plugins)"/{ptp,host-local,loopback,portmap,bridge,bandwidth} "$run/$1/opt/cni/bin/"
	for cidr in $(ranges "$1"); do
		sets+="${sets:+,}[{\"subnet\":\"$cidr\"}]"
		if [[ $cidr == *:* ]]; then routes+=',{"dst":"::/0"}'; else routes+='{"dst":"0.0.0.0/0"}'; fi
	done
	printf '{"cniVersion":"0.4.0","name":"reference","plugins":[{"type":"ptp","mtu":1500,"ipam":{"type":"host-local","ranges":[%s],"routes":[%s]}},{"type":"portmap","capabilities":{"portMappings":true}}]}\n' \
		"$sets" "$routes" >"$conf/.ptp"
	mv "$conf/.ptp" "$conf/10-ptp.conflist"
}
