// Package reachtest makes clusters of ends that look like people's. It is for tests
// only.
package reachtest

import (
	"fmt"
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// tier is pods of one sort.
type tier struct {
	name, group string
	asgs        []string
	weight      int // of all pods, in per cent
}

var tiers = [...]tier{
	{"shop/web", "web-nsg", []string{"web"}, 34},
	{"shop/api", "api-nsg", []string{"api"}, 26},
	{"shop/db", "db-nsg", []string{"db"}, 8},
	{"shop/cache", "", []string{"cache"}, 8},
	{"batch/jobs", "", []string{"jobs"}, 14},
	{"ops/bastion", "", []string{"jump", "jobs"}, 10},
}

// Cluster returns ends, most of them pods of tiers, and with them the subnet, the
// members of application security groups and networks outside: n in total, and at
// least four.
func Cluster(n int) []reach.End {
	policies := Policies()
	place := func(policy, iface string, asgs []string, prefixes ...string) reach.Place {
		return reach.Place{Addresses: Set(prefixes...), ASGs: asgs, Subnet: policies[policy], Interface: policies[iface]}
	}
	ends := []reach.End{
		{Name: "pods-subnet", Kind: reach.Subnet, Places: []reach.Place{place("pods-nsg", "", nil, "10.241.0.0/16", "fd00:10:241::/64")}},
		{Name: "Internet", Kind: reach.Outside, Places: []reach.Place{place("", "", nil, "1.0.0.0/8", "8.0.0.0/7", "20.0.0.0/6", "2000::/3")}},
		{Name: "head office", Kind: reach.Outside, Places: []reach.Place{place("", "", nil, "192.168.40.0/22")}},
	}
	if n >= 16 {
		for _, a := range []string{"web", "api", "db"} {
			ends = append(ends, reach.End{Name: a, Kind: reach.ASG, Places: []reach.Place{place("pods-nsg", "", []string{a}, "10.241.0.0/16")}})
		}
	}
	pods := n - len(ends)
	for i := range pods {
		t, at := tiers[0], i*100/pods
		for _, u := range tiers {
			if t = u; at < u.weight {
				break
			}
			at -= u.weight
		}
		host := fmt.Sprintf("10.241.%d.%d", 4+i/200, 4+i%200)
		ends = append(ends, reach.End{Name: fmt.Sprintf("%s-%d", t.name, i), Kind: reach.Pod,
			Places: []reach.Place{place("pods-nsg", t.group, t.asgs, host+"/32", fmt.Sprintf("fd00:10:241::%x/128", 0x400+i))}})
	}
	return ends
}

// Strangers returns n pods, each of which rules name by its address, so that no two
// of them are told the same.
func Strangers(n, rules int) []reach.End {
	d := nsg.Definition{Name: "pairs"}
	for i := range rules {
		access := [...]string{"Allow", "Deny"}[i%2]
		d.Rules = append(d.Rules, rule(fmt.Sprintf("rule-%d", i), 100+i, "Inbound", access, "Tcp",
			prefix(stranger(i%n)), prefix(stranger(i*7%n)), fmt.Sprint(1000+i)))
	}
	g, findings := nsg.New(d)
	if g == nil {
		panic(fmt.Sprint(findings))
	}
	p, _ := nsg.NewPolicy(g, nsg.Tags{VirtualNetwork: Set("10.241.0.0/16")})
	var ends []reach.End
	for i := range n {
		ends = append(ends, reach.End{Name: fmt.Sprintf("pod-%d", i), Kind: reach.Pod, Places: []reach.Place{{Addresses: Set(stranger(i)), Subnet: p}}})
	}
	return ends
}

func stranger(i int) string { return fmt.Sprintf("10.241.%d.%d/32", 4+i/200, i%200) }

// Set makes the set of the addresses in prefixes.
func Set(prefixes ...string) nsg.AddressSet {
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return nsg.NewAddressSet(list...)
}

// Policies returns the groups of a cluster by name; "" is none.
func Policies() map[string]*nsg.Policy {
	all := map[string]*nsg.Policy{}
	for _, d := range []nsg.Definition{
		{Name: "pods-nsg", Rules: []nsg.RuleDefinition{
			rule("allow-web", 100, "Inbound", "Allow", "Tcp", prefix("Internet"), asg("web"), "80", "443"),
			rule("ssh-from-office", 110, "Inbound", "Allow", "Tcp", prefix("192.168.40.0/24"), asg("jump"), "22"),
			rule("deny-telnet", 200, "Outbound", "Deny", "Tcp", prefix("*"), prefix("*"), "23"),
			rule("jobs-stay-inside", 210, "Outbound", "Deny", "*", asg("jobs"), prefix("Internet")),
		}},
		{Name: "web-nsg", Rules: []nsg.RuleDefinition{
			rule("web-in", 100, "Inbound", "Allow", "Tcp", prefix("*"), prefix("*"), "80", "443"),
			rule("nothing-else", 400, "Inbound", "Deny", "*", prefix("*"), prefix("*")),
		}},
		{Name: "api-nsg", Rules: []nsg.RuleDefinition{
			rule("web-to-api", 100, "Inbound", "Allow", "Tcp", asg("web"), prefix("*"), "8080"),
			rule("ops", 110, "Inbound", "Allow", "*", asg("jump"), prefix("*")),
			rule("nothing-else", 400, "Inbound", "Deny", "*", prefix("*"), prefix("*")),
		}},
		{Name: "db-nsg", Rules: []nsg.RuleDefinition{
			rule("api-to-db", 100, "Inbound", "Allow", "Tcp", asg("api"), prefix("*"), "5432"),
			rule("nothing-in", 400, "Inbound", "Deny", "*", prefix("*"), prefix("*")),
			rule("nothing-out", 400, "Outbound", "Deny", "*", prefix("*"), prefix("*")),
		}},
	} {
		g, findings := nsg.New(d)
		if g == nil {
			panic(fmt.Sprint(findings))
		}
		p, _ := nsg.NewPolicy(g, nsg.Tags{VirtualNetwork: Set("10.241.0.0/16", "fd00:10:241::/48", "192.168.40.0/22")})
		all[d.Name] = p
	}
	return all
}

func rule(name string, priority int, direction, access, protocol string, from, to nsg.EndpointDefinition, ports ...string) nsg.RuleDefinition {
	from.Port = "*"
	if to.Ports = ports; len(ports) == 0 {
		to.Port = "*"
	}
	return nsg.RuleDefinition{Name: name, Priority: fmt.Sprint(priority), Direction: direction, Access: access, Protocol: protocol, Source: from, Destination: to}
}

func prefix(p string) nsg.EndpointDefinition { return nsg.EndpointDefinition{Prefix: p} }

func asg(name string) nsg.EndpointDefinition { return nsg.EndpointDefinition{ASGs: []string{name}} }
