# shellcheck shell=bash
# The control plane: keys, etcd, API server, controller manager and scheduler, in a
# network namespace of their own. Sourced by cluster.sh.
# shellcheck disable=SC2154 # run and kubernetes, set by cluster.sh

api_address=172.30.0.1 api_port=6443

# sign NAME SUBJECT [SAN]: a key and a certificate of the cluster's authority.
sign() (
	cd "$run/pki" || exit
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
	openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -days 30 -out "$1.crt" 2>/dev/null -extfile <(
		printf 'extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature,keyEncipherment\n%s\n' "${3:+subjectAltName=$3}")
)

# identity NAME USER [GROUP]: a kubeconfig with a certificate, for whoever that is. Not
# a token: the API server reads those once, and nodes come later.
identity() {
	sign "$1" "${3:+/O=$3}/CN=$2"
	cat >"$run/pki/$1.kubeconfig" <<-EOF
		apiVersion: v1
		kind: Config
		clusters: [{name: c, cluster: {server: "https://$api_address:$api_port", certificate-authority: "$run/pki/ca.crt"}}]
		users: [{name: u, user: {client-certificate: "$run/pki/$1.crt", client-key: "$run/pki/$1.key"}}]
		contexts: [{name: x, context: {cluster: c, user: u}}]
		current-context: x
	EOF
}

make_keys() {
	local names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
	mkdir -m 700 "$run/pki"
	(cd "$run/pki" || exit
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=cluster \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature 2>/dev/null
	openssl ecparam -name prime256v1 -genkey -noout -out sa.key
	openssl pkey -in sa.key -pubout -out sa.pub 2>/dev/null)
	sign apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$api_address,IP:$(service_ip 1),$names"
	sign apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
	identity admin admin system:masters
	identity controller-manager system:kube-controller-manager
	identity scheduler system:kube-scheduler
	identity kube-proxy system:kube-proxy
}

# daemon NAME CMD…: in the control plane's namespace, in the background, under the
# process id that is written down: none of the commands on the way forks.
daemon() {
	local name=$1
	shift
	nsenter --net="/run/netns/$CLUSTER-cp" setsid nohup "$@" >>"$run/cp/$name.log" 2>&1 </dev/null &
	echo $! >"$run/cp/$name.pid"
}

start_etcd() {
	daemon etcd etcd --data-dir "$run/etcd" --unsafe-no-fsync \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
		--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster default=http://127.0.0.1:2380
}

start_api() {
	local pki=$run/pki
	daemon apiserver "$kubernetes/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
		--secure-port=$api_port --advertise-address=$api_address --service-cluster-ip-range="$(comma "$SERVICE_CIDRS")" \
		--tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
		--service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
		--kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
		--kubelet-client-key="$pki/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP
}

start_controllers() {
	local pki=$run/pki masks
	masks=(--node-cidr-mask-size="$NODE_CIDR_MASKS")
	! dual || masks=(--node-cidr-mask-size-ipv4="${NODE_CIDR_MASKS% *}" --node-cidr-mask-size-ipv6="${NODE_CIDR_MASKS#* }")
	daemon controller-manager "$kubernetes/kube-controller-manager" --kubeconfig="$pki/controller-manager.kubeconfig" \
		--use-service-account-credentials --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
		--allocate-node-cidrs --cluster-cidr="$(comma "$POD_CIDRS")" "${masks[@]}" \
		--service-cluster-ip-range="$(comma "$SERVICE_CIDRS")" --leader-elect=false --bind-address=127.0.0.1 \
		--flex-volume-plugin-dir="$run/volume-plugins" # the default is in /usr, and it is made
	daemon scheduler "$kubernetes/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
}

api_ready() { kubectl get --raw /readyz >/dev/null 2>&1; }

# api start|stop: stopped means that connections are refused, not that nobody answers.
api() {
	local pid
	pid=$(<"$run/cp/apiserver.pid")
	case $1 in
	start)
		! [[ -d /proc/$pid ]] || return 0
		start_api
		await 120 "the API server" api_ready ;;
	stop)
		kill -9 "$pid" 2>/dev/null || true
		await 10 "the API server's end" gone "$pid" ;;
	*) fail "api: \"$1\" is neither start nor stop" ;;
	esac
}
gone() { [[ ! -d /proc/$1 ]]; }
