package netconf

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

const (
	maxGroup     = 512 // bytes; Azure's names have at most 80, its resource ids less than this
	maxASGs      = 20  // of a network interface, by Azure's limits
	maxNamespace = 63  // a label of RFC 1123
)

// group reads the name or resource id of a network security group, or of a route table.
func group(path string, raw json.RawMessage) (string, error) {
	s, err := text(path, raw)
	if err != nil {
		return "", err
	}
	if reason := groupFault(s); reason != "" {
		return "", fault(cnierr.Config, path, raw, reason)
	}
	return s, nil
}

// groups reads names or resource ids of ASGs, comma separated in one string.
func groups(path string, raw json.RawMessage) ([]string, error) {
	s, err := text(path, raw)
	if err != nil {
		return nil, err
	}
	list, reason := groupList(s)
	if reason != "" {
		return nil, fault(cnierr.Config, path, raw, reason)
	}
	return list, nil
}

// groupFault says why s is neither the name nor the resource id of an NSG or
// ASG; "" when it can be. It refuses what would go unnoticed in an ASG, whose
// name needs no document and matches nothing when it is misspelt.
func groupFault(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxGroup:
		return "is longer than " + strconv.Itoa(maxGroup) + " bytes"
	case !allPrintable(s):
		return "has characters that cannot be printed"
	case strings.ContainsFunc(s, unicode.IsSpace):
		return "has a space"
	case strings.Contains(s, ","):
		return "has a comma, and is one name"
	case s == anyGroup:
		return "is not the name of one group"
	case strings.HasSuffix(s, "/"):
		return "ends with a slash"
	case strings.Contains(s, "/") && !isID(s):
		return "is neither a name nor a resource id, which begins with a slash"
	}
	return ""
}

// groupList reads the ASGs of a pod, comma separated. A reason is returned for
// a list that cannot be an interface's.
func groupList(list string) ([]string, string) {
	groups := strings.Split(list, ",")
	if len(groups) > maxASGs {
		return nil, fmt.Sprintf("has %d entries, and an interface is in at most %d groups", len(groups), maxASGs)
	}
	names := make([]string, 0, len(groups))
	for _, s := range groups {
		if reason := groupFault(s); reason != "" {
			return nil, "has the entry " + showString(s) + ", which " + reason
		}
		name := asgName(s)
		if slices.Contains(names, name) {
			return nil, "has " + showString(name) + " twice"
		}
		names = append(names, name)
	}
	return groups, ""
}

// asgName is what an ASG matches by.
func asgName(nameOrID string) string { return strings.ToLower(lastSegment(nameOrID)) }

// asgNames are what several match by, sorted, each once.
func asgNames(groups []string) []string {
	var names []string
	for _, g := range groups {
		names = append(names, asgName(g))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sameGroup tells whether two names or resource ids can mean one group. Azure
// ignores case. Two ids have to be equal, not only in their names.
func sameGroup(a, b string) bool {
	if isID(a) && isID(b) {
		return strings.EqualFold(a, b)
	}
	return strings.EqualFold(lastSegment(a), lastSegment(b))
}

func isID(s string) bool { return strings.HasPrefix(s, "/") }

func lastSegment(nameOrID string) string { return nameOrID[strings.LastIndexByte(nameOrID, '/')+1:] }

// namespaceFault says why Kubernetes has no namespace of this name: it has to
// be a label of RFC 1123.
func namespaceFault(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	if s == "" || len(s) > maxNamespace || strings.Trim(s, letters) != "" || s[0] == '-' || s[len(s)-1] == '-' {
		return "is not a Kubernetes namespace: 1 to 63 of a to z, 0 to 9 and '-', which is neither first nor last"
	}
	return ""
}
