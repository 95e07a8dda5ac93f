package reach

import (
	"encoding/binary"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// pairs recognises pairs of machines that must be told the same: those of whose
// flows the same rules can match. Classes of ends are too fine for that where rules
// name single addresses, since most of these have nothing to do with each other.
type pairs struct {
	reached map[reachedBy][]uint64
	told    map[string]int // index of an answer by pairKey
}

// reachedBy is one end of flows, as a policy sees it.
type reachedBy struct {
	class     int
	policy    *nsg.Policy
	direction nsg.Direction
	sends     bool
	member    bool // its memberships are known
	ipv6      bool
}

// pairKey is equal for pairs of machines whose flows the same rules of the same
// groups can match. ok is false where an end is no single machine.
func (t *table) pairKey(fromClass, toClass int, from, to *End) (key string, ok bool) {
	if !from.host() || !to.host() || from.Kind == Outside && to.Kind == Outside {
		return "", false
	}
	var out []byte
	a, b := &from.Places[0], &to.Places[0]
	for _, ipv6 := range families {
		if a.Addresses.Family(ipv6).IsEmpty() || b.Addresses.Family(ipv6).IsEmpty() {
			out = append(out, 0)
			continue
		}
		out = append(out, 1)
		out = t.matching(out, reachedBy{direction: nsg.Outbound, ipv6: ipv6}, a, b, fromClass, toClass)
		out = t.matching(out, reachedBy{direction: nsg.Inbound, ipv6: ipv6}, a, b, fromClass, toClass)
	}
	return string(out), true
}

// matching appends which rules of a direction can match flows of a family between
// two machines, by the groups that they pass.
func (t *table) matching(out []byte, of reachedBy, from, to *Place, fromClass, toClass int) []byte {
	owner, other := from, to
	if of.direction == nsg.Inbound {
		owner, other = to, from
	}
	subnet, iface := owner.groups(other)
	for _, p := range [...]*nsg.Policy{subnet, iface} {
		out = binary.LittleEndian.AppendUint16(out, uint16(slices.Index(t.policies, p)+1))
		if p == nil {
			continue
		}
		sender, receiver := of, of
		sender.class, sender.policy, sender.sends, sender.member = fromClass, p, true, from.Network == owner.Network
		receiver.class, receiver.policy, receiver.member = toClass, p, to.Network == owner.Network
		received := t.bits(receiver, to)
		for i, sent := range t.bits(sender, from) {
			out = binary.LittleEndian.AppendUint64(out, sent&received[i])
		}
	}
	return out
}

// bits are the policy's rules that match the end.
func (p *pairs) bits(of reachedBy, place *Place) []uint64 {
	if b, known := p.reached[of]; known {
		return b
	}
	address := place.Addresses.Family(of.ipv6).Ranges()[0].First
	f := nsg.Flow{Direction: nsg.Outbound, Protocol: nsg.TCP, Local: address, Remote: address}
	if of.member {
		f.LocalASGs, f.RemoteASGs = place.ASGs, place.ASGs
	}
	b := make([]uint64, (len(of.policy.Rules)+63)/64)
	for i := range of.policy.Rules {
		r := &of.policy.Rules[i]
		if met := r.Matches(f); r.Direction == of.direction && (of.sends && met.Source || !of.sends && met.Destination) {
			b[i/64] |= 1 << (i % 64)
		}
	}
	p.reached[of] = b
	return b
}
