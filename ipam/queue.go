package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// A pool's queue of released addresses is a list linked through their address
// records, so that any of them can be taken out at the cost of its neighbours.

// state returns the state of a pool, which starts over when the pool's layout
// is another than last time.
func (t *txn) state(p Pool, cooldown time.Duration) (*poolState, error) {
	st, err := t.stateOfSubnet(p.Subnet)
	if err != nil {
		return nil, err
	}
	t.dirty = true
	st.Cooldown = cooldown
	if spans := p.Leasable(); !slices.Equal(st.Spans, spans) {
		st.Spans = spans
		st.restart()
	}
	return st, nil
}

// stateOfSubnet finds or makes the state of a subnet. States of subnets that
// overlap it are of an earlier configuration: it takes their queues over.
func (t *txn) stateOfSubnet(subnet netip.Prefix) (*poolState, error) {
	i := slices.IndexFunc(t.head.Pools, func(st *poolState) bool { return st.Subnet == subnet })
	if i >= 0 {
		return t.head.Pools[i], nil
	}
	st := &poolState{Subnet: subnet}
	old := t.head.Pools
	t.head.Pools = nil
	for _, o := range old {
		if !o.Subnet.Overlaps(subnet) {
			t.head.Pools = append(t.head.Pools, o)
		} else if err := t.adopt(st, o); err != nil {
			return nil, err
		}
	}
	t.head.Pools = append(t.head.Pools, st)
	return st, nil
}

// adopt moves what is of st's subnet from another queue to st's, and drops the
// rest.
func (t *txn) adopt(st, from *poolState) error {
	for from.Queued > 0 {
		a := from.Head
		r, err := t.unqueue(from, a)
		if err != nil {
			return err
		}
		if st.Subnet.Contains(a) {
			err = t.enqueue(st, a, r.released)
		} else {
			err = t.delete(addrKey(a))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stateOf returns the state whose subnet has the address, or nil.
func (t *txn) stateOf(a netip.Addr) *poolState {
	i := slices.IndexFunc(t.head.Pools, func(st *poolState) bool { return st.Subnet.Contains(a) })
	if i < 0 {
		return nil
	}
	return t.head.Pools[i]
}

// enqueue puts an address that is in no queue last.
func (t *txn) enqueue(st *poolState, a netip.Addr, released time.Duration) error {
	if err := t.forget(st); err != nil {
		return err
	}
	if st.Tail.IsValid() {
		if err := t.relink(st.Tail, func(r *addrRecord) { r.next = a }); err != nil {
			return err
		}
	} else {
		st.Head = a
	}
	last := st.Tail
	st.Tail = a
	st.Queued++
	return t.putAddr(a, addrRecord{kind: addrQueued, released: released, prev: last})
}

// enqueueFirst puts an address that is in no queue before those that were released.
func (t *txn) enqueueFirst(st *poolState, a netip.Addr) error {
	first := st.Head
	if first.IsValid() {
		if err := t.relink(first, func(r *addrRecord) { r.prev = a }); err != nil {
			return err
		}
	} else {
		st.Tail = a
	}
	st.Head = a
	st.Queued++
	return t.putAddr(a, addrRecord{kind: addrQueued, released: t.store.o.Now(), next: first})
}

// forget drops the oldest address of a queue that is too long, if its
// cool-down has passed.
func (t *txn) forget(st *poolState) error {
	if st.Queued < queueLimit {
		return nil
	}
	a := st.Head
	r, err := t.addr(a)
	if err != nil || t.store.o.Now()-r.released < st.Cooldown {
		return err
	}
	if _, err := t.unqueue(st, a); err != nil {
		return err
	}
	st.Forgot = true
	return t.delete(addrKey(a))
}

// unqueue takes an address out of the queue. Its record stays, for the caller
// to overwrite or delete.
func (t *txn) unqueue(st *poolState, a netip.Addr) (addrRecord, error) {
	r, err := t.addr(a)
	if err != nil {
		return r, err
	}
	if r.kind != addrQueued || st.Queued == 0 || (st.Head == a) == r.prev.IsValid() || (st.Tail == a) == r.next.IsValid() {
		return r, damaged("the queue of %v is broken at %v", st.Subnet, a)
	}
	t.dirty = true
	st.Queued--
	if r.prev.IsValid() {
		err = t.relink(r.prev, func(p *addrRecord) { p.next = r.next })
	} else {
		st.Head = r.next
	}
	if err != nil {
		return r, err
	}
	if r.next.IsValid() {
		err = t.relink(r.next, func(n *addrRecord) { n.prev = r.prev })
	} else {
		st.Tail = r.prev
	}
	return r, err
}

// relink changes the record of a queued address.
func (t *txn) relink(a netip.Addr, change func(*addrRecord)) error {
	r, err := t.addr(a)
	if err != nil {
		return err
	}
	if r.kind != addrQueued {
		return damaged("address %v is in a queue and is not", a)
	}
	change(&r)
	return t.putAddr(a, r)
}
