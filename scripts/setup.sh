#!/usr/bin/env bash
# Makes sure that the programs a make target needs are there. On Debian and
# Ubuntu, as root, it installs what is missing; elsewhere it says what to install.
#   scripts/setup.sh go        the Go toolchain (never installed: any Go from 1.21 on fetches the right one)
#   scripts/setup.sh race      a C compiler, for the race detector
#   scripts/setup.sh root      nothing but the right to make network namespaces
#   scripts/setup.sh net       iptables and ipset, for the demo
#   scripts/setup.sh bench     what the benchmarks use
#   scripts/setup.sh test      what the tests use besides
#   scripts/setup.sh cluster   what a Kubernetes cluster of ours runs besides what it builds
#   scripts/setup.sh lint      shellcheck
set -euo pipefail

fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

need_go() {
	command -v go >/dev/null || fail "Go 1.26 is missing: install it from https://go.dev/dl/ and put its bin folder on PATH"
	local version
	version=$(go env GOVERSION)
	[[ $version =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 26 ]] ||
		fail "Go 1.26 is needed, $version is installed: install it from https://go.dev/dl/"
}

need_race() {
	command -v gcc >/dev/null || command -v cc >/dev/null || install_packages gcc libc6-dev
}

need_root() {
	[[ $(id -u) == 0 ]] || fail "this makes network namespaces, which takes root: run it with sudo, or in a virtual machine"
}

# need_programs PROGRAM=PACKAGE… installs the packages whose program is missing.
need_programs() {
	local missing=() pair
	for pair in "$@"; do
		PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
	done
	[[ ${#missing[@]} == 0 ]] || install_packages "${missing[@]}"
}

# The first "ip netns add" of a machine mounts /run/netns on itself: over the namespaces
# that others have there by then, whose names nobody can remove any more.
mount_netns() {
	[[ $(id -u) == 0 ]] && ! mountpoint -q /run/netns || return 0
	PATH=$PATH:/usr/sbin:/sbin ip netns add "setup-$$"
	PATH=$PATH:/usr/sbin:/sbin ip netns del "setup-$$"
}

install_packages() {
	[[ $(id -u) == 0 ]] || fail "these packages are missing: $*; install them, or run this as root"
	command -v apt-get >/dev/null || fail "these packages (by their Debian names) are missing: $*; install them"
	printf 'installing %s\n' "$*" >&2
	local tries=12 # a machine that has just booted may be at its own upgrades, which hold the locks
	until apt-get update -qq >/dev/null; do
		((--tries)) || fail "apt-get update does not succeed"
		sleep 10
	done
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null
}

for want in "$@"; do
	case $want in
	go) need_go ;;
	race) need_race ;;
	root) need_root ;;
	net) need_programs iptables=iptables ipset=ipset ip=iproute2 ping=iputils-ping socat=socat && mount_netns ;;
	bench) need_programs iptables=iptables ipset=ipset ip=iproute2 iperf3=iperf3 && mount_netns ;;
	test) need_programs iptables=iptables nft=nftables ipset=ipset ip=iproute2 strace=strace git=git && mount_netns ;;
	cluster) need_programs containerd=containerd runc=runc etcd=etcd-server busybox=busybox-static openssl=openssl \
		nc.openbsd=netcat-openbsd dig=bind9-dnsutils dash=dash curl=curl iptables=iptables nft=nftables ipset=ipset ip=iproute2 \
		nsenter=util-linux unshare=util-linux flock=util-linux ;;
	lint) need_programs shellcheck=shellcheck ;;
	*) fail "unknown need \"$want\"" ;;
	esac
done
