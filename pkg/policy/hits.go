package policy

import (
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Hit is how often one rule has decided: of each flow the first packet, and of a
// denied one every attempt.
type Hit struct {
	NSG       string // "" when the group is not in force any more
	Level     string // "subnet" or "interface"
	Direction nsg.Direction
	Priority  int // 0 for the platform's rules and for removed ones
	Rule      string
	Access    string
	Packets   uint64
	Bytes     uint64
}

// Hits assigns what the kernel has counted, with what replaced rules had counted,
// to the rules in force. Counts of rules that are no longer there, or that decided
// otherwise then, come after those of their group, or last.
func (v *View) Hits(now []firewall.Count) ([]Hit, error) {
	t := tally{left: map[firewall.Count]firewall.Count{}}
	for _, c := range Sum(v.Counted(), now) {
		about := c.About()
		t.order = append(t.order, about)
		t.left[about] = c
	}
	if key := v.Subnet(); key != "" {
		if err := t.group(v, "subnet", key, firewall.SubnetKey); err != nil {
			return nil, err
		}
	}
	for _, key := range v.Used() {
		if err := t.group(v, "interface", key, key); err != nil {
			return nil, err
		}
	}
	t.removed("", "", "")
	return t.hits, nil
}

// tally assigns counts to the rules that they are of.
type tally struct {
	order []firewall.Count                  // what was counted about
	left  map[firewall.Count]firewall.Count // and is not assigned yet
	hits  []Hit
}

// group adds the rules of a group, and then those that it had before.
func (t *tally) group(v *View, level, key, countedKey string) error {
	p, err := v.Policy(key)
	if err != nil {
		return err
	}
	id := firewall.CountedGroup(countedKey)
	for i := range p.Rules {
		r := &p.Rules[i]
		about := firewall.Count{Group: id, Direction: r.Direction, Rule: program.Comment(r.FullName()), Access: r.Access.String()}
		c := t.left[about]
		delete(t.left, about)
		t.hits = append(t.hits, Hit{p.Group.Name, level, r.Direction, r.Priority, r.FullName(), r.Access.String(), c.Packets, c.Bytes})
	}
	t.removed(id, p.Group.Name, level)
	return nil
}

// removed adds what is left of a group, or with "" of all groups: counts of rules
// that are no longer there, or not so. Their names stay as the kernel had them.
func (t *tally) removed(id, name, level string) {
	for _, about := range t.order {
		c, left := t.left[about]
		if !left || id != "" && about.Group != id {
			continue
		}
		delete(t.left, about)
		if c.Packets == 0 {
			continue
		}
		t.hits = append(t.hits, Hit{NSG: name, Level: level, Direction: c.Direction, Rule: c.Rule, Access: c.Access, Packets: c.Packets, Bytes: c.Bytes})
	}
}
