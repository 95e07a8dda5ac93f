package flowspace

import (
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Protocols is a set of IP protocols, as far as rules and the platform can tell
// them apart.
type Protocols uint8

// The protocols that are told apart.
const (
	TCP    Protocols = 1 << iota
	UDP              // the last that has ports
	ICMP             // and ICMPv6 between addresses of IPv6
	ESP              // Encapsulating Security Payload
	AH               // Authentication Header
	GRE              // dropped by the platform
	IPInIP           // dropped by the platform
	Others           // every other one

	AllProtocols Protocols = 1<<iota - 1
	withPorts              = TCP | UDP
)

// protocolKinds is how many there are.
const protocolKinds = 8

// icmpv6 is ICMP between addresses of IPv6.
const icmpv6 nsg.Protocol = 58

// other is one of Others: SCTP. Its ports are not those that rules name.
const other nsg.Protocol = 132

// representative returns the number that stands for the i-th kind.
func representative(i int) nsg.Protocol {
	return [protocolKinds]nsg.Protocol{nsg.TCP, nsg.UDP, nsg.ICMP, nsg.ESP, nsg.AH, 47, 4, other}[i]
}

// ProtocolsOf returns the set that has the protocol of a rule, or of a flow between
// addresses of the family.
func ProtocolsOf(p nsg.Protocol, ipv6 bool) Protocols {
	switch {
	case p == nsg.AnyProtocol:
		return AllProtocols
	case p == icmpv6 && ipv6:
		return ICMP
	}
	for i := range protocolKinds - 1 {
		if representative(i) == p {
			return 1 << i
		}
	}
	return Others
}

// names are as documents spell them; nobody's rules name the last three.
func (p Protocols) names() []string {
	var out []string
	for i, name := range [protocolKinds]string{"Tcp", "Udp", "Icmp", "Esp", "Ah", "Gre", "IpInIp", "others"} {
		if p&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// String is "*" for all protocols, else their names as documents spell them with
// commas between, or "* but" those that are missing if they are fewer. "Gre",
// "IpInIp" and "others" are no document's.
func (p Protocols) String() string {
	if p == AllProtocols {
		return "*"
	}
	if lacks := (AllProtocols &^ p).names(); 2*len(lacks) < protocolKinds {
		return "* but " + strings.Join(lacks, ",")
	}
	return strings.Join(p.names(), ",")
}

// terms is how many names String has.
func (p Protocols) terms() int {
	return strings.Count(p.String(), ",") + strings.Count(p.String(), " ") + 1
}
