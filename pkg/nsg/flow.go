package nsg

import "net/netip"

// Flow is the first packet of a connection as the local end sees it: before
// source translation when it goes out, after destination translation when it
// comes in.
type Flow struct {
	Direction  Direction
	Protocol   Protocol // a protocol's number; never AnyProtocol
	Local      netip.Addr
	Remote     netip.Addr
	LocalPort  uint16 // of TCP and UDP; 0 for what has no ports
	RemotePort uint16
	LocalASGs  []string // in lower case
	RemoteASGs []string
}
