package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Way is what becomes of packets.
type Way uint8

// The ways of a Route.
const (
	Leave   Way = iota // as without any route of the user
	Drop               // silently, as Azure does
	Forward            // through the appliance at Route.Via
)

// Route is what becomes of packets for a prefix.
type Route struct {
	Prefix netip.Prefix
	Way    Way
	Via    netip.Addr // of Forward, of the prefix's family
}

// The words of a Route as text.
const (
	leaveWord = "leave"
	dropWord  = "drop"
	viaWord   = "via "
)

// String is the route as MarshalText has it: "10.0.0.0/8 via 10.241.0.4",
// "192.0.2.0/24 drop" or "10.241.0.0/16 leave".
func (r Route) String() string {
	switch r.Way {
	case Forward:
		return r.Prefix.String() + " " + viaWord + r.Via.String()
	case Drop:
		return r.Prefix.String() + " " + dropWord
	}
	return r.Prefix.String() + " " + leaveWord
}

// MarshalText encodes the route, for a state file.
func (r Route) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText decodes what MarshalText encoded.
func (r *Route) UnmarshalText(text []byte) error {
	prefix, way, _ := strings.Cut(string(text), " ")
	var out Route
	var err error
	if out.Prefix, err = netip.ParsePrefix(prefix); err != nil {
		return fmt.Errorf("route %q: %w", text, err)
	}
	via, forward := strings.CutPrefix(way, viaWord)
	switch {
	case forward:
		out.Way = Forward
		out.Via, err = netip.ParseAddr(via)
	case way == dropWord:
		out.Way = Drop
	case way != leaveWord:
		err = errors.New("its way is unknown")
	}
	if err != nil {
		return fmt.Errorf("route %q: %w", text, err)
	}
	*r = out
	return nil
}
