package flowspace

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// AddressTexts writes a set of addresses as prefixes, single addresses, and ranges
// such as 10.0.0.1-10.0.0.6 where several prefixes would be needed; "*" alone is
// every address of both families.
func AddressTexts(s nsg.AddressSet) []string {
	if s.Equal(nsg.AllAddresses()) {
		return []string{"*"}
	}
	out := []string{}
	for _, r := range s.Ranges() {
		switch prefixes := r.Prefixes(); {
		case r.First == r.Last:
			out = append(out, r.First.String())
		case len(prefixes) == 1:
			out = append(out, prefixes[0].String())
		default:
			out = append(out, r.First.String()+"-"+r.Last.String())
		}
	}
	return out
}

// PortTexts writes ports as documents do; "*" alone is every port and what has no
// ports.
func PortTexts(ports []nsg.PortRange) []string {
	if ports == nil {
		return []string{"*"}
	}
	out := make([]string, 0, len(ports))
	for _, p := range ports {
		text := strconv.Itoa(int(p.First))
		if p.First != p.Last {
			text += "-" + strconv.Itoa(int(p.Last))
		}
		out = append(out, text)
	}
	return out
}

// String describes the end in words, as short as it can be without leaving
// anything out: "10.0.0.0/8 ports 80,443", "members of web but no members of db",
// "* but 10.0.0.4".
func (e End) String() string {
	return e.Describe(func(nsg.AddressSet) string { return "" })
}

// Describe is String with names for sets of addresses, or for what they lack; "" is
// no name.
func (e End) Describe(name func(nsg.AddressSet) string) string {
	var words []string
	all := e.Addresses.Equal(nsg.AllAddresses())
	if len(e.In) > 0 {
		words = append(words, "members of "+strings.Join(e.In, " and "))
	}
	if !all || len(e.In) == 0 {
		text := cmp.Or(name(e.Addresses), lackingWords(e.Addresses, name), addressWords(e.Addresses))
		if len(e.In) > 0 {
			text = "in " + text
		}
		words = append(words, text)
	}
	if len(e.NotIn) > 0 {
		words = append(words, "but no members of "+strings.Join(e.NotIn, " or "))
	}
	if e.Ports != nil {
		word := "ports "
		if len(e.Ports) == 1 && e.Ports[0].First == e.Ports[0].Last {
			word = "port "
		}
		words = append(words, word+strings.Join(PortTexts(e.Ports), ","))
	}
	return strings.Join(words, " ")
}

// lackingWords is the set by the name of what it lacks of its families; "" if that has
// none.
func lackingWords(s nsg.AddressSet, name func(nsg.AddressSet) string) string {
	whole := familiesOf(s)
	lacks := name(whole.Minus(s))
	if lacks == "" {
		return ""
	}
	return strings.Join(AddressTexts(whole), ",") + " but " + lacks
}

// addressWords is the set, or what it lacks of its families, whichever is shorter.
func addressWords(s nsg.AddressSet) string {
	whole := familiesOf(s)
	has, lacks := AddressTexts(s), AddressTexts(whole.Minus(s))
	if len(lacks) > 0 && len(lacks) < len(has) {
		return strings.Join(AddressTexts(whole), ",") + " but " + strings.Join(lacks, ",")
	}
	return strings.Join(has, ",")
}

// familiesOf is all addresses of those families of which the set has some.
func familiesOf(s nsg.AddressSet) nsg.AddressSet {
	whole := nsg.AllAddresses()
	for _, ipv6 := range [...]bool{false, true} {
		if s.Family(ipv6).IsEmpty() {
			whole = whole.Family(!ipv6)
		}
	}
	return whole
}

// String describes the box in one line.
func (b Box) String() string {
	return fmt.Sprintf("%v %v %v -> %v", b.Direction, b.Protocols, b.Source, b.Destination)
}

// Terms is how many things a description of the box names: protocols, addresses,
// ports and application security groups.
func (b Box) Terms() int {
	n := b.Protocols.terms()
	for _, e := range [...]*End{&b.Source, &b.Destination} {
		whole := familiesOf(e.Addresses)
		n += min(len(e.Addresses.Ranges()), 1+len(whole.Minus(e.Addresses).Ranges())) + len(e.Ports) + len(e.In) + len(e.NotIn)
	}
	return n
}

// endText is the form of an end for programs.
type endText struct {
	Addresses []string `json:"addresses"`
	Ports     []string `json:"ports"`
	In        []string `json:"asgs"`
	NotIn     []string `json:"notASGs"`
}

// MarshalJSON writes {"addresses","ports","asgs","notASGs"}, lists of texts as
// AddressTexts and PortTexts have them, and the names of the application security
// groups that the end is and is not a member of.
func (e End) MarshalJSON() ([]byte, error) {
	return json.Marshal(endText{AddressTexts(e.Addresses), PortTexts(e.Ports), listOf(e.In), listOf(e.NotIn)})
}

// listOf is the list, and [] for nil.
func listOf(list []string) []string { return append([]string{}, list...) }

// MarshalJSON writes {"direction","protocols","source","destination"}; protocols is
// a list of their names, or ["*"].
func (b Box) MarshalJSON() ([]byte, error) {
	protocols := []string{"*"}
	if b.Protocols != AllProtocols {
		protocols = slices.Concat([]string{}, b.Protocols.names())
	}
	return json.Marshal(struct {
		Direction   nsg.Direction `json:"direction"`
		Protocols   []string      `json:"protocols"`
		Source      End           `json:"source"`
		Destination End           `json:"destination"`
	}{b.Direction, protocols, b.Source, b.Destination})
}
