package nsg

// Definition is a network security group as a document states it: every value
// is still text, so that New can name what is wrong with it.
type Definition struct {
	Name            string
	ID              string // resource id; "" where the document has none
	File            string // where it was read
	FlushConnection bool   // a change of rules applies to running flows too
	Rules           []RuleDefinition
}

// RuleDefinition is one of a group's own rules. Azure's default rules belong to
// every group and are not part of it.
type RuleDefinition struct {
	Name        string
	Description string
	Protocol    string
	Access      string
	Direction   string
	Priority    string // as written: a number
	Source      EndpointDefinition
	Destination EndpointDefinition
}

// EndpointDefinition is one side of a rule. Of Prefix, Prefixes and ASGs exactly
// one is not empty in a valid rule, and of Port and Ports as well. A document's
// nulls and empty lists count as absent.
type EndpointDefinition struct {
	Prefix   string   // a CIDR, an address, a service tag or "*"
	Prefixes []string // CIDRs and addresses
	ASGs     []string // resource ids of application security groups, or their names
	Port     string   // "*", "80" or "80-90"
	Ports    []string
}
