package nsg

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseDirection reads "Inbound" or "Outbound" in any case.
func ParseDirection(s string) (Direction, error) {
	for _, d := range [...]Direction{Inbound, Outbound} {
		if strings.EqualFold(s, d.String()) {
			return d, nil
		}
	}
	return 0, fmt.Errorf("direction %q is neither Inbound nor Outbound", s)
}

// ParseAccess reads "Allow" or "Deny" in any case.
func ParseAccess(s string) (Access, error) {
	for _, a := range [...]Access{Allow, Deny} {
		if strings.EqualFold(s, a.String()) {
			return a, nil
		}
	}
	return Deny, fmt.Errorf("access %q is neither Allow nor Deny", s)
}

// ParseProtocol reads a protocol as a rule names it, in any case: "Tcp", "Udp",
// "Icmp", "Esp", "Ah" or "*". It reads no numbers, since rules have none.
func ParseProtocol(s string) (Protocol, error) {
	for _, p := range [...]Protocol{TCP, UDP, ICMP, ESP, AH, AnyProtocol} {
		if strings.EqualFold(s, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("protocol %q is none of Tcp, Udp, Icmp, Esp, Ah and *", s)
}

// String is the direction as documents spell it.
func (d Direction) String() string {
	switch d {
	case Inbound:
		return "Inbound"
	case Outbound:
		return "Outbound"
	}
	return "Direction(" + strconv.Itoa(int(d)) + ")"
}

// String is the access as documents spell it.
func (a Access) String() string {
	if a == Allow {
		return "Allow"
	}
	return "Deny"
}

// String is the protocol as documents spell it, or its number where no rule can
// name it.
func (p Protocol) String() string {
	switch p {
	case AnyProtocol:
		return "*"
	case ICMP:
		return "Icmp"
	case TCP:
		return "Tcp"
	case UDP:
		return "Udp"
	case ESP:
		return "Esp"
	case AH:
		return "Ah"
	}
	return strconv.Itoa(int(p))
}

// MarshalText is String; a value that is no direction is an error.
func (d Direction) MarshalText() ([]byte, error) {
	if d != Inbound && d != Outbound {
		return nil, fmt.Errorf("%v is neither Inbound nor Outbound", d)
	}
	return []byte(d.String()), nil
}

// MarshalText is String.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// MarshalText is String.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParseDirection.
func (d *Direction) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDirection(string(text))
	return err
}

// UnmarshalText is ParseAccess.
func (a *Access) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAccess(string(text))
	return err
}

// UnmarshalText reads what MarshalText writes: also the number of a protocol
// that no rule can name.
func (p *Protocol) UnmarshalText(text []byte) (err error) {
	if n, err := strconv.ParseUint(string(text), 10, 8); err == nil {
		*p = Protocol(n)
		return nil
	}
	*p, err = ParseProtocol(string(text))
	return err
}
