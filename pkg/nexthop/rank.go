package nexthop

import "strings"

// rank orders routes of one prefix, the lowest first: the user's before the
// system's, of those a prefix before a service tag, and of tags a region's before
// all regions', and AzureCloud, of which the others are part, last.
func (r Route) rank() int {
	service, _, regional := strings.Cut(r.Tag, ".")
	cloud := strings.EqualFold(service, "AzureCloud")
	switch {
	case r.Source != User:
		return 5
	case r.Tag == "":
		return 0
	case regional && !cloud:
		return 1
	case !cloud:
		return 2
	case regional:
		return 3
	}
	return 4
}
