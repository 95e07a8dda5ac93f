package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/firewall"
)

func podWith(group string, remote bool) firewall.Pod {
	return firewall.Pod{Addrs: []netip.Addr{netip.MustParseAddr("10.241.4.4")}, Group: group, Remote: remote}
}

// A group that only pods of other nodes have, and that these documents do not have
// or have with a fault, is no reason to reject them or to refuse a pod of this node.
func TestGroupsOfOtherNodes(t *testing.T) {
	const broken = `[{"name": "web", "id": "` + web + `", "securityRules": [{"name": "r", "priority": 7}]},
		{"name": "api", "type": "Microsoft.Network/networkSecurityGroups", "securityRules": []}]`
	rows := []struct {
		name, document, group string
		usable                bool
	}{
		{"known", "", web, true}, {"missing", "", "elsewhere", false}, {"by another key", "", "web", false}, {"broken", broken, web, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t)
			s.write("80", false)
			if row.document != "" {
				s.raw(row.document)
			}
			s.pods = []firewall.Pod{podWith(row.group, true), podWith("api", false)}
			r := s.mustOpen()
			p := s.apply(r)
			if got := p.Interfaces[row.group] != nil; got != row.usable || slices.Contains(p.Unusable, row.group) == row.usable {
				t.Errorf("in force: %t, unusable %q; want in force: %t", got, p.Unusable, row.usable)
			}
			if p.Interfaces["api"] == nil || Rejected(s.state, "pods") != "" {
				t.Errorf("the group of this node's pod is in force: %t; rejected: %q", p.Interfaces["api"] != nil, Rejected(s.state, "pods"))
			}
			again := s.mustOpen()
			s.wantStale(again, false)
			if got := slices.Contains(again.Judging(s.pods...).Groups, row.group); got != row.usable {
				t.Errorf("its rules have to be there: %t, want %t", got, row.usable)
			}
			s.pods = append(s.pods, podWith(row.group, false))
			if _, err := again.Judging().Load(); (err == nil) != row.usable {
				t.Errorf("with a pod of this node that has it, the rules: %v", err)
			}
		})
	}
	t.Logf("%d groups", len(rows))
}

// The documents learn of a group that pods of other nodes had before.
func TestGroupOfOtherNodesArrives(t *testing.T) {
	s := newScene(t)
	s.raw(`[{"name": "api", "type": "Microsoft.Network/networkSecurityGroups", "securityRules": []}]`)
	s.pods = []firewall.Pod{podWith(web, true)}
	if p := s.apply(s.mustOpen()); len(p.Interfaces) != 0 || !slices.Equal(p.Unusable, []string{web}) {
		t.Errorf("before: %d groups, unusable %q", len(p.Interfaces), p.Unusable)
	}
	s.write("80", false)
	r := s.mustOpen()
	s.wantStale(r, true)
	if p := s.apply(r); p.Interfaces[web] == nil || len(p.Unusable) != 0 {
		t.Errorf("after: %d groups, unusable %q", len(p.Interfaces), p.Unusable)
	}
	r = s.mustOpen()
	if groups := r.Judging(s.pods...).Groups; strings.Join(groups, " ") != web {
		t.Errorf("rules that have to be there: %q", groups)
	}
}
