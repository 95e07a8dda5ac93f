package netconf

import (
	"encoding/json"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// Network, container id and interface have to fit a link's alias of 255 bytes
// together: from aliases a lost store is rebuilt.
const (
	maxNetworkName = 100
	maxContainerID = 128
	maxIfName      = 15 // IFNAMSIZ without the final NUL
	maxFileName    = 255
)

// absolutePath reads a path that a listing can show.
func absolutePath(key string, raw json.RawMessage) (string, error) {
	s, err := text(key, raw)
	if err != nil {
		return "", err
	}
	if !path.IsAbs(s) {
		return "", fault(cnierr.Config, key, raw, "is not an absolute path")
	}
	if !allPrintable(s) {
		return "", fault(cnierr.Config, key, raw, "has characters that cannot be printed")
	}
	return s, nil
}

func uncleanFault(key string, raw json.RawMessage, clean string) error {
	return fault(cnierr.Config, key, raw, "is not a clean path: write "+showString(clean))
}

// prefix reads a CIDR of either family without host bits.
func prefix(path string, raw json.RawMessage) (netip.Prefix, error) {
	s, err := text(path, raw)
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fault(cnierr.Config, path, raw, `is not a CIDR such as "10.0.0.0/8"`)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fault(cnierr.Config, path, raw, "is IPv4 written as IPv6")
	}
	if p.Masked() != p {
		return netip.Prefix{}, fault(cnierr.Config, path, raw, "has host bits set: write "+p.Masked().String())
	}
	return p, nil
}

// address reads a plain address.
func address(path string, raw json.RawMessage) (netip.Addr, error) {
	s, err := text(path, raw)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fault(cnierr.Config, path, raw, "is not an IP address")
	}
	if reason := UnicastFault(a); reason != "" {
		return netip.Addr{}, fault(cnierr.Config, path, raw, reason)
	}
	return a, nil
}

// fixedAddr reads an address or a CIDR, of which only the address counts: the
// runtime's users write both. A reason is returned for what cannot be a pod's.
func fixedAddr(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Addr{}, "is neither an IP address nor a CIDR"
		}
		a = p.Addr()
	}
	return a, UnicastFault(a)
}

// UnicastFault tells in words why an address cannot be a pod's; "": it can.
func UnicastFault(a netip.Addr) string {
	switch {
	case a.Zone() != "":
		return "has a zone"
	case a.Is4In6():
		return "is IPv4 written as IPv6"
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		return "is not the address of a single host on a network"
	}
	return ""
}

// fixedMAC reads an Ethernet address that a pod can have.
func fixedMAC(s string) (net.HardwareAddr, string) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, "is not a MAC address of six bytes"
	}
	if mac[0]&1 != 0 {
		return nil, "is a multicast address"
	}
	if mac.String() == "00:00:00:00:00:00" {
		return nil, "is the zero address"
	}
	return mac, ""
}

// nameFault says why s is not a name by the CNI specification's rule for
// networks and containers, a letter or digit and then letters, digits, '_', '.'
// and '-'; "" when it is one. Such a name is also safe in a path.
func nameFault(s string, longest int) string {
	if s == "" {
		return "is empty"
	}
	if len(s) > longest {
		return "is longer than " + strconv.Itoa(longest) + " characters"
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && (i == 0 || !strings.Contains("_.-", s[i:i+1])) {
			return "is not a letter or digit followed by letters, digits, '_', '.' and '-'"
		}
	}
	return ""
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// ifNameFault says why the kernel would not take s for an interface as it is
// (dev_valid_name in net/core/dev.c); "" when it would.
func ifNameFault(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxIfName:
		return "is longer than " + strconv.Itoa(maxIfName) + " bytes"
	case s == "." || s == "..":
		return "is not an interface name"
	case s == "all" || s == "default": // which mean something else in /proc/sys/net/ipv4/conf
		return "is a name that the kernel keeps for itself"
	case strings.ContainsAny(s, "/:%"): // the kernel takes % for a pattern
		return "has one of / : %"
	case !allPrintable(s) || strings.ContainsFunc(s, unicode.IsSpace) || strings.Contains(s, "\xa0"):
		// The kernel judges single bytes, and byte A0 is a space to it.
		return "has a space or a character that cannot be printed"
	}
	return ""
}

// fileNameFault says why s is not the name of a plugin's binary.
func fileNameFault(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxFileName:
		return "is longer than " + strconv.Itoa(maxFileName) + " bytes"
	case s == "." || s == ".." || strings.Contains(s, "/"):
		return "is not a plain file name"
	case !allPrintable(s):
		return "has characters that cannot be printed"
	}
	return ""
}

func allPrintable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}
