package ipam

import (
	"errors"
	"fmt"
)

// Pools returns the pools that the store last leased from, in the order in
// which it met them, for callers that have no configuration. The ranges are
// what can be leased: reserved addresses are cut off. A store of another boot,
// or one that nothing was leased from, has none. It writes nothing.
func (s *Store) Pools() ([]Pool, error) {
	var pools []Pool
	err := s.view(func(t *txn) error {
		for _, st := range t.head.Pools {
			pools = append(pools, Pool{Subnet: st.Subnet, Ranges: st.Spans})
		}
		return nil
	})
	if err != nil && !errors.Is(err, errUnwritten) {
		return nil, fmt.Errorf("reading the pools of network %s: %w", s.o.Network, err)
	}
	return pools, nil
}
