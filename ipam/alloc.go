package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// queueLimit is how long a pool's queue of released addresses may grow before
// those whose cool-down has passed are forgotten: a /64 never runs out of
// addresses that were not used yet.
const queueLimit = 1 << 16

// acquire leases one address from each pool of a request.
func (t *txn) acquire(r Request) (Lease, bool, error) {
	l, found, err := t.lease(r.Key)
	if err != nil {
		return Lease{}, false, err
	}
	if found {
		return l, false, nil
	}
	fixed, err := r.fixed()
	if err != nil {
		return Lease{}, false, err
	}
	l = Lease{Key: r.Key, Since: time.Now().UTC(), Attachment: r.Attachment}
	for i, p := range r.Pools {
		st, err := t.state(p, r.Cooldown)
		if err != nil {
			return Lease{}, false, err
		}
		a := fixed[i]
		if !a.IsValid() {
			a, err = t.take(st, p, r.Exclude)
		}
		if err == nil {
			err = t.lend(a, r.Key)
		}
		if err != nil {
			return Lease{}, false, err
		}
		l.Addresses = append(l.Addresses, netip.PrefixFrom(a, p.Subnet.Bits()))
	}
	return l, true, t.putLease(l)
}

// fixed returns the requested address of each pool, the zero Addr for any.
func (r Request) fixed() ([]netip.Addr, error) {
	fixed := make([]netip.Addr, len(r.Pools))
	for _, a := range r.Fixed {
		i := slices.IndexFunc(r.Pools, func(p Pool) bool { return p.Subnet.Contains(a) })
		switch {
		case i < 0:
			return nil, &OutsideError{a, "is in none of the pools' subnets"}
		case r.Pools[i].Reserved(a):
			return nil, &OutsideError{a, "is reserved by Azure: the first four addresses of a subnet and the last are"}
		case !r.Pools[i].Contains(a):
			return nil, &OutsideError{a, "is outside the ranges of the pool of " + r.Pools[i].Subnet.String()}
		case slices.Contains(r.Exclude, a):
			return nil, &OutsideError{a, "is an address of the node or a gateway"}
		case fixed[i].IsValid() && fixed[i] != a:
			return nil, &OutsideError{a, "is the second one for the pool of " + r.Pools[i].Subnet.String()}
		}
		fixed[i] = a
	}
	return fixed, nil
}

// take returns an address of the pool: the next one that was never used, else
// the one that was released first.
func (t *txn) take(st *poolState, p Pool, exclude []netip.Addr) (netip.Addr, error) {
	a, err := t.takeUnused(st, exclude)
	if err == nil && !a.IsValid() {
		a, err = t.takeOldest(st, exclude)
	}
	if err == nil && !a.IsValid() {
		err = &NoFreeError{t.store.o.Network, p.Subnet, p.Size()}
	}
	return a, err
}

// takeUnused moves the frontier past the next address that is neither leased
// nor queued. An excluded one is queued, as the first: it may become usable later.
func (t *txn) takeUnused(st *poolState, exclude []netip.Addr) (netip.Addr, error) {
	for {
		a := st.advance()
		if !a.IsValid() {
			if !st.Forgot {
				return a, nil
			}
			st.restart()
			continue
		}
		r, err := t.addr(a)
		if err != nil {
			return a, err
		}
		if r.kind != addrFree {
			continue
		}
		if !slices.Contains(exclude, a) {
			return a, nil
		}
		if err := t.enqueueFirst(st, a); err != nil {
			return a, err
		}
	}
}

// advance returns the frontier and moves it on; the zero Addr at the end.
func (st *poolState) advance() netip.Addr {
	if st.At >= len(st.Spans) {
		return netip.Addr{}
	}
	span := st.Spans[st.At]
	a := st.Next
	if !a.IsValid() {
		a = span.First
	}
	st.Next = a.Next()
	if a == span.Last {
		st.At, st.Next = st.At+1, netip.Addr{}
	}
	return a
}

// restart puts the frontier back to the start.
func (st *poolState) restart() { st.At, st.Next, st.Forgot = 0, netip.Addr{}, false }

// takeOldest returns the address that was released first; lend takes it out of
// the queue. What the layout has no longer is dropped on the way, what is
// excluded keeps its turn.
func (t *txn) takeOldest(st *poolState, exclude []netip.Addr) (netip.Addr, error) {
	a := st.Head
	for left := st.Queued; left > 0 && a.IsValid(); left-- {
		inPool := st.has(a)
		if inPool && !slices.Contains(exclude, a) {
			return a, nil
		}
		r, err := t.addr(a)
		if err == nil && !inPool {
			if r, err = t.unqueue(st, a); err == nil {
				err = t.delete(addrKey(a))
			}
		}
		if err != nil {
			return a, err
		}
		a = r.next
	}
	return netip.Addr{}, nil
}

// has reports whether the pool's layout has an address.
func (st *poolState) has(a netip.Addr) bool {
	return slices.ContainsFunc(st.Spans, func(r Range) bool { return r.Contains(a) })
}

// lend marks an address as leased, wherever it was; a *TakenError if it is
// leased to another key.
func (t *txn) lend(a netip.Addr, k Key) error {
	mine := ownerOf(k)
	r, err := t.addr(a)
	if err != nil {
		return err
	}
	if r.kind == addrLeased && r.owner != mine {
		return t.taken(a, r.owner)
	}
	if st := t.stateOf(a); r.kind == addrQueued && st != nil {
		if _, err := t.unqueue(st, a); err != nil {
			return err
		}
	}
	return t.putAddr(a, addrRecord{kind: addrLeased, owner: mine})
}

func (t *txn) taken(a netip.Addr, o owner) error {
	l, found, err := t.leaseOf(o)
	if err == nil && !found {
		err = damaged("address %v is leased, but there is no such lease", a)
	}
	if err != nil {
		return err
	}
	return &TakenError{a, l.Key}
}

// record writes a lease whose addresses are given.
func (t *txn) record(l Lease) error {
	old, found, err := t.lease(l.Key)
	if err != nil {
		return err
	}
	if found {
		for _, p := range old.Addresses {
			if l.holds(p.Addr()) {
				continue
			}
			if err := t.free(p.Addr(), ownerOf(l.Key)); err != nil {
				return err
			}
		}
	}
	for _, p := range l.Addresses {
		if err := t.lend(p.Addr(), l.Key); err != nil {
			return err
		}
	}
	if l.Since.IsZero() {
		l.Since = time.Now().UTC()
	}
	return t.putLease(l)
}

// release removes the lease of a key.
func (t *txn) release(k Key) (Lease, bool, error) {
	l, found, err := t.lease(k)
	if err != nil || !found {
		return Lease{}, false, err
	}
	for _, p := range l.Addresses {
		if err := t.free(p.Addr(), ownerOf(k)); err != nil {
			return Lease{}, false, err
		}
	}
	return l, true, t.delete(ownerOf(k).key())
}

// free puts a leased address last in its subnet's queue, even if it is outside
// the ranges of the moment: they may come back. One of no known subnet is dropped.
func (t *txn) free(a netip.Addr, o owner) error {
	r, err := t.addr(a)
	if err != nil || r.kind != addrLeased || r.owner != o {
		return err
	}
	st := t.stateOf(a)
	if st == nil {
		return t.delete(addrKey(a))
	}
	return t.enqueue(st, a, t.store.o.Now())
}

// quarantine puts an address that is not leased last in its pool's queue.
func (t *txn) quarantine(a netip.Addr) error {
	r, err := t.addr(a)
	st := t.stateOf(a)
	if err != nil || r.kind == addrLeased || st == nil {
		return err
	}
	if r.kind == addrQueued {
		if _, err := t.unqueue(st, a); err != nil {
			return err
		}
	}
	return t.enqueue(st, a, t.store.o.Now())
}
