package nsg

import "strconv"

// Azure's limits.
const (
	maxRules = 1000 // of a group

	// "IP addresses and ranges specified for source or destination in a security
	// group": read as the sum over both sides of all its rules. A single prefix
	// counts as one; a tag and "*" do not count.
	maxAddresses = 4000

	// "Application security groups referenced as source/destination per NSG rule":
	// read as those of both sides together.
	maxRuleASGs = 10

	// "Application security groups that can be specified within all security rules
	// of a network security group": read as different ones.
	maxGroupASGs = 100
)

// limits reports what the group has too many of.
func (r *report) limits(rules []Rule) {
	at := place{report: r}
	asgs, addresses := map[string]bool{}, 0
	for i := range rules {
		for _, e := range [...]*Endpoint{&rules[i].Source, &rules[i].Destination} {
			addresses += len(e.Prefixes)
			for _, a := range e.ASGs {
				asgs[a] = true
			}
		}
	}
	at.limit("securityRules", len(rules), maxRules, "rules")
	at.limit("addressPrefixes", addresses, maxAddresses, "addresses and prefixes in its rules")
	at.limit("applicationSecurityGroups", len(asgs), maxGroupASGs, "application security groups in its rules")
}

func (p place) limit(property string, n, most int, what string) {
	if n > most {
		p.fail(CodeLimitExceeded, property, itoa(n), "there are %d %s; Azure allows %d", n, what, most)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
