package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// flowText is a flow as people and programs write it.
type flowText struct {
	Direction  string   `json:"direction"`
	Protocol   string   `json:"protocol"`
	Local      string   `json:"local"`
	Remote     string   `json:"remote"`
	LocalASGs  []string `json:"localASGs,omitempty"`
	RemoteASGs []string `json:"remoteASGs,omitempty"`
}

// The keys of a flow.
const (
	keyDirection  = "direction"
	keyProtocol   = "protocol"
	keyLocal      = "local"
	keyRemote     = "remote"
	keyLocalASGs  = "localASGs"
	keyRemoteASGs = "remoteASGs"
)

// question is a flow that may leave a port open.
type question struct {
	nsg.Flow
	anyLocalPort, anyRemotePort bool
}

// fieldError is what is wrong with one value of a flow.
type fieldError struct{ field, value, fault string }

func (e *fieldError) Error() string {
	return fmt.Sprintf("%s %s: %s", e.field, quoted(e.value), e.fault)
}

// quoted is a value in an error.
func quoted(value string) string {
	const longest = 100
	if len(value) > longest {
		value = value[:longest] + "…"
	}
	return strconv.Quote(value)
}

// parse reads the flow. Without an address, which only a pod can do without, the
// local one stays invalid.
func (t *flowText) parse(q *question) error {
	*q = question{}
	var err error
	if q.Direction, err = nsg.ParseDirection(t.Direction); err != nil {
		return &fieldError{keyDirection, t.Direction, "it must be Inbound or Outbound"}
	}
	if q.Protocol, err = nsg.ParseProtocol(t.Protocol); err != nil || q.Protocol == nsg.AnyProtocol {
		return &fieldError{keyProtocol, t.Protocol, "it must be TCP, UDP, ICMP, ESP or AH"}
	}
	if t.Remote == "" {
		return &fieldError{keyRemote, t.Remote, "it must be an address and a port"}
	}
	ported := q.Protocol == nsg.TCP || q.Protocol == nsg.UDP
	if q.Remote, q.RemotePort, q.anyRemotePort, err = parseEnd(t.Remote, ported); err != nil {
		return &fieldError{keyRemote, t.Remote, err.Error()}
	}
	if !q.Remote.IsValid() {
		return &fieldError{keyRemote, t.Remote, "it has no address"}
	}
	if q.Local, q.LocalPort, q.anyLocalPort, err = parseEnd(t.Local, ported); err != nil {
		return &fieldError{keyLocal, t.Local, err.Error()}
	}
	if q.Local.IsValid() && q.Local.Is4() != q.Remote.Is4() {
		return &fieldError{keyLocal, t.Local, "it is not of the remote address's family"}
	}
	if q.LocalASGs, err = parseASGs(keyLocalASGs, t.LocalASGs); err == nil {
		q.RemoteASGs, err = parseASGs(keyRemoteASGs, t.RemoteASGs)
	}
	return err
}

// Faults of an end of a flow.
var (
	errNoPort  = errors.New("it has no port, which TCP and UDP need: 192.0.2.1:80 or [2001:db8::1]:80")
	errBadPort = errors.New("the port is not a number from 0 to 65535")
)

// parseEnd reads "192.0.2.1:80", "[2001:db8::1]:80", ":80", "80" or an address
// alone; the port may be "*". Of what has no ports the port does not matter.
func parseEnd(s string, ported bool) (addr netip.Addr, port uint16, anyPort bool, err error) {
	host, portText, hasPort := splitEnd(s)
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return addr, 0, false, errors.New("it is not an IP address and a port: 192.0.2.1:80 or [2001:db8::1]:80")
		}
		addr = addr.Unmap().WithZone("")
	}
	switch {
	case hasPort && portText == "*":
		return addr, 0, ported, nil
	case hasPort:
		n, err := strconv.ParseUint(portText, 10, 16)
		if err != nil {
			return addr, 0, false, errBadPort
		}
		return addr, uint16(n), false, nil
	case ported && host != "":
		return addr, 0, false, errNoPort
	}
	return addr, 0, ported, nil // nothing at all: any port of the pod
}

// splitEnd cuts an end of a flow in two. More than one colon is of an IPv6
// address; digits alone are a port.
func splitEnd(s string) (host, port string, hasPort bool) {
	if strings.HasPrefix(s, "[") {
		host, rest, closed := strings.Cut(s[1:], "]")
		switch {
		case !closed || host == "":
			return s, "", false
		case rest == "":
			return host, "", false
		case rest[0] != ':':
			return s, "", false
		}
		return host, rest[1:], true
	}
	colon := strings.IndexByte(s, ':')
	switch {
	case colon < 0 && s != "" && strings.Trim(s, "0123456789") == "":
		return "", s, true
	case colon < 0 || colon != strings.LastIndexByte(s, ':'):
		return s, "", false
	}
	return s[:colon], s[colon+1:], true
}

// parseASGs reads names or resource ids, of which the last segment counts.
func parseASGs(field string, list []string) ([]string, error) {
	if list == nil {
		return nil, nil
	}
	names := make([]string, 0, len(list))
	for _, id := range list {
		name := strings.ToLower(id[strings.LastIndexByte(id, '/')+1:])
		if name == "" {
			return nil, &fieldError{field, id, "it names no application security group"}
		}
		names = append(names, name)
	}
	return names, nil
}
