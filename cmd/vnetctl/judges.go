package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// judges are the security groups that flows are asked of, and what is known of
// the ends of these flows. They are never changed once they are made: many
// workers ask them at once.
type judges struct {
	subnet, iface *nsg.Policy // nil: none

	subnetID    string // resource id of the subnet that has its group, where that is known
	interfaceID string // what a pod is called

	pod        *podEnd  // whose flows they are; nil: of anybody
	localASGs  []string // of flows that do not name theirs
	remoteASGs []string

	answers map[*nsg.PolicyRule]flowAnswer
	lines   map[*nsg.PolicyRule][]byte // the answers as JSON
}

// podEnd is what the node knows of a pod and of those around it.
type podEnd struct {
	name  string
	addrs []netip.Addr
	asgs  map[netip.Addr][]string // of the pods of its network
	free  map[netip.Addr]bool     // pods of the node, where traffic between them is not judged
}

// flowAnswer is the output for programs of vnetctl test-ip-flow.
type flowAnswer struct {
	Access   nsg.Access `json:"access"`
	RuleName string     `json:"ruleName"` // "" when no group has a say
	NSG      string     `json:"nsg"`
}

// newJudges makes the policies of the groups with these keys; "" is none.
func newJudges(v *policy.View, subnet, iface string) (*judges, error) {
	j := &judges{answers: map[*nsg.PolicyRule]flowAnswer{}, lines: map[*nsg.PolicyRule][]byte{}}
	var err error
	if j.subnet, err = policyOf(v, subnet); err != nil {
		return nil, err
	}
	if j.iface, err = policyOf(v, iface); err != nil {
		return nil, err
	}
	return j, j.prepare()
}

func policyOf(v *policy.View, key string) (*nsg.Policy, error) {
	if key == "" {
		return nil, nil
	}
	return v.Policy(key)
}

// prepare writes down all answers that there can be.
func (j *judges) prepare() error {
	answers := map[*nsg.PolicyRule]flowAnswer{nil: {Access: nsg.Allow}}
	for _, p := range j.policies() {
		for i := range p.Rules {
			r := &p.Rules[i]
			answers[r] = flowAnswer{r.Access, r.FullName(), p.Group.Name}
		}
	}
	for r, a := range answers {
		var line bytes.Buffer
		e := json.NewEncoder(&line)
		e.SetEscapeHTML(false)
		if err := e.Encode(a); err != nil {
			return fmt.Errorf("write the answer %s: %w", a.RuleName, err)
		}
		j.lines[r] = line.Bytes()
	}
	j.answers = answers
	return nil
}

func (j *judges) policies() []*nsg.Policy {
	return slices.DeleteFunc([]*nsg.Policy{j.subnet, j.iface}, func(p *nsg.Policy) bool { return p == nil })
}

// complete fills in what the flow leaves to the pod or to the flags.
func (j *judges) complete(t *flowText, q *question) error {
	if j.pod != nil {
		if err := j.pod.complete(t, q); err != nil {
			return err
		}
	}
	if !q.Local.IsValid() {
		return &fieldError{keyLocal, t.Local, "it has no address"}
	}
	if q.LocalASGs == nil {
		q.LocalASGs = j.localASGs
	}
	if q.RemoteASGs == nil {
		q.RemoteASGs = j.remoteASGs
	}
	return nil
}

func (p *podEnd) complete(t *flowText, q *question) error {
	if !q.Local.IsValid() {
		i := slices.IndexFunc(p.addrs, func(a netip.Addr) bool { return a.Is4() == q.Remote.Is4() })
		if i < 0 {
			return &fieldError{keyRemote, t.Remote, p.name + " has no address of its family"}
		}
		q.Local = p.addrs[i]
	}
	if !slices.Contains(p.addrs, q.Local) {
		return &fieldError{keyLocal, t.Local, p.name + " has " + joined(p.addrs)}
	}
	if q.LocalASGs == nil {
		q.LocalASGs = p.asgs[q.Local]
	}
	if q.RemoteASGs == nil {
		q.RemoteASGs = p.asgs[q.Remote]
	}
	return nil
}

// ask reads a flow and judges it.
func (j *judges) ask(t *flowText) (question, nsg.Verdict, error) {
	var q question
	if err := t.parse(&q); err != nil {
		return q, nsg.Verdict{}, err
	}
	if err := j.complete(t, &q); err != nil {
		return q, nsg.Verdict{}, err
	}
	v, err := j.judge(t, &q)
	return q, v, err
}

func (j *judges) judge(t *flowText, q *question) (nsg.Verdict, error) {
	switch {
	case j.pod != nil && j.pod.free[q.Remote]:
		return nsg.Verdict{Access: nsg.Allow}, nil
	case q.anyLocalPort || q.anyRemotePort:
		return j.judgeAny(t, q)
	}
	return nsg.Evaluate(q.Flow, j.subnet, j.iface), nil
}

// judgeAny judges a flow whose port is left open: all ports must have the same
// answer. It asks about the ports at which the conditions of rules begin or end.
func (j *judges) judgeAny(t *flowText, q *question) (nsg.Verdict, error) {
	locals, remotes := []uint16{q.LocalPort}, []uint16{q.RemotePort}
	if q.anyLocalPort {
		locals = j.borders(q.Direction, q.Direction == nsg.Outbound)
	}
	if q.anyRemotePort {
		remotes = j.borders(q.Direction, q.Direction == nsg.Inbound)
	}
	f := q.Flow
	var first nsg.Verdict
	for i, local := range locals {
		for k, remote := range remotes {
			f.LocalPort, f.RemotePort = local, remote
			v := nsg.Evaluate(f, j.subnet, j.iface)
			if i == 0 && k == 0 {
				first = v
			}
			if v.Rule != first.Rule {
				return v, depends(t, q, first, v)
			}
		}
	}
	return first, nil
}

// borders are the ports at which a side of the rules of a direction begins or
// ends to match, in ascending order.
func (j *judges) borders(d nsg.Direction, source bool) []uint16 {
	list := []uint16{0}
	for _, p := range j.policies() {
		for i := range p.Rules {
			r := &p.Rules[i]
			side := &r.Destination
			if source {
				side = &r.Source
			}
			if r.Direction != d {
				continue
			}
			for _, ports := range side.Ports {
				list = append(list, ports.First, ports.Last+1) // behind 65535 is 0 again
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// depends is the error for a port that must be told.
func depends(t *flowText, q *question, a, b nsg.Verdict) error {
	fault := fmt.Sprintf("the answer depends on the port: for some it is %s, for others %s", a.Rule.FullName(), b.Rule.FullName())
	switch {
	case q.anyLocalPort && q.anyRemotePort:
		fault = "its port or the local one must be told: " + fault
		return &fieldError{keyRemote, t.Remote, fault}
	case q.anyLocalPort:
		return &fieldError{keyLocal, t.Local, fault}
	}
	return &fieldError{keyRemote, t.Remote, fault}
}
