package testcluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// Image is what pods run: its server tells who it is and who asks, and it has the
// clients curl, nc and ping.
const Image = "registry.k8s.io/e2e-test-images/agnhost:2.56"

// Ports of the servers in pods with a network of their own.
const (
	TCPPort = 8080
	UDPPort = 8081
)

// Namespace is a namespace that a test has for itself.
type Namespace struct {
	*Cluster
	Name string
}

// Namespace makes one, whose name begins with prefix and which goes with the test.
// After a failure the test's log has what was in it.
func (c *Cluster) Namespace(tb testing.TB, prefix string, annotations map[string]string) *Namespace {
	tb.Helper()
	n := &Namespace{c, Unique(prefix)}
	c.Apply(tb, Object{"apiVersion": "v1", "kind": "Namespace", "metadata": Object{"name": n.Name, "annotations": annotations}})
	tb.Cleanup(func() {
		if tb.Failed() {
			c.Dump(tb, n.Name)
		}
		if _, err := c.Kubectl("-n", n.Name, "delete", "pods", "--all", "--grace-period=1"); err != nil {
			tb.Errorf("delete the test's pods: %v", err)
		}
		if _, err := c.Kubectl("delete", "namespace", n.Name, "--wait=false"); err != nil {
			tb.Errorf("delete what the test made: %v", err)
		}
	})
	Await(tb, time.Minute, "the namespace's service account", func() error {
		_, err := c.Kubectl("-n", n.Name, "get", "serviceaccount", "default")
		return err
	})
	return n
}

// Pod is a pod with a server for TCP and UDP.
type Pod struct {
	Name        string
	Node        string
	Labels      map[string]string
	Annotations map[string]string
	HostNetwork bool
	HostPort    int    // of the TCP server; 0: none
	Probe       Object // readiness; nil: the server must answer
	Restart     string // policy; "": Always

	Namespace *Namespace
	Addrs     []netip.Addr // once it runs
	TCP, UDP  int          // ports that it listens on
}

// Addr is the pod's address of a family; the zero Addr if it has none.
func (p *Pod) Addr(ipv6 bool) netip.Addr { return ofFamily(p.Addrs, ipv6) }

// Hostname is what its server says who it is.
func (p *Pod) Hostname() string {
	if p.HostNetwork {
		return p.Node
	}
	return p.Name
}

// Run starts pods and waits until all are Ready.
func (n *Namespace) Run(tb testing.TB, pods ...*Pod) {
	tb.Helper()
	n.Begin(tb, pods...)
	n.AwaitPods(tb, pods...)
}

// Begin starts pods without waiting for them.
func (n *Namespace) Begin(tb testing.TB, pods ...*Pod) {
	tb.Helper()
	var objects []any
	for _, p := range pods {
		p.Namespace = n
		p.TCP, p.UDP = TCPPort, UDPPort
		if p.HostNetwork { // beside everybody else's
			p.TCP = 20000 + 2*rand.IntN(5000)
			p.UDP = p.TCP + 1
		}
		objects = append(objects, p.object())
	}
	n.Apply(tb, objects...)
}

// AwaitPods waits until the pods are Ready, and learns their addresses.
func (n *Namespace) AwaitPods(tb testing.TB, pods ...*Pod) {
	tb.Helper()
	Await(tb, 2*time.Minute, fmt.Sprintf("%d pods in namespace %s to be Ready", len(pods), n.Name), func() error {
		states, err := n.Pods("")
		if err != nil {
			return err
		}
		for _, p := range pods {
			s, there := states[p.Name]
			if !there || !s.Ready {
				return fmt.Errorf("pod %s is not: %s", p.Name, s.Reason)
			}
			p.Addrs = s.Addrs
		}
		return nil
	})
}

func (p *Pod) object() Object {
	probe := p.Probe
	if probe == nil {
		probe = Object{"httpGet": Object{"path": "/hostname", "port": p.TCP}, "periodSeconds": 1}
	}
	port := Object{"containerPort": p.TCP}
	if p.HostPort != 0 {
		port["hostPort"] = p.HostPort
	}
	labels := map[string]string{"pod": p.Name}
	for k, v := range p.Labels {
		labels[k] = v
	}
	container := Object{
		"name": "server", "image": Image, "imagePullPolicy": "IfNotPresent",
		"args":  p.args(),
		"ports": []any{port}, "readinessProbe": probe,
		"env": []any{Object{"name": "HOST_IPS", "valueFrom": Object{"fieldRef": Object{"fieldPath": "status.hostIPs"}}}},
	}
	spec := Object{
		"hostNetwork": p.HostNetwork, "terminationGracePeriodSeconds": 1,
		"tolerations": []any{Object{"operator": "Exists"}},
		"containers":  []any{container},
	}
	if p.Node != "" {
		spec["nodeName"] = p.Node
	}
	if p.Restart != "" {
		spec["restartPolicy"] = p.Restart
	}
	return Object{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": Object{"name": p.Name, "namespace": p.Namespace.Name, "labels": labels, "annotations": p.Annotations},
	}
}

// args are the server's. On a node, which has many addresses, it must answer from the
// one that it was asked at: a UDP socket of all addresses answers from any.
func (p *Pod) args() []string {
	args := []string{"netexec", fmt.Sprintf("--http-port=%d", p.TCP), fmt.Sprintf("--udp-port=%d", p.UDP)}
	if p.HostNetwork {
		args = append(args, "--udp-listen-addresses=$(HOST_IPS)")
	}
	return args
}

// PodState is what the API server says of a pod.
type PodState struct {
	Node   string
	Phase  string
	Ready  bool
	Ending bool
	Reason string // in words, why it is not Ready
	Addrs  []netip.Addr
	Host   bool // it is on the host's network
	Starts int  // how often its containers were started again
}

type podList struct {
	Items []struct {
		Metadata struct {
			Name              string
			Namespace         string
			DeletionTimestamp *time.Time
		}
		Spec struct {
			NodeName    string
			HostNetwork bool
		}
		Status struct {
			Phase             string
			Conditions        []struct{ Type, Status, Message string }
			PodIPs            []struct{ IP netip.Addr }
			ContainerStatuses []struct {
				RestartCount int
				State        struct {
					Waiting struct{ Reason, Message string }
				}
			}
		}
	}
}

// Pods lists the namespace's pods that a selector matches, by name.
func (n *Namespace) Pods(selector string) (map[string]PodState, error) {
	var list podList
	if err := n.readJSON(&list, "-n", n.Name, "get", "pods", "-l", selector); err != nil {
		return nil, err
	}
	return list.states(func(_, name string) string { return name }), nil
}

// AllPods lists every pod of the cluster, by "namespace/name".
func (c *Cluster) AllPods() (map[string]PodState, error) {
	var list podList
	if err := c.readJSON(&list, "get", "pods", "-A"); err != nil {
		return nil, err
	}
	return list.states(func(namespace, name string) string { return namespace + "/" + name }), nil
}

func (l podList) states(key func(namespace, name string) string) map[string]PodState {
	out := map[string]PodState{}
	for _, item := range l.Items {
		s := PodState{
			Node: item.Spec.NodeName, Phase: item.Status.Phase, Host: item.Spec.HostNetwork,
			Ending: item.Metadata.DeletionTimestamp != nil, Reason: item.Status.Phase,
		}
		for _, ip := range item.Status.PodIPs {
			s.Addrs = append(s.Addrs, ip.IP)
		}
		for _, cond := range item.Status.Conditions {
			s.Ready = s.Ready || cond.Type == "Ready" && cond.Status == "True"
			if cond.Message != "" {
				s.Reason += ", " + cond.Message
			}
		}
		for _, cs := range item.Status.ContainerStatuses {
			s.Starts += cs.RestartCount
			s.Reason += " " + cs.State.Waiting.Reason + " " + cs.State.Waiting.Message
		}
		out[key(item.Metadata.Namespace, item.Metadata.Name)] = s
	}
	return out
}
