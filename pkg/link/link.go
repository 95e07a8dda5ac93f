package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// conn is a route netlink socket in one namespace.
type conn struct{ *nlsock.Conn }

// dial opens one in the calling thread's namespace.
func dial() (*conn, error) {
	c, err := nlsock.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &conn{c}, nil
}

// Link is what the kernel says of one interface.
type Link struct {
	Name  string
	Index int
	MTU   int
	MAC   net.HardwareAddr // nil for interfaces without link-layer addresses
	Up    bool             // administratively
	Kind  string           // "veth", "vlan", …; empty for hardware
	Alias string
	// Peer is the index of a veth's other end, in that end's own namespace.
	Peer int
	// peerNamespace is what this namespace calls that one; -1: itself.
	peerNamespace int
	// Master is the index of the bridge, or whatever else, that it is a port of; 0: none.
	Master int

	callsIPTables, callsIP6Tables bool // of a bridge
}

// linkByName returns the link, or false when there is none.
func (c *conn) linkByName(name string) (Link, bool, error) {
	data, err := c.Query(linkQuery(name))
	if errors.Is(err, unix.ENODEV) {
		return Link{}, false, nil
	}
	if err != nil {
		return Link{}, false, err
	}
	l, err := parseLink(data)
	if err != nil {
		return Link{}, false, fmt.Errorf("look up link %s: %w", name, err)
	}
	return l, true, nil
}

func (c *conn) linkByIndex(index int) (Link, error) {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	data, err := c.Query(nlsock.Request{
		What: fmt.Sprintf("look up link %d", index), Type: unix.RTM_GETLINK,
		Body: []nl.NetlinkRequestData{info, withoutStatistics()},
	})
	if err != nil {
		return Link{}, err
	}
	return parseLink(data)
}

func parseLink(data []byte) (Link, error) {
	if len(data) < unix.SizeofIfInfomsg {
		return Link{}, errors.New("short link message")
	}
	info := nl.DeserializeIfInfomsg(data)
	l := Link{Index: int(info.Index), Up: info.Flags&unix.IFF_UP != 0, peerNamespace: -1}
	for typ, value := range nlsock.Attributes(data[unix.SizeofIfInfomsg:]) {
		l.set(typ, value)
	}
	return l, nil
}

func (l *Link) set(typ int, value []byte) {
	switch typ {
	case unix.IFLA_IFNAME:
		l.Name = cString(value)
	case unix.IFLA_MTU:
		l.MTU = int(nlsock.Uint32(value))
	case unix.IFLA_ADDRESS:
		l.MAC = net.HardwareAddr(bytes.Clone(value))
	case unix.IFLA_IFALIAS:
		l.Alias = cString(value)
	case unix.IFLA_LINK:
		l.Peer = int(nlsock.Uint32(value))
	case unix.IFLA_LINK_NETNSID:
		l.peerNamespace = int(int32(nlsock.Uint32(value)))
	case unix.IFLA_MASTER:
		l.Master = int(nlsock.Uint32(value))
	case unix.IFLA_LINKINFO:
		for typ, value := range nlsock.Attributes(value) {
			switch {
			case typ == nl.IFLA_INFO_KIND:
				l.Kind = cString(value)
			case typ == nl.IFLA_INFO_DATA && l.Kind == "bridge":
				l.setBridge(value)
			}
		}
	}
}

func cString(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
