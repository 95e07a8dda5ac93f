// Package link makes, inspects and removes a pod's connection to its node: the
// veth pair, addresses, routes, permanent neighbours, the proxy neighbour entry
// on the uplink and the announcement of the address there.
//
// It knows rtnetlink, packet sockets and /proc/sys/net. It must not know leases,
// configuration files, CNI or iptables: what it is to build comes as arguments.
package link

import (
	"encoding/hex"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"
)

// VethPrefix begins the name of every host veth, so that one firewall rule can
// name them all (vnet+).
const VethPrefix = "vnet"

// HostMAC is the address of every host veth. Pods hold a permanent neighbour
// entry for it, so that nobody resolves anything on a pair.
var HostMAC = net.HardwareAddr{0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa}

// Gateway returns the next hop of all of a pod's routes in a's family. No
// interface holds it: the pod's neighbour entry says that it has HostMAC.
func Gateway(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{169, 254, 1, 1})
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 10: 0x12, 11: 0x34, 12: 0x56, 13: 0x78, 14: 0x9a, 15: 0xbc})
}

// HostName returns the host veth's name for an attachment: "vnet" and 11 hex
// digits, as long as a name may be (IFNAMSIZ is 16 with the final NUL). It
// depends on nothing but its arguments, so that DEL finds the link when all
// records of it are lost.
func HostName(network, containerID, ifName string) string {
	h := fnv.New64a()
	h.Write([]byte(network + "\x00" + containerID + "\x00" + ifName))
	return VethPrefix + hex.EncodeToString(h.Sum(nil))[:11]
}

// PodMAC returns a stable, locally administered unicast address for an
// attachment: the pod keeps it over a repeated ADD.
func PodMAC(network, containerID, ifName string) net.HardwareAddr {
	h := fnv.New64a()
	h.Write([]byte("mac\x00" + network + "\x00" + containerID + "\x00" + ifName))
	mac := net.HardwareAddr(h.Sum(nil)[:6])
	mac[0] = mac[0]&^0x01 | 0x02
	return mac
}

// aliasSeparator cannot stand in a network's name, a container id or, since the
// kernel refuses it, an interface's name.
const aliasSeparator = "/"

// Alias is the text on a host veth that says whose it is (ip link shows it).
// A store that was lost is rebuilt from it. The kernel allows 255 bytes.
func Alias(network, containerID, ifName string) string {
	return strings.Join([]string{network, containerID, ifName}, aliasSeparator)
}

// ParseAlias is the inverse of Alias.
func ParseAlias(alias string) (network, containerID, ifName string, ok bool) {
	parts := strings.Split(alias, aliasSeparator)
	if len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}
