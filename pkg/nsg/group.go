package nsg

import "net/netip"

// Direction is the way of a flow as the local end sees it.
type Direction uint8

// The directions of rules and flows.
const (
	Inbound Direction = iota + 1
	Outbound
)

// Access is what a rule gives.
type Access uint8

// The two verdicts.
const (
	Deny Access = iota
	Allow
)

// Protocol is an IP protocol's number; AnyProtocol is every one.
type Protocol int16

// Protocols that rules can name. ICMP stands for ICMPv6 in IPv6 rules and flows.
const (
	AnyProtocol Protocol = -1
	ICMP        Protocol = 1
	TCP         Protocol = 6
	UDP         Protocol = 17
	ESP         Protocol = 50
	AH          Protocol = 51
)

// Group is a valid network security group: its own rules and the default ones,
// by direction and ascending priority.
type Group struct {
	Name            string
	ID              string
	File            string
	FlushConnection bool
	Rules           []Rule
}

// Rule is one rule of a group.
type Rule struct {
	Name        string
	Default     bool // one of Azure's, which every group has
	Platform    bool // what the platform does whatever the group says; only in a Policy
	Direction   Direction
	Access      Access
	Protocol    Protocol
	Priority    int // 0 for a platform rule
	Source      Endpoint
	Destination Endpoint
}

// FullName is the rule's name with its kind before it, as Azure's diagnostics
// write it: "securityRules/web".
func (r *Rule) FullName() string {
	switch {
	case r.Platform:
		return "platformRules/" + r.Name
	case r.Default:
		return "defaultSecurityRules/" + r.Name
	}
	return "securityRules/" + r.Name
}

// Endpoint is one side of a rule. Without Prefixes, Tag and ASGs it is every
// address. Without Ports it is every port and also what has no ports.
type Endpoint struct {
	Prefixes []netip.Prefix
	Tag      string   // a service tag as the document spells it
	ASGs     []string // names in lower case: the last segments of their ids
	Ports    []PortRange
}

// PortRange is the ports from First to Last.
type PortRange struct{ First, Last uint16 }
