package netconf

import (
	"net"
	"net/netip"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// maxPodName is the longest name that Kubernetes gives to an object (RFC 1123).
const maxPodName = 253

// Args is what CNI_ARGS asks for.
type Args struct {
	IP           []netip.Addr     // IP: addresses or CIDRs, comma separated
	MAC          net.HardwareAddr // MAC
	PodNamespace string           // K8S_POD_NAMESPACE
	PodName      string           // K8S_POD_NAME
	NSG          string           // VNET_NSG: name or resource id
	ASGs         []string         // VNET_ASGS: names or resource ids as written, comma separated, at most 20
}

// ParseArgs reads CNI_ARGS, "K=V;K=V". Keys are exact. A key that the plugin
// does not know is an error unless IgnoreUnknown is 1 or true, wherever it
// stands. The same twice is none: podman begins with IgnoreUnknown=1 and appends what
// its caller has in CNI_ARGS (containers/common, libnetwork/cni/run.go). Errors have
// code 4 and name key and value.
func ParseArgs(s string) (Args, error) {
	var args Args
	if s == "" {
		return args, nil
	}
	ignore := false
	var unknown, seen, pairs []string
	for pair := range strings.SplitSeq(s, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || strings.Contains(value, "=") {
			return Args{}, cnierr.Errorf(cnierr.Environment, "CNI_ARGS: %s is not of the form KEY=VALUE", showString(pair))
		}
		reason := args.set(key, value, &ignore)
		switch {
		case reason == unknownArg:
			unknown = append(unknown, pair)
		case reason != "":
			return Args{}, cnierr.Errorf(cnierr.Environment, "CNI_ARGS: %s: value %s %s", key, showString(value), reason)
		case contains(seen, key) && !contains(pairs, pair):
			return Args{}, cnierr.Errorf(cnierr.Environment, "CNI_ARGS: %s: value %s is the second one: the key is there twice", key, showString(value))
		default:
			seen, pairs = append(seen, key), append(pairs, pair)
		}
	}
	if len(unknown) > 0 && !ignore {
		key, value, _ := strings.Cut(unknown[0], "=")
		return Args{}, cnierr.Errorf(cnierr.Environment,
			"CNI_ARGS: unknown key %s with value %s, and no IgnoreUnknown=1", showString(key), showString(value))
	}
	return args, nil
}

// Keys of CNI_ARGS that need the object nsg of the configuration.
const (
	nsgArg  = "VNET_NSG"
	asgsArg = "VNET_ASGS"
)

// unknownArg is what set returns for a key that it has no place for.
const unknownArg = "is of an unknown key"

// set puts one value in its place, or returns the reason why it cannot.
func (a *Args) set(key, value string, ignore *bool) string {
	var reason string
	switch key {
	case "IgnoreUnknown":
		*ignore, reason = truth(value)
	case "IP":
		a.IP, reason = fixedAddrs(value)
	case "MAC":
		a.MAC, reason = fixedMAC(value)
	case "K8S_POD_NAMESPACE":
		a.PodNamespace, reason = value, podNameFault(value)
	case "K8S_POD_NAME":
		a.PodName, reason = value, podNameFault(value)
	case nsgArg:
		a.NSG, reason = value, groupFault(value)
	case asgsArg:
		a.ASGs, reason = groupList(value)
	default:
		return unknownArg
	}
	return reason
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// truth takes the spellings that the CNI library takes.
func truth(s string) (bool, string) {
	switch strings.ToLower(s) {
	case "1", "true":
		return true, ""
	case "0", "false":
		return false, ""
	}
	return false, "is neither 1, true, 0 nor false"
}

func fixedAddrs(list string) ([]netip.Addr, string) {
	var out []netip.Addr
	for s := range strings.SplitSeq(list, ",") {
		a, reason := fixedAddr(s)
		if reason != "" {
			return nil, reason
		}
		out = append(out, a)
	}
	return out, ""
}

// podNameFault keeps out what would garble a listing of the leases.
func podNameFault(s string) string {
	if len(s) > maxPodName || !allPrintable(s) {
		return "is not the name of a Kubernetes object"
	}
	return ""
}

// ValidateAttachment checks CNI_CONTAINERID and CNI_IFNAME: a container id of
// at most 128 letters, digits, '_', '.' and '-' that begins with a letter or
// digit, and a name that the kernel takes for an interface. Errors have code 4
// and name the variable and its value.
func ValidateAttachment(containerID, ifName string) error {
	if reason := nameFault(containerID, maxContainerID); reason != "" {
		return cnierr.Errorf(cnierr.Environment, "CNI_CONTAINERID: value %s %s", showString(containerID), reason)
	}
	if reason := ifNameFault(ifName); reason != "" {
		return cnierr.Errorf(cnierr.Environment, "CNI_IFNAME: value %s %s", showString(ifName), reason)
	}
	return nil
}
