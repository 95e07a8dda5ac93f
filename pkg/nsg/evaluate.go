package nsg

// Verdict is what the groups on a flow's way say to it.
type Verdict struct {
	Access Access
	Rule   *PolicyRule // the rule that answers; nil when no level has a group
	Group  *Group      // the rule's
	Levels []Level     // those that have a group, in the order of evaluation
}

// Level is the answer of one group on the way.
type Level struct {
	Name  string // "subnet" or "interface"
	Group *Group
	Rule  *PolicyRule
}

// Evaluate judges a flow by the groups of the subnet and of the interface, where
// nil is no group and allows everything. What comes in passes the subnet's first,
// what goes out the interface's. Both must allow: the first Deny answers, else the
// last Allow.
func Evaluate(f Flow, subnet, iface *Policy) Verdict {
	first, second := Level{Name: "subnet"}, Level{Name: "interface"}
	p, q := subnet, iface
	if f.Direction == Outbound {
		first, second, p, q = second, first, iface, subnet
	}
	v := Verdict{Access: Allow}
	if p == nil && q == nil {
		return v
	}
	v.Levels = make([]Level, 0, 2)
	v.ask(p, f, first)
	v.ask(q, f, second)
	return v
}

// ask adds a level's answer. Behind a Deny it is told, but changes nothing.
func (v *Verdict) ask(p *Policy, f Flow, l Level) {
	if p == nil {
		return
	}
	l.Group, l.Rule = p.Group, p.First(f)
	v.Levels = append(v.Levels, l)
	if v.Access == Allow {
		v.Access, v.Rule, v.Group = l.Rule.Access, l.Rule, l.Group
	}
}
