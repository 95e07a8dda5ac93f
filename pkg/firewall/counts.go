package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Counts returns what the rules of the network's groups have counted since they
// were installed, of both families together.
func (f *Firewall) Counts(stateDir, network string) ([]Count, error) {
	programs, _, err := findBackend(stateDir, []family{ipv4, ipv6})
	if err != nil {
		return nil, fmt.Errorf("read the counters of network %s: %w", network, err)
	}
	var out []Count
	for _, p := range programs {
		now, err := p.save("mangle")
		if err != nil {
			return nil, fmt.Errorf("read the counters of network %s: %w", network, err)
		}
		out = append(out, now.counts(network, nil)...)
	}
	return out, nil
}

// counts returns what the rules of the network's groups have counted, of each
// group, direction, rule and verdict once, without the programs to leave out.
func (s saved) counts(network string, except map[string]bool) []Count {
	sums := map[Count]*Count{}
	var order []Count
	for _, r := range s.rules {
		id, ok := countOf(network, r)
		if !ok || except[programOfChain(r.chain)] {
			continue
		}
		if sums[id] == nil {
			sum := id
			sums[id] = &sum
			order = append(order, id)
		}
		sums[id].Packets += r.packets
		sums[id].Bytes += r.bytes
	}
	out := make([]Count, 0, len(order))
	for _, id := range order {
		out = append(out, *sums[id])
	}
	return out
}

// countOf tells which rule of a group a rule of the kernel is for.
func countOf(network string, r savedRule) (Count, bool) {
	rest, ok := strings.CutPrefix(r.chain, groupChains(network))
	if !ok || len(rest) < groupHash+2 {
		return Count{}, false
	}
	fields := strings.Fields(r.text)
	i := slices.Index(fields, "--comment")
	if i < 0 || i+1 == len(fields) {
		return Count{}, false
	}
	c := Count{Group: rest[:groupHash], Direction: nsg.Inbound, Rule: strings.Trim(fields[i+1], `"`), Access: nsg.Allow.String()}
	if hasOption(fields, "-j", "DROP") {
		c.Access = nsg.Deny.String()
	}
	if rest[groupHash+1] == 'O' {
		c.Direction = nsg.Outbound
	}
	return c, true
}

// CountedGroup is what stands in a Count for the group with the key.
func CountedGroup(key string) string { return program.Hash(key)[:groupHash] }
