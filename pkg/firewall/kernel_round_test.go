package firewall

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// round is the world with random groups, and random pods in them.
type round struct {
	w        *world
	r        *rand.Rand
	seed     uint64
	policies *Policies
	pods     map[*end]Pod
}

// maxRules is how many rules of its own a random group has at most.
const maxRules = 150

// manyPorts is more ranges than a rule of the kernel can hold.
const manyPorts = 40

// newRound puts random groups in force.
func (w *world) newRound(seed uint64) *round {
	w.t.Helper()
	n := &round{w: w, r: rand.New(rand.NewPCG(seed, 11)), seed: seed, pods: map[*end]Pod{}}
	n.policies = &Policies{
		Subnet:       n.randomPolicy("subnet"),
		Interfaces:   map[string]*nsg.Policy{"web": n.randomPolicy("web"), "api": n.randomPolicy("api")},
		SameNodeFree: n.r.IntN(5) == 0,
	}
	for _, e := range w.pods {
		p := n.randomPod()
		if p.Foreign = n.w.network.Foreign; p.Foreign {
			p.Devices = []string{e.device}
		}
		n.pods[e] = p
	}
	if n.r.IntN(5) == 0 {
		n.policies.Subnet = nil
	}
	if n.r.IntN(2) == 0 { // else only AddPod makes them members
		for _, e := range w.pods {
			n.policies.Pods = append(n.policies.Pods, n.pods[e])
		}
	}
	n.install()
	return n
}

// randomPolicy has some rules with so many ports that they need a set.
func (n *round) randomPolicy(name string) *nsg.Policy {
	d := nsgtest.Group(n.r, name, 1+n.r.IntN(maxRules))
	for i := range d.Rules {
		rule := &d.Rules[i]
		if rule.Protocol == "Icmp" || n.r.IntN(8) > 0 {
			continue
		}
		side := []*nsg.EndpointDefinition{&rule.Source, &rule.Destination}[n.r.IntN(2)]
		side.Port, side.Ports = "", nil
		for range manyPorts {
			first := n.r.IntN(60_000)
			side.Ports = append(side.Ports, fmt.Sprintf("%d-%d", first, first+n.r.IntN(500)))
		}
	}
	return nsgtest.MustPolicy(d)
}

func (n *round) install() {
	n.w.t.Helper()
	network := n.w.network
	network.Judging = staleOnce([]string{"web"}, n.policies)
	ensure(n.w.t, n.w.f, network)
	for _, e := range n.w.pods {
		for _, a := range n.pods[e].Addrs {
			n.w.route(e, a)
		}
		must(n.w.t, n.w.f.AddPod(network, n.pods[e]))
		ensure(n.w.t, n.w.f, network)
	}
}

// end takes the pods away; the groups stay until others replace them.
func (n *round) end() {
	n.w.t.Helper()
	for _, e := range n.w.pods {
		for _, a := range n.pods[e].Addrs {
			must(n.w.t, n.w.f.RemovePod(n.w.network.Name, podOf(a)))
			sh(n.w.t, fmt.Sprintf("ip -%s route del %v dev %s", familyOf(a).suffix(), a, e.device))
		}
		must(n.w.t, n.w.f.RemovePod(n.w.network.Name, n.pods[e]))
	}
}

// randomPod has its addresses at the borders of rules.
func (n *round) randomPod() Pod {
	p := Pod{Group: []string{"", "web", "api"}[n.r.IntN(3)]}
	for _, asg := range nsgtest.ASGs {
		if n.r.IntN(4) == 0 {
			p.ASGs = append(p.ASGs, asg)
		}
	}
	judges := n.judges(p)
	for _, v6 := range []bool{false, true} {
		for {
			d := []nsg.Direction{nsg.Inbound, nsg.Outbound}[n.r.IntN(2)]
			a := nsgtest.Flow(n.r, judges[n.r.IntN(len(judges))], d, v6).Local
			if n.w.routable(a) && n.podAt(a) == nil {
				p.Addrs = append(p.Addrs, a)
				break
			}
		}
	}
	return p
}

// judges are the policies that have a say about the pod; any, if none has.
func (n *round) judges(p Pod) []*nsg.Policy {
	var out []*nsg.Policy
	if n.policies.Subnet != nil {
		out = append(out, n.policies.Subnet)
	}
	if p.Group != "" {
		out = append(out, n.policies.Interfaces[p.Group])
	}
	if len(out) == 0 {
		out = append(out, n.policies.Interfaces["web"])
	}
	return out
}

func (n *round) podAt(a netip.Addr) *end {
	for e, p := range n.pods {
		if slices.Contains(p.Addrs, a) {
			return e
		}
	}
	return nil
}

// platform is whose packets are dropped, other than Evaluate has it, because
// anybody could forge them here.
var platform = netip.MustParseAddr(platformAddress)

// zero is "this network" (RFC 791), from and to which the kernel routes nothing.
var zero = netip.MustParsePrefix("0.0.0.0/8")

// routable reports whether the kernel forwards packets from and to the address as
// from and to any other.
func (w *world) routable(a netip.Addr) bool {
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a == platform, zero.Contains(a), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	case a.Is6() && (a.IsLinkLocalUnicast() || a.Is4In6()):
		return false
	}
	return !slices.ContainsFunc(w.ends(), func(e *end) bool { return e.marker[a.Is6()] == a })
}

// judge tells what the groups on the packet's way say: the sender's on the way out
// and the receiver's on the way in. What the node itself sends is not judged.
func (n *round) judge(x *exchange) {
	_, fromPod := n.pods[x.from]
	_, toPod := n.pods[x.to]
	var why []string
	x.allowed = true
	ask := func(name string, v nsg.Verdict) {
		x.allowed = x.allowed && v.Access == nsg.Allow
		why = append(why, name+" "+describe(v))
	}
	switch {
	case fromPod && toPod && n.policies.SameNodeFree:
		why = append(why, "both pods are of this node")
	case x.from == n.w.node:
		why = append(why, "the node sends it")
	default:
		if fromPod {
			ask("outbound", n.outbound(x))
		}
		if toPod {
			ask("inbound", n.inbound(x))
		}
	}
	x.why = fmt.Sprintf("seed %d, application security groups %q to %q: %s", n.seed, n.pods[x.from].ASGs, n.pods[x.to].ASGs, strings.Join(why, ", "))
}

// outbound is the verdict of the sender's groups.
func (n *round) outbound(x *exchange) nsg.Verdict {
	c, local := x.request, n.pods[x.from]
	return nsg.Evaluate(nsg.Flow{
		Direction: nsg.Outbound, Protocol: c.protocol, Local: c.src, Remote: c.dst, LocalPort: c.rulePort(c.srcPort), RemotePort: c.dstPort,
		LocalASGs: local.ASGs, RemoteASGs: n.pods[x.to].ASGs,
	}, n.policies.Subnet, n.policies.Interfaces[local.Group])
}

// inbound is the verdict of the receiver's groups.
func (n *round) inbound(x *exchange) nsg.Verdict {
	c, local := x.request, n.pods[x.to]
	return nsg.Evaluate(nsg.Flow{
		Direction: nsg.Inbound, Protocol: c.protocol, Local: c.dst, Remote: c.src, LocalPort: c.dstPort, RemotePort: c.rulePort(c.srcPort),
		LocalASGs: local.ASGs, RemoteASGs: n.pods[x.from].ASGs,
	}, n.policies.Subnet, n.policies.Interfaces[local.Group])
}

// rulePort is the port that rules see: an echo's identifier is none.
func (c crafted) rulePort(port uint16) uint16 {
	if c.protocol != nsg.TCP && c.protocol != nsg.UDP {
		return 0
	}
	return port
}

func describe(v nsg.Verdict) string {
	if v.Rule == nil {
		return "no group"
	}
	access := map[nsg.Access]string{nsg.Allow: "allowed", nsg.Deny: "denied"}[v.Access]
	return fmt.Sprintf("%s by %s of group %s", access, v.Rule.FullName(), v.Group.Name)
}
