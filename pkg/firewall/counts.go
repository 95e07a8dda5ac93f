package firewall

import "fmt"

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
