package nsgtest

import (
	"fmt"
	"strconv"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// inbound is a rule from a source to a port.
func inbound(i int, access, protocol, source, port string) nsg.RuleDefinition {
	return nsg.RuleDefinition{Name: fmt.Sprintf("rule-%d", i), Priority: strconv.Itoa(100 + i), Direction: "Inbound", Access: access, Protocol: protocol,
		Source: nsg.EndpointDefinition{Prefix: source, Port: "*"}, Destination: nsg.EndpointDefinition{Prefix: "*", Port: port}}
}

// Realistic makes rules as large groups have them: single ports and ranges, lists of
// prefixes, application security groups.
func Realistic(n int) nsg.Definition {
	d := nsg.Definition{Name: "realistic"}
	for i := range n {
		access, port := []string{"Allow", "Deny"}[i%2], strconv.Itoa(10000+i)
		r := inbound(i, access, "Tcp", "VirtualNetwork", fmt.Sprintf("%s-%d", port, 10000+i+i%40))
		switch i % 5 {
		case 0:
			r = inbound(i, access, "Tcp", fmt.Sprintf("172.%d.%d.0/24", 16+i%16, i/16%256), "443")
		case 1:
			r = inbound(i, access, "*", "", "8000-8080")
			r.Source.Prefixes = []string{fmt.Sprintf("20.%d.%d.0/24", i%200, i/200), fmt.Sprintf("40.%d.%d.0/25", i%200, i/200)}
		case 2:
			r = inbound(i, access, "Tcp", "", port)
			r.Source.ASGs = []string{fmt.Sprintf("asg-%d", i%20)}
		case 3:
			r = inbound(i, access, "Udp", "Internet", port)
		}
		d.Rules = append(d.Rules, r)
	}
	return d
}

// Adversarial makes rules that differ in the sources only, each with a list that
// reaches from one end of the addresses to the other.
func Adversarial(n int) nsg.Definition {
	d := nsg.Definition{Name: "adversarial"}
	for i := range n {
		r := inbound(i, []string{"Allow", "Deny"}[i%2], "Tcp", "", "5201")
		r.Source.Prefixes = []string{fmt.Sprintf("1.%d.%d.7/32", i/256, i%256), fmt.Sprintf("223.%d.%d.7/32", 255-i/256, 255-i%256)}
		d.Rules = append(d.Rules, r)
	}
	return d
}

// Staircase makes rules each of which overlaps all others in every dimension.
func Staircase(n int) nsg.Definition {
	d := nsg.Definition{Name: "staircase"}
	for i := range n {
		r := inbound(i, []string{"Allow", "Deny"}[i%2], "Tcp", "", fmt.Sprintf("%d-%d", n-i, 30000-i))
		r.Source.Prefixes = []string{fmt.Sprintf("10.0.0.0/%d", 31-i%23), fmt.Sprintf("%d.%d.0.0/16", 20+i/200, i%200)}
		r.Destination.Prefix = fmt.Sprintf("10.0.0.0/%d", 8+i%23)
		r.Source.Port = fmt.Sprintf("%d-%d", i, 40000-i)
		d.Rules = append(d.Rules, r)
	}
	return d
}

// Crossed makes rules half of which are about ports and half about sources, in turn.
func Crossed(n int) nsg.Definition {
	d := nsg.Definition{Name: "crossed"}
	for i := range n {
		access := []string{"Allow", "Deny"}[i/2%2]
		r := inbound(i, access, "Tcp", "*", strconv.Itoa(1000+i))
		if i%2 == 1 {
			r = inbound(i, access, "Tcp", fmt.Sprintf("10.%d.%d.0/24", i/250, i%250), "*")
		}
		d.Rules = append(d.Rules, r)
	}
	return d
}
