package nlsock

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Address is an address of a link, as a listing of RTM_GETADDR has it.
type Address struct {
	Link   int          // index
	Prefix netip.Prefix // not valid if the message has no address
	Scope  uint8        // unix.RT_SCOPE_…
}

// ParseAddress reads the payload of an RTM_NEWADDR message.
func ParseAddress(payload []byte) (Address, error) {
	if len(payload) < unix.SizeofIfAddrmsg {
		return Address{}, errors.New("short address message")
	}
	m := nl.DeserializeIfAddrmsg(payload)
	var own, peer netip.Addr
	for typ, value := range Attributes(payload[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_LOCAL:
			own, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS: // a point-to-point peer in IPv4, the address itself in IPv6
			peer, _ = netip.AddrFromSlice(value)
		}
	}
	if !own.IsValid() {
		own = peer
	}
	return Address{int(m.Index), netip.PrefixFrom(own, int(m.Prefixlen)), m.Scope}, nil
}
