# shellcheck shell=bash
# What the cluster is made of, and where it is kept. Sourced by build.sh and
# cluster.sh; here is the folder of this file, root the repository.
#
# Each thing lives in a folder of its own, CACHE/WHAT-KEY, whose key is a hash of
# everything that goes into it: a folder that exists is right, whole and never
# changes, and two checkouts share one cache.
# shellcheck disable=SC2154 # here and root

cache=${VNET_CLUSTER_CACHE:-${HOME:-/root}/.cache/vnet-cni/cluster}

# inputs WHAT: the files that WHAT is made of, relative to the repository.
inputs() {
	local cluster=integration/cluster
	case $1 in
	kubernetes | containerd) printf '%s\n' $cluster/"$1"/go.{mod,sum} ;;
	e2e) printf '%s\n' $cluster/kubernetes/go.{mod,sum} $cluster/image/*.go ;;
	coredns) printf '%s\n' $cluster/coredns/{go.mod,go.sum,main.go} $cluster/image/*.go ;;
	plugins) printf '%s\n' integration/peers/{go.mod,go.sum,build.sh} ;;
	images) printf '%s\n' $cluster/image/*.go /usr/bin/busybox ;;
	agent)
		inputs plugins
		printf '%s\n' $cluster/image/*.go go.mod go.sum
		find cmd ipam pkg plugins -type f ! -name '*_test.go' ! -path '*/testdata/*' | LC_ALL=C sort ;;
	*) fail "no such thing to build: $1 (kubernetes e2e containerd coredns plugins images agent)" ;;
	esac
}

# folder WHAT: where WHAT is, once it is built. The recipe's own text is part of the key.
folder() {
	local key
	key=$(cd "$root" && { declare -f "build_$1" && inputs "$1" | xargs sha256sum; } | sha256sum) || return
	printf '%s/%s-%.12s\n' "$cache" "$1" "$key"
}

# compile MODULE OUT ARG…: a static build of commands of a module of ours.
compile() {
	local module=$1 out=$2
	shift 2
	(cd "$module" && CGO_ENABLED=0 nice -n 5 go build -mod=readonly -buildvcs=false -trimpath -o "$out/" "$@")
}

# image ARG…: our image builder, see image/main.go.
image() {
	(cd "$here" && go run ./image "$@")
}

# kubernetes_flags: Kubernetes' commands ask their linker flags which version they are.
kubernetes_flags() {
	local version package
	version=$(sed -n 's/^require k8s.io\/kubernetes v//p' "$here/kubernetes/go.mod")
	printf -- '-s -w'
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		printf ' -X %s.gitVersion=v%s -X %s.gitMajor=%s' $package "$version" $package "${version%%.*}"
		printf ' -X %s.gitMinor=%s -X %s.gitTreeState=clean' $package "$(cut -d. -f2 <<<"$version")" $package
	done
}

build_kubernetes() {
	compile "$here/kubernetes" "$1" -ldflags "$(kubernetes_flags)" \
		k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}
}

# The suite calls for two images by their references in the registry; ours is both. Its
# pods run curl, ip, nc, dig and getent in them. nc is OpenBSD's, for busybox's lacks
# options that the suite uses, and sh is dash, for busybox's sh would run busybox's nc
# whatever PATH says.
build_e2e() {
	local porter
	porter=$(cd "$here/kubernetes" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images/agnhost/porter
	compile "$here/kubernetes" "$1" -ldflags "$(kubernetes_flags)" k8s.io/kubernetes/test/images/agnhost
	(cd "$here/kubernetes" && CGO_ENABLED=0 nice -n 5 go test -mod=readonly -c -trimpath -ldflags "$(kubernetes_flags)" \
		-o "$1/e2e.test" k8s.io/kubernetes/test/e2e)
	image -o "$1/agnhost.tar" -busybox -file agnhost="$1/agnhost" -program usr/bin/curl -program usr/sbin/ip \
		-program usr/bin/nc=/bin/nc.openbsd -program bin/sh=/bin/dash \
		-program usr/bin/dig -program usr/bin/getent \
		-file localhost.crt="$porter/localhost.crt" -file localhost.key="$porter/localhost.key" -entrypoint /agnhost -cmd pause \
		registry.k8s.io/e2e-test-images/agnhost:2.56 registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7
}

build_containerd() {
	compile "$here/containerd" "$1" -ldflags '-s -w' \
		github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
}

build_coredns() {
	compile "$here/coredns" "$1" -ldflags '-s -w' .
	image -o "$1/coredns.tar" -file coredns="$1/coredns" -entrypoint /coredns local.test/coredns:1
}

build_plugins() {
	"$root/integration/peers/build.sh" "$1"
}

# pause sleeps until it is told to go, and goes at once. The suite has pods that do just that.
build_images() {
	printf '#!/bin/sh\ntrap "exit 0" TERM INT\nwhile :; do sleep 3600 & wait $!; done\n' >"$1/pause"
	image -o "$1/base.tar" -busybox -file pause="$1/pause" -entrypoint /pause \
		local.test/pause:1 local.test/busybox:1 registry.k8s.io/pause:3.10.1
}

# Both of iptables' backends, for the agent goes on with the one that its node's rules
# were made with; their extensions are loaded at run time from the path that was compiled in.
build_agent() {
	local peers module=github.com/vnet-cni/vnet-cni ldflags='-s -w' backend family action links=() bin=opt/vnet-cni/bin
	ldflags+=" -X $module/pkg/cnimain.Version=dev"
	compile "$root" "$1" -ldflags "$ldflags" ./plugins/vnet ./plugins/vnet-nsg ./ipam/vnet-ipam ./cmd/vnetctl
	compile "$root/cmd/vnet-agent" "$1" -ldflags "$ldflags" .
	peers=$(folder plugins)
	cp "$peers"/{portmap,loopback} "$1/"
	for family in iptables ip6tables; do
		for action in '' -restore -save; do
			for backend in nft legacy; do
				links+=(-link "usr/sbin/$family-$backend$action=xtables-$backend-multi")
			done
			links+=(-link "usr/sbin/$family$action=xtables-nft-multi")
		done
	done
	image -o "$1/vnet-agent.tar" -file vnet-agent="$1/vnet-agent" -file $bin/vnet="$1/vnet" -file $bin/vnet-nsg="$1/vnet-nsg" -file $bin/vnet-ipam="$1/vnet-ipam" \
		-file $bin/vnetctl="$1/vnetctl" -file $bin/portmap="$1/portmap" -file $bin/loopback="$1/loopback" \
		-link usr/local/bin/vnetctl=/$bin/vnetctl -program usr/sbin/xtables-nft-multi -program usr/sbin/xtables-legacy-multi \
		"${links[@]}" -libraries "$(echo /usr/lib/*/xtables)" -entrypoint /vnet-agent docker.io/vnet-cni/vnet-agent:dev
}
