package link

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Attachment is what the kernel alone shows of a pod on this node.
type Attachment struct {
	Network, ContainerID, IfName string
	HostName                     string
	Addrs                        []netip.Addr
	PodMAC                       net.HardwareAddr // of the permanent neighbour; nil: there is none
	Uplink                       string           // where the node answers for the addresses; "": nowhere
}

// Attachments reads every pod of every network on this node from the host
// veths' aliases, their routes and the proxy neighbours.
func (h *Host) Attachments() ([]Attachment, error) {
	links, err := h.conn.links()
	if err != nil {
		return nil, err
	}
	routes, err := h.conn.routes(0)
	if err != nil {
		return nil, err
	}
	proxies, err := h.conn.proxies()
	if err != nil {
		return nil, err
	}
	var list []Attachment
	for _, l := range links {
		network, id, ifName, ok := ParseAlias(l.Alias)
		if !ok || l.Kind != "veth" || l.Name != HostName(network, id, ifName) {
			continue
		}
		a := Attachment{Network: network, ContainerID: id, IfName: ifName, HostName: l.Name}
		for _, hop := range routes {
			if hop.Link == l.Index && hop.Dst.IsSingleIP() {
				a.Addrs = append(a.Addrs, hop.Dst.Addr())
			}
		}
		a.Uplink = proxyUplink(a.Addrs, proxies, links)
		if a.PodMAC, err = h.conn.podMAC(a.Addrs, l.Index); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func (c *conn) podMAC(addrs []netip.Addr, index int) (net.HardwareAddr, error) {
	for _, a := range addrs {
		n, ok, err := c.neighbour(a, index, 0)
		if err != nil || ok {
			return n.mac, err
		}
	}
	return nil, nil
}

func proxyUplink(addrs []netip.Addr, proxies []neighbour, links []Link) string {
	for _, p := range proxies {
		if !slices.Contains(addrs, p.addr) {
			continue
		}
		for _, l := range links {
			if l.Index == p.index {
				return l.Name
			}
		}
	}
	return ""
}

func (c *conn) links() ([]Link, error) {
	payloads, err := c.Dump(linkDump())
	if err != nil {
		return nil, err
	}
	var list []Link
	for _, p := range payloads {
		l, err := parseLink(p)
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		list = append(list, l)
	}
	return list, nil
}

// HostAddrs returns the addresses that the node routes through the named host
// veth; none when there is no such link.
func (h *Host) HostAddrs(name string) ([]netip.Addr, error) {
	l, ok, err := h.conn.linkByName(name)
	if err != nil || !ok {
		return nil, err
	}
	routes, err := h.conn.routes(l.Index)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, hop := range routes {
		if hop.Dst.IsSingleIP() {
			list = append(list, hop.Dst.Addr())
		}
	}
	return list, nil
}
