package flowspace

import (
	"math/bits"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Sample returns a flow of the box, the same each time: one with addresses and
// ports that look like a flow's where it has such. It panics on an empty box.
func (b Box) Sample() nsg.Flow {
	n := b.normal()
	if n.IsEmpty() {
		panic("flowspace: sample of an empty box")
	}
	family := 0
	if n.Source.Addresses.Family(false).IsEmpty() {
		family = 1
	}
	f := nsg.Flow{Direction: b.Direction, Protocol: representative(bits.TrailingZeros8(uint8(n.Protocols)))}
	source, destination := n.Source.address(exampleSource[family]), n.Destination.address(exampleDestination[family])
	var from, to uint16
	if f.Protocol == nsg.TCP || f.Protocol == nsg.UDP {
		from, to = n.Source.port(ephemeral), n.Destination.port(service)
	}
	f.Local, f.LocalPort, f.LocalASGs = source, from, n.Source.In
	f.Remote, f.RemotePort, f.RemoteASGs = destination, to, n.Destination.In
	if b.Direction == nsg.Inbound {
		f.Local, f.LocalPort, f.LocalASGs = destination, to, n.Destination.In
		f.Remote, f.RemotePort, f.RemoteASGs = source, from, n.Source.In
	}
	return f
}

// Ports of samples, where the box has them.
const (
	ephemeral = 50000
	service   = 443
)

// Addresses of samples, where the box has them: of RFC 5737 and RFC 3849, which
// nobody has.
var (
	exampleSource = [...]netip.Addr{
		netip.AddrFrom4([4]byte{203, 0, 113, 9}), netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 9}),
	}
	exampleDestination = [...]netip.Addr{
		netip.AddrFrom4([4]byte{198, 51, 100, 4}), netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 4}),
	}
)

// address returns the example if the end has it, else one of the example's family: no
// network's own where there is another.
func (e *End) address(example netip.Addr) netip.Addr {
	set := e.Addresses.Family(example.Is6())
	if set.Contains(example) {
		return example
	}
	first := set.Ranges()[0]
	if first.First != first.Last {
		return first.First.Next()
	}
	return first.First
}

func (e *End) port(wanted uint16) uint16 {
	holds := func(r nsg.PortRange) bool { return r.First <= wanted && wanted <= r.Last }
	if e.Ports == nil || slices.ContainsFunc(e.Ports, holds) {
		return wanted
	}
	return e.Ports[0].First
}
