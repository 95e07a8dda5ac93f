#!/usr/bin/env bash
# Process 1 of a node, in mount, UTS, pid and network namespaces of its own. It makes
# the machine's file system look like the node's, and then keeps containerd, kubelet
# and kube-proxy running.
#   node-init.sh RUN NODE
set -euo pipefail
run=$1 node=$2 disk=$1/$2
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
source "$run/settings"
# shellcheck source=integration/cluster/layout.sh
source "$here/layout.sh"
# shellcheck disable=SC2154 # CLUSTER and node_path, from the settings
export PATH=$node_path # a containerd of ours comes first, and finds its shim by PATH
cgroup=$CLUSTER-$node pki=$run/pki

# mount_disk: what a node writes goes to its disk, and the machine never sees it.
mount_disk() {
	mount --make-rprivate /
	mount -t overlay overlay -o "lowerdir=/etc,upperdir=$disk/etc,workdir=$disk/etc.work" /etc
	mkdir -p /etc/cni
	mount --bind "$disk/etc-cni" /etc/cni # an overlay's layers may not be changed from outside
	mount --bind "$disk/opt" /opt
	mount --bind "$disk/var-lib" /var/lib
	mount --bind "$disk/var-log" /var/log
	mount --rbind /sys/fs/cgroup "$disk/cgroup" # a new /sys shows this namespace's links, and no cgroups
	mount -t sysfs sysfs /sys
	mount --move "$disk/cgroup" /sys/fs/cgroup
	umount -R -l /run/netns # or everybody's namespaces outlive their removal, while this node lives
	mount -t tmpfs tmpfs /run
	mkdir -p /run/{containerd,lock,netns} /opt/cni/bin /etc/cni/net.d /var/lib/kubelet
}

# shield_machine: the kubelet sets these for the whole kernel; let it set copies.
shield_machine() {
	local name
	for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_max{keys,bytes}; do
		[[ -e /proc/sys/$name ]] || continue
		cat "/proc/sys/$name" >"/run/sysctl-${name//\//-}"
		mount --bind "/run/sysctl-${name//\//-}" "/proc/sys/$name"
	done
	mount --bind "$disk/boot_id" /proc/sys/kernel/random/boot_id
}

# make_cgroups: the kubelet wants its root to be there, in every hierarchy of version 1,
# and a cpuset without processors takes no process.
make_cgroups() {
	local dir
	if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
		sed 's/\</+/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
		mkdir -p "/sys/fs/cgroup/$cgroup"
		return
	fi
	for dir in /sys/fs/cgroup/*/; do
		[[ $dir == */unified/ ]] || mkdir -p "$dir$cgroup"
	done
	for dir in cpus mems; do
		cat "/sys/fs/cgroup/cpuset/cpuset.$dir" >"/sys/fs/cgroup/cpuset/$cgroup/cpuset.$dir"
	done
}

# Without CAP_SYS_RESOURCE nobody may make a process less likely to be killed for
# memory, and a sandbox that tries to dies with "can't get final child's PID from
# pipe": hence restrict_oom_score_adj here and oomScoreAdj below. containerd 2 reads
# this version of the format, too.
containerd_config() {
	cat <<-EOF
		version = 2
		root = "/var/lib/containerd"
		state = "/run/containerd"
		disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
		  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
		[grpc]
		  address = "/run/containerd/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "local.test/pause:1"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/opt/cni/bin"
		    conf_dir = "/etc/cni/net.d"
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "overlayfs"
		    default_runtime_name = "runc"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
	EOF
}

# 110 pods, the kubelet's default, are fewer than a range holds. The folder for volume
# plugins would be in /usr.
kubelet_config() {
	cat <<-EOF
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$pki/ca.crt"}}
		authorization: {mode: Webhook}
		cgroupDriver: cgroupfs
		cgroupRoot: /$cgroup
		failCgroupV1: false
		clusterDNS: ["$(service_ip 10)"]
		clusterDomain: cluster.local
		failSwapOn: false
		maxPods: 260
		oomScoreAdj: 0
		volumePluginDir: /var/lib/kubelet/volume-plugins
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
	EOF
}

# The limits of conntrack are the whole kernel's and cannot be set from here.
kube_proxy_config() {
	cat <<-EOF
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		clientConnection: {kubeconfig: "$pki/kube-proxy.kubeconfig"}
		hostnameOverride: $node
		mode: $PROXY_MODE
		clusterCIDR: "$(comma "$POD_CIDRS")"
		oomScoreAdj: 0
		conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	EOF
}

# supervise NAME CMD…: keeps it running, except while /run/NAME.stop exists.
supervise() {
	local name=$1
	shift
	while :; do
		while [[ -e /run/$name.stop ]]; do sleep 0.05; done
		"$@" >>"$disk/log/$name.log" 2>&1 &
		echo $! >"/run/$name.pid"
		wait $! || true
		sleep 0.1
	done
}

# load_images: once in the life of a disk. The one with pause comes first: with it
# pods of others' images can begin already.
load_images() {
	local image
	[[ ! -e /var/lib/images-are-here ]] || return 0
	for image in "$run"/images/base.tar "$run"/images/*.tar; do
		ctr -n k8s.io images import "$image" >/dev/null
	done
	touch /var/lib/images-are-here
}

# The kubelet waits long between its first attempts to reach the API server, so it
# does not begin before there is one.
# shellcheck disable=SC2154 # kubernetes, from the settings
api_ready() { "$kubernetes/kubectl" --kubeconfig "$pki/kubelet-$node.kubeconfig" get --raw /readyz >/dev/null 2>&1; }

hostname "$node"
mount_disk
shield_machine
make_cgroups
containerd_config >/run/containerd.toml
kubelet_config >/run/kubelet.yaml
kube_proxy_config >/run/kube-proxy.yaml
supervise containerd containerd -c /run/containerd.toml &
until ctr version >/dev/null 2>&1; do sleep 0.05; done
load_images &
until api_ready; do sleep 0.2; done
supervise kubelet "$kubernetes/kubelet" --config=/run/kubelet.yaml --kubeconfig="$pki/kubelet-$node.kubeconfig" \
	--hostname-override="$node" --node-ip="$(node_ips "$node")" &
supervise kube-proxy "$kubernetes/kube-proxy" --config=/run/kube-proxy.yaml &
while :; do wait; sleep 1; done
