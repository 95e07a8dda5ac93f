package reach

import (
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Services is a set of what flows can ask for: a protocol and, of TCP and UDP, a
// destination port. The zero value is empty.
//
// It has no place for GRE and IP-in-IP, which Azure's platform drops between
// interfaces whatever a group says: they would be an exception in every answer.
type Services struct {
	TCP, UDP []nsg.PortRange // ascending, none touching the next
	Portless Portless
}

// Portless is a set of protocols whose flows have no ports that rules can name.
type Portless uint8

// The protocols without ports.
const (
	ICMP  Portless = 1 << iota // ICMPv6 as well
	ESP                        // IPsec's
	AH                         // IPsec's
	Other                      // every protocol that no rule can name
)

const allPortless = ICMP | ESP | AH | Other

// AllServices is every service.
func AllServices() Services {
	return Services{TCP: allPorts(), UDP: allPorts(), Portless: allPortless}
}

// IsEmpty reports whether there is no service in the set.
func (s Services) IsEmpty() bool { return len(s.TCP)+len(s.UDP) == 0 && s.Portless == 0 }

// Union returns the services of either set.
func (s Services) Union(t Services) Services {
	return Services{TCP: ports(s.TCP).union(t.TCP), UDP: ports(s.UDP).union(t.UDP), Portless: s.Portless | t.Portless}
}

// Minus returns the services of s that are not in t.
func (s Services) Minus(t Services) Services {
	return Services{TCP: ports(s.TCP).minus(t.TCP), UDP: ports(s.UDP).minus(t.UDP), Portless: s.Portless &^ t.Portless}
}

// Equal reports whether both sets have the same services.
func (s Services) Equal(t Services) bool {
	return slices.Equal(s.TCP, t.TCP) && slices.Equal(s.UDP, t.UDP) && s.Portless == t.Portless
}

// key is equal for equal sets.
func (s Services) key() string {
	return PortWords(s.TCP) + ";" + PortWords(s.UDP) + ";" + string(rune(s.Portless))
}

// has reports whether the flow asks for one of the services.
func (s Services) has(f nsg.Flow) bool {
	in := func(list []nsg.PortRange, port uint16) bool {
		return slices.ContainsFunc(list, func(r nsg.PortRange) bool { return r.First <= port && port <= r.Last })
	}
	port := f.RemotePort
	if f.Direction == nsg.Inbound {
		port = f.LocalPort
	}
	switch f.Protocol {
	case nsg.TCP:
		return in(s.TCP, port)
	case nsg.UDP:
		return in(s.UDP, port)
	case nsg.ICMP:
		return s.Portless&ICMP != 0
	case nsg.ESP:
		return s.Portless&ESP != 0
	case nsg.AH:
		return s.Portless&AH != 0
	}
	return s.Portless&Other != 0
}

// portlessNames are the words for protocols without ports, in their order.
var portlessNames = [...]struct {
	bit  Portless
	name string
}{{ICMP, "icmp"}, {ESP, "esp"}, {AH, "ah"}, {Other, "other protocols"}}

// Mostly reports whether the set has ICMP and more than half of the ports of TCP
// and of UDP: whether it is better told by what it lacks.
func (s Services) Mostly() bool {
	return s.Portless&ICMP != 0 && ports(s.TCP).count() > 1<<15 && ports(s.UDP).count() > 1<<15
}

// Service is one protocol of a set.
type Service struct {
	Protocol string   `json:"protocol"` // tcp, udp, icmp, esp, ah or "other protocols"
	Ports    []string `json:"ports"`    // "443" or "8000-8080"; empty where all, or where it has none
}

// List is the set by protocols, as programs read it.
func (s Services) List() []Service {
	list := []Service{}
	for _, p := range [...]struct {
		name  string
		ports ports
	}{{"tcp", s.TCP}, {"udp", s.UDP}} {
		switch {
		case p.ports.all():
			list = append(list, Service{p.name, []string{}})
		case len(p.ports) > 0:
			list = append(list, Service{p.name, p.ports.texts()})
		}
	}
	for _, p := range portlessNames {
		if s.Portless&p.bit != 0 {
			list = append(list, Service{p.name, []string{}})
		}
	}
	return list
}

// String is the set in words: "tcp 80,443; icmp", "everything but tcp 22",
// "everything" or "nothing", whichever is shorter.
func (s Services) String() string { return s.words(0) }

// Short is String with at most some ranges of ports told of each protocol.
func (s Services) Short() string {
	const told = 5
	return s.words(told)
}

const everything = "everything"

func (s Services) words(told int) string {
	if s.IsEmpty() {
		return "nothing"
	}
	rest := AllServices().Minus(s)
	if rest.IsEmpty() {
		return everything
	}
	// A semicolon would leave open whether what follows it passes.
	listed, but := s.listed(told, "; "), everything+" but "+rest.listed(told, " and ")
	if len(but) < len(listed) {
		return but
	}
	return listed
}

func (s Services) listed(told int, between string) string {
	var words []string
	for _, p := range s.List() {
		if len(p.Ports) == 0 {
			words = append(words, p.Protocol)
			continue
		}
		listed := p.Ports
		if told > 0 && len(listed) > told {
			listed = append(slices.Clone(listed[:told-1]), "…")
		}
		words = append(words, p.Protocol+" "+strings.Join(listed, ","))
	}
	return strings.Join(words, between)
}
