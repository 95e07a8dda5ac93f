package program

import (
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Text returns the rule in the words of iptables-restore, without "-A CHAIN ".
func (r *Rule) Text(ipv6 bool) string {
	var b strings.Builder
	r.Match.render(&b, ipv6)
	if r.Name != "" {
		b.WriteString("-m comment --comment " + Comment(r.Name) + " ")
	}
	switch r.Target {
	case Drop:
		b.WriteString("-j DROP")
	case Return:
		b.WriteString("-j RETURN")
	case Goto:
		b.WriteString("-g " + r.Goto)
	}
	return b.String()
}

func (m *Match) render(b *strings.Builder, ipv6 bool) {
	if m.Protocol != nsg.AnyProtocol {
		b.WriteString("-p " + protocolName(m.Protocol, ipv6) + " ")
	}
	m.renderPorts(b)
	m.Source.render(b, "-s", "--src-range", "src")
	m.Destination.render(b, "-d", "--dst-range", "dst")
}

func protocolName(p nsg.Protocol, ipv6 bool) string {
	switch {
	case p == nsg.ICMP && ipv6:
		return "ipv6-icmp"
	case p == nsg.ICMP:
		return "icmp"
	case p == nsg.TCP:
		return "tcp"
	case p == nsg.UDP:
		return "udp"
	}
	return strconv.Itoa(int(p))
}

// renderPorts writes single ranges in one match of the protocol, which is the
// quickest, and lists in matches of their own.
func (m *Match) renderPorts(b *strings.Builder) {
	var single string
	for _, side := range []struct {
		ports               Ports
		one, several, inSet string
	}{
		{m.SourcePorts, "--sport ", "--sports ", "src"},
		{m.DestinationPorts, "--dport ", "--dports ", "dst"},
	} {
		switch {
		case side.ports.Set != nil:
			renderSet(b, side.ports.Set, false, side.inSet)
		case len(side.ports.Ranges) == 1:
			single += side.one + portText(side.ports.Ranges[0]) + " "
		case len(side.ports.Ranges) > 1:
			b.WriteString("-m multiport " + side.several + portList(side.ports.Ranges) + " ")
		}
	}
	if single != "" {
		b.WriteString("-m " + protocolName(m.Protocol, false) + " " + single)
	}
}

func portText(r nsg.PortRange) string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return strconv.Itoa(int(r.First)) + ":" + strconv.Itoa(int(r.Last))
}

func portList(ranges []nsg.PortRange) string {
	var list []string
	for _, r := range ranges {
		list = append(list, portText(r))
	}
	return strings.Join(list, ",")
}

func (a *Address) render(b *strings.Builder, prefix, within, direction string) {
	switch {
	case a.Set != nil:
		renderSet(b, a.Set, a.Not, direction)
	case a.Prefix.IsValid():
		b.WriteString(prefix + " " + a.Prefix.String() + " ")
	case a.Range.First.IsValid():
		b.WriteString("-m iprange " + within + " " + a.Range.First.String() + "-" + a.Range.Last.String() + " ")
	}
}

func renderSet(b *strings.Builder, s *Set, not bool, direction string) {
	b.WriteString("-m set ")
	if not {
		b.WriteString("! ")
	}
	b.WriteString("--match-set " + s.Name + " " + direction + " ")
}

// maxComment is as long as we let a comment be: xt_comment holds 255 bytes
// (XT_MAX_COMMENT_LEN, linux/netfilter/xt_comment.h).
const maxComment = 200

// Comment returns a rule's full name as the comment of its rules in the kernel.
// A name comes out of a document and may be anything: what is not a letter, a
// digit or one of "-_./" stands there as %XX, so that no name can end the comment
// and begin something else. A long one is cut and ends in its hash.
func Comment(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; harmless(c) {
			b.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	if b.Len() <= maxComment {
		return b.String()
	}
	return b.String()[:maxComment] + "~" + Hash(name)
}

func harmless(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_./", c) >= 0
}
