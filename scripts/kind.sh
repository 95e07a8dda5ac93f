#!/usr/bin/env bash
# A kind cluster whose pods have vnet-cni as their network, in mode overlay: kind's
# podCIDRs are not of the nodes' own subnet.
#   scripts/kind.sh up     makes the cluster and installs the network
#   scripts/kind.sh test   the tests of the cluster that need no machine of their own
#   scripts/kind.sh down
# Needs docker, kind, kubectl and Go. NAME is the cluster's name.
set -euo pipefail
cd "$(dirname "$0")/.."
NAME=${NAME:-vnet}

up() {
	make image
	kind create cluster --name "$NAME" --config conf/kubernetes/kind.yaml
	kind load docker-image vnet-cni/vnet-agent:dev --name "$NAME"
	kubectl apply -k conf/kubernetes/overlay
	kubectl -n vnet-system rollout status daemonset/vnet-agent --timeout=120s
	kubectl wait --for=condition=Ready node --all --timeout=120s
}

run_tests() {
	kind export kubeconfig --name "$NAME" --kubeconfig "$PWD/.cache/kind-$NAME"
	cd integration/cluster
	KUBECONFIG=$PWD/../../.cache/kind-$NAME VNET_NODE_EXEC="docker exec NODE" go test -count=1 -v -timeout 30m -run TestCluster ./...
}

case ${1:-} in
up) up ;;
test) run_tests ;;
down) kind delete cluster --name "$NAME" ;;
*)
	sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
