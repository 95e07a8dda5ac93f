package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

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
}

// linkByName returns the link, or false when there is none.
func (c *conn) linkByName(name string) (Link, bool, error) {
	data, err := c.query(linkQuery(name))
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
	data, err := c.query(request{
		what: fmt.Sprintf("look up link %d", index), typ: unix.RTM_GETLINK,
		body: []nl.NetlinkRequestData{info},
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
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, err
	}
	l := Link{Index: int(info.Index), Up: info.Flags&unix.IFF_UP != 0}
	for _, a := range attrs {
		l.set(a)
	}
	return l, nil
}

func (l *Link) set(a syscall.NetlinkRouteAttr) {
	switch a.Attr.Type {
	case unix.IFLA_IFNAME:
		l.Name = cString(a.Value)
	case unix.IFLA_MTU:
		l.MTU = int(binary.NativeEndian.Uint32(a.Value))
	case unix.IFLA_ADDRESS:
		l.MAC = net.HardwareAddr(bytes.Clone(a.Value))
	case unix.IFLA_IFALIAS:
		l.Alias = cString(a.Value)
	case unix.IFLA_LINK:
		l.Peer = int(binary.NativeEndian.Uint32(a.Value))
	case unix.IFLA_LINKINFO:
		info, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return
		}
		for _, i := range info {
			if i.Attr.Type == nl.IFLA_INFO_KIND {
				l.Kind = cString(i.Value)
			}
		}
	}
}

func cString(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
