package nsg

import "testing"

func TestEvaluate(t *testing.T) {
	tcp := func(d Direction, port string) *Policy {
		return mustPolicy(t, direct("deny-"+port, d.String(), "Deny", "Tcp", 100, toPort(port)),
			direct("allow", d.String(), "Allow", "*", 200, nil))
	}
	in, out := flow(Inbound, TCP, "10.0.0.4:80", "8.8.8.8:1"), flow(Outbound, TCP, "10.0.0.4:1", "8.8.8.8:80")
	inDeny, inAllow := tcp(Inbound, "80"), tcp(Inbound, "81")
	outDeny, outAllow := tcp(Outbound, "80"), tcp(Outbound, "81")
	for _, row := range []struct {
		name          string
		flow          Flow
		subnet, iface *Policy
		access        Access
		answers       *Policy
		rule          string
		levels        []string // name and rule
	}{
		{"no group", in, nil, nil, Allow, nil, "", nil},
		{"inbound allowed", in, inAllow, tcp(Inbound, "82"), Allow, nil, "allow", []string{"subnet allow", "interface allow"}},
		{"inbound: the interface answers an Allow", in, inAllow, inAllow, Allow, inAllow, "allow", []string{"subnet allow", "interface allow"}},
		{"inbound denied by the subnet", in, inDeny, inAllow, Deny, inDeny, "deny-80", []string{"subnet deny-80", "interface allow"}},
		{"inbound denied by the interface", in, inAllow, inDeny, Deny, inDeny, "deny-80", []string{"subnet allow", "interface deny-80"}},
		{"inbound, no subnet's", in, nil, inDeny, Deny, inDeny, "deny-80", []string{"interface deny-80"}},
		{"inbound, no interface's", in, inAllow, nil, Allow, inAllow, "allow", []string{"subnet allow"}},
		{"outbound allowed: the subnet answers", out, outAllow, inAllow, Allow, outAllow, "allow", []string{"interface AllowInternetOutBound", "subnet allow"}},
		{"outbound denied by the interface", out, outAllow, outDeny, Deny, outDeny, "deny-80", []string{"interface deny-80", "subnet allow"}},
		{"outbound denied by both", out, inDeny, outDeny, Deny, outDeny, "deny-80", []string{"interface deny-80", "subnet AllowInternetOutBound"}},
		{"outbound denied by the subnet", out, outDeny, outAllow, Deny, outDeny, "deny-80", []string{"interface allow", "subnet deny-80"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := Evaluate(row.flow, row.subnet, row.iface)
			if v.Access != row.access || (v.Rule == nil) != (row.rule == "") || v.Rule != nil && v.Rule.Name != row.rule {
				t.Errorf("%v by %+v, want %v by %s", v.Access, v.Rule, row.access, row.rule)
			}
			if row.answers != nil && v.Group != row.answers.Group || (v.Group == nil) != (v.Rule == nil) {
				t.Errorf("the group is %+v", v.Group)
			}
			var levels []string
			for _, l := range v.Levels {
				levels = append(levels, l.Name+" "+l.Rule.Name)
			}
			if len(levels) != len(row.levels) {
				t.Fatalf("levels %q, want %q", levels, row.levels)
			}
			for i := range levels {
				if levels[i] != row.levels[i] {
					t.Errorf("levels %q, want %q", levels, row.levels)
				}
			}
		})
	}
}

func TestEvaluateAllocatesItsLevelsOnly(t *testing.T) {
	p := mustPolicy(t, manyRules(50, byPort)...)
	f := flow(Inbound, TCP, "10.0.0.4:80", "8.8.8.8:1")
	if n := testing.AllocsPerRun(100, func() { p.First(f) }); n != 0 {
		t.Errorf("First allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { Evaluate(f, p, p) }); n > 1 {
		t.Errorf("Evaluate allocates %v times", n)
	}
}
