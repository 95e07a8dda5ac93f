package netconf

import (
	"net"
	"net/netip"
)

// RequestedIPs are the addresses that the runtime asks for: by the capability
// "ips", else by IP= in CNI_ARGS. None lets the pools choose.
func (c *Conf) RequestedIPs(a Args) []netip.Addr {
	if len(c.FixedIPs) > 0 {
		return c.FixedIPs
	}
	return a.IP
}

// RequestedMAC is what the runtime asks for, in the same order; nil: nothing.
func (c *Conf) RequestedMAC(a Args) net.HardwareAddr {
	if c.FixedMAC != nil {
		return c.FixedMAC
	}
	return a.MAC
}

// PrevResultHas tells whether prevResult has the address, on whatever interface.
func (c *Conf) PrevResultHas(a netip.Addr) bool {
	if c.PrevResult == nil {
		return false
	}
	for _, ip := range c.PrevResult.IPs {
		if have, ok := netip.AddrFromSlice(ip.Address.IP); ok && have.Unmap() == a {
			return true
		}
	}
	return false
}
