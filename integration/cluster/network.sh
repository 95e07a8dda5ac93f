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

# route_pods: the way to each node's pods, known to the other nodes on its layer 2
# network, or else to the router.
route_pods() {
	local node other cidr hop
	local -A cidrs hops
	for node in $(node_names); do
		cidrs[$node]=$(ranges "$node")
		hops[$node]=$(address "$node")
	done
	for node in "${!cidrs[@]}"; do
		for cidr in ${cidrs[$node]}; do
			for hop in ${hops[$node]}; do
				[[ ${cidr//[^:]/} && ${hop//[^:]/} || ! ${cidr//[^:]/} && ! ${hop//[^:]/} ]] || continue
				if [[ $LAYOUT == routed ]]; then
					in_net cp ip route replace "$cidr" via "${hop%/*}"
					continue
				fi
				for other in "${!cidrs[@]}"; do
					[[ $other == "$node" ]] || in_net "$other" ip route replace "$cidr" via "${hop%/*}"
				done
			done
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
			[[ ${cidr//[^:]/} && ${cluster//[^:]/} || ! ${cidr//[^:]/} && ! ${cluster//[^:]/} ]] || continue
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
