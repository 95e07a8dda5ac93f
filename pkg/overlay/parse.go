package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// asRoute is a route as this package knows it, but for its link's name.
func asRoute(r fib.Route) route {
	return route{
		table: r.Table, dst: r.Dst, via: r.Via, src: r.Src, onlink: r.OnLink, metric: r.Metric, protocol: r.Protocol,
		odd: r.Odd || r.Kind != unix.RTN_UNICAST,
	}
}

func asRule(r fib.Rule) rule {
	return rule{from: r.From, table: r.Table, priority: r.Priority, odd: r.Odd || r.Longer >= 0}
}

// entry is one of a neighbour table or a forwarding database.
type entry struct {
	index     int
	permanent bool
	addr      netip.Addr // invalid: it has none
	mac       mac
	odd       bool
}

// NDA_NH_ID of linux/neighbour.h.
const ndaNextHop = 13

func parseEntry(data []byte) (entry, error) {
	if len(data) < unix.SizeofNdMsg {
		return entry{}, errors.New("short neighbour message")
	}
	// struct ndmsg of linux/neighbour.h: family, padding, index, state, flags, type.
	e := entry{
		index:     int(binary.NativeEndian.Uint32(data[4:])),
		permanent: binary.NativeEndian.Uint16(data[8:])&unix.NUD_PERMANENT != 0,
	}
	for typ, value := range nlsock.Attributes(data[unix.SizeofNdMsg:]) {
		switch typ {
		case unix.NDA_DST:
			e.addr, _ = netip.AddrFromSlice(bytes.Clone(value))
		case unix.NDA_LLADDR:
			copy(e.mac[:], value)
		case unix.NDA_PORT, unix.NDA_VNI, unix.NDA_IFINDEX, ndaNextHop:
			e.odd = true
		}
	}
	return e, nil
}
