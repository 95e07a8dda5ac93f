package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/members"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// thisNode is the node of all its pods.
const thisNode = "this"

// nodeEnds finds the ends of the node's pods.
type nodeEnds struct {
	app   *app
	views map[string]*policy.View // by network; nil: it has no security groups
	ends  []reach.End
	asgs  map[string]*reach.End // by network and name
	order []string              // of asgs
	space nsg.AddressSet        // of all virtual networks
}

func (q *reachQuestion) ofNode(a *app, told []endText) ([]reach.End, error) {
	n := nodeEnds{app: a, views: map[string]*policy.View{}, asgs: map[string]*reach.End{}}
	for i := range told {
		t := &told[i]
		if !t.outside {
			return nil, usageError{fmt.Errorf("--%s: end %s: without --%s it must be outside: the ends of a node are its pods", flagEnds, quoted(t.name), flagDocuments)}
		}
		addresses, err := t.addressSet()
		if err != nil {
			return nil, fmt.Errorf("end %s: %w", quoted(t.name), err)
		}
		n.ends = append(n.ends, reach.End{Name: t.name, Kind: reach.Outside, Places: []reach.Place{{Addresses: addresses}}})
	}
	pods, err := a.runningPods()
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		a.note("this node has no pods; --%s asks about documents", flagDocuments)
	}
	for i := range pods {
		if err := n.add(&pods[i]); err != nil {
			return nil, err
		}
	}
	for _, key := range n.order {
		n.ends = appendEnd(n.ends, *n.asgs[key])
	}
	return withInternet(n.ends, nsg.Tags{VirtualNetwork: n.space}), nil
}

// add makes an end of a pod and a member of it wherever it is one.
func (n *nodeEnds) add(p *runningPod) error {
	if p.record.Lost {
		n.app.note("pod %s is left out: its lease was rebuilt after the store of network %s was lost, and nobody knows its groups", p.title(), p.network)
		return nil
	}
	v, err := n.view(p.network)
	if err != nil {
		return err
	}
	place, err := placeOf(v, p.record.Group, p.record.ASGs, p.addrs)
	if err != nil {
		return err
	}
	place.Network, place.Node = p.network, thisNode
	n.ends = appendEnd(n.ends, reach.End{Name: p.title(), Kind: reach.Pod, Places: []reach.Place{place}})
	n.join(&place)
	return nil
}

// placeOf is where a pod of a network is; without a view nobody judges it.
func placeOf(v *policy.View, group string, asgs []string, addrs []netip.Addr) (p reach.Place, err error) {
	p.ASGs = asgs
	for _, a := range addrs {
		p.Addresses = p.Addresses.Union(nsg.AddressesIn(nsg.AddressRange{First: a, Last: a}))
	}
	if v == nil {
		return p, nil
	}
	p.SameNodeFree = v.Config.SameNodeFree
	if p.Subnet, err = policyOf(v, v.Subnet()); err != nil {
		return p, err
	}
	p.Interface, err = policyOf(v, group)
	return p, err
}

// addElsewhere makes the pods of other nodes members where they are some: what they
// are called, this node does not know.
func (n *nodeEnds) addElsewhere(network string, v *policy.View) error {
	list, err := members.Read(n.app.stateDir, network)
	if err != nil {
		return err
	}
	for _, m := range list {
		place, err := placeOf(v, m.Group, m.ASGs, m.Addrs)
		if err != nil {
			n.app.note("pod %s of another node is left out: %v", joined(m.Addrs), err)
			continue
		}
		place.Network = network
		n.join(&place)
	}
	return nil
}

// title is what the pod is called: as Kubernetes does, where the runtime told that.
func (p *runningPod) title() string {
	if p.record.Pod != "" {
		return p.record.Pod
	}
	return p.key.ContainerID
}

// view returns what is in force in a network.
func (n *nodeEnds) view(network string) (*policy.View, error) {
	if v, known := n.views[network]; known {
		return v, nil
	}
	n.views[network] = nil
	if !policy.Exists(n.app.stateDir, network) {
		n.app.note("network %s has no security groups", network)
		return nil, nil
	}
	v, err := policy.InForce(n.app.stateDir, network)
	if err != nil {
		return nil, err
	}
	n.app.noteRejected(network)
	if v.Config.SameNodeFree {
		n.app.note("traffic between the pods of this node is not judged")
	}
	n.space = n.space.Union(v.Tags().VirtualNetwork)
	n.views[network] = v
	return v, n.addElsewhere(network, v)
}

// join makes a pod's place one of its application security groups. Places that are
// judged alike are one.
func (n *nodeEnds) join(place *reach.Place) {
	for _, name := range place.ASGs {
		key := place.Network + " " + name
		e := n.asgs[key]
		if e == nil {
			e = &reach.End{Name: name, Kind: reach.ASG}
			n.asgs[key] = e
			n.order = append(n.order, key)
		}
		i := slices.IndexFunc(e.Places, func(p reach.Place) bool {
			return p.Subnet == place.Subnet && p.Interface == place.Interface && p.Node == place.Node && slices.Equal(p.ASGs, place.ASGs)
		})
		if i >= 0 {
			e.Places[i].Addresses = e.Places[i].Addresses.Union(place.Addresses)
			continue
		}
		e.Places = append(e.Places, *place)
	}
}
