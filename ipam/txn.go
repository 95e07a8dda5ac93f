package ipam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	// initialSize is what a new file occupies: some 200 leases.
	initialSize = 256 << 10

	// reservedPages are kept free behind the last used page, and one for every
	// 32 used ones: what a release may need when it finds no free page. It
	// rewrites the pages from a lease and from its addresses' records to the
	// root, and the list of free pages.
	reservedPages = 32
)

// txn is a transaction on a locked and checked file.
type txn struct {
	store  *Store
	file   *os.File
	pages  *pages       // nil while the file is filled
	bucket *bolt.Bucket // nil if read-only
	head   header
	dirty  bool // something has to be written
}

// inBolt runs fn in a write transaction of bbolt, and commits it if it left
// something to write. bbolt gets a duplicate of the descriptor: its own lock
// is on the same open file description, so it succeeds at once, and its
// closing unlocks ours.
func (t *txn) inBolt(fn func() error) error {
	db, err := t.open()
	if err != nil {
		return err
	}
	err = t.inTx(db, fn)
	// What was committed is written: a complaint about unmapping or unlocking
	// must not make the caller believe that it was not.
	_ = db.Close()
	return err
}

func (t *txn) open() (*bolt.DB, error) {
	fd, err := unix.FcntlInt(t.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicating the descriptor of %s: %w", t.file.Name(), err)
	}
	db, err := bolt.Open(t.file.Name(), 0o600, &bolt.Options{
		OpenFile: func(name string, _ int, _ os.FileMode) (*os.File, error) {
			return os.NewFile(uintptr(fd), name), nil
		},
		NoSync:       true,
		NoGrowSync:   true,
		NoStatistics: true,
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", t.file.Name(), err)
	}
	return db, nil
}

func (t *txn) inTx(db *bolt.DB, fn func() error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return fmt.Errorf("beginning a transaction on %s: %w", t.file.Name(), err)
	}
	t.bucket, err = tx.CreateBucketIfNotExists(bucketName)
	if err == nil {
		err = fn()
	}
	if err == nil && t.dirty {
		err = t.saveHeader()
	}
	if err != nil || !t.dirty {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing %s: %w", t.file.Name(), err)
	}
	return nil
}

// onThisBoot reads the header and runs fn, unless the file is of another boot.
func (t *txn) onThisBoot(fn func(*txn) error) error {
	boot, err := t.store.o.BootID()
	if err != nil {
		return fmt.Errorf("reading the boot id: %w", err)
	}
	raw, err := t.get(headerKey)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &t.head); err != nil {
		return damaged("its header cannot be decoded: %v", err)
	}
	if t.head.Boot != boot {
		return errOtherBoot
	}
	return fn(t)
}

func (t *txn) saveHeader() error {
	raw, err := json.Marshal(t.head)
	if err != nil {
		return fmt.Errorf("encoding the header: %w", err)
	}
	return t.put(headerKey, raw)
}

// fill writes the first records of a new file, in the order of their keys:
// bbolt keeps a new page's records in one array until the commit, and anything
// but appending to it takes quadratic time. An address that two of the leases
// claim stays with the first, a second lease of a key is ignored.
func (t *txn) fill(leases []Lease) error {
	records := map[string][]byte{string(endKey): nil}
	size := initialSize
	for _, l := range leases {
		if err := addRecords(records, l); err != nil {
			return err
		}
		size += 1024 + 2*len(l.Attachment)
	}
	if err := allocate(t.file, 0, int64(size)); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if err := t.put([]byte(key), records[key]); err != nil {
			return err
		}
	}
	return nil
}

// addRecords adds those of a lease, unless another lease has its key or one of
// its addresses.
func addRecords(records map[string][]byte, l Lease) error {
	mine := ownerOf(l.Key)
	if _, taken := records[string(mine.key())]; taken {
		return nil
	}
	for _, p := range l.Addresses {
		if _, taken := records[string(addrKey(p.Addr()))]; taken {
			return nil
		}
	}
	for _, p := range l.Addresses {
		records[string(addrKey(p.Addr()))] = addrRecord{kind: addrLeased, owner: mine}.encode(p.Addr())
	}
	raw, err := encodeLease(l)
	records[string(mine.key())] = raw
	return err
}

// reserve makes the file long enough for this transaction, which adds a lease
// with an attachment of so many bytes, and for the releases after it.
func (t *txn) reserve(attachment int) error {
	p := t.pages
	pages := p.high + p.high/32 + 2*reservedPages
	need := int64(pages)*int64(p.pageSize) + 2*int64(attachment)
	if need <= p.size {
		return nil
	}
	return allocate(t.file, p.size, need+max(initialSize, p.size/8))
}

// get returns the value of a record, or nil.
func (t *txn) get(key []byte) ([]byte, error) {
	var value []byte
	var err error
	if t.pages != nil {
		value, err = t.pages.get(key)
	}
	if t.bucket != nil && err == nil {
		value = t.bucket.Get(key) // what this transaction wrote included
	}
	if err != nil || value == nil {
		return nil, err
	}
	if len(value) < sumSize {
		return nil, damaged("a record is too short")
	}
	return value[:len(value)-sumSize], nil
}

func (t *txn) put(key, value []byte) error {
	t.dirty = true
	if t.pages != nil {
		if _, err := t.pages.path(key, false); err != nil {
			return err
		}
	}
	if err := t.bucket.Put(key, seal(key, value)); err != nil {
		return fmt.Errorf("putting a record into %s: %w", t.file.Name(), err)
	}
	return nil
}

func (t *txn) delete(key []byte) error {
	t.dirty = true
	if t.pages != nil {
		if _, err := t.pages.path(key, true); err != nil {
			return err
		}
	}
	if err := t.bucket.Delete(key); err != nil {
		return fmt.Errorf("deleting a record of %s: %w", t.file.Name(), err)
	}
	return nil
}

// lease returns the lease of a key.
func (t *txn) lease(k Key) (Lease, bool, error) {
	l, found, err := t.leaseOf(ownerOf(k))
	if err == nil && found && l.Key != k {
		return Lease{}, false, fmt.Errorf("container %s, interface %s has the hash of %s, %s", k.ContainerID, k.IfName, l.ContainerID, l.IfName)
	}
	return l, found, err
}

func (t *txn) leaseOf(o owner) (Lease, bool, error) {
	raw, err := t.get(o.key())
	if err != nil || raw == nil {
		return Lease{}, false, err
	}
	l, err := decodeLease(raw)
	return l, err == nil, err
}

func (t *txn) putLease(l Lease) error {
	raw, err := encodeLease(l)
	if err != nil {
		return err
	}
	return t.put(ownerOf(l.Key).key(), raw)
}

// addr returns what is known of an address.
func (t *txn) addr(a netip.Addr) (addrRecord, error) {
	raw, err := t.get(addrKey(a))
	if err != nil || raw == nil {
		return addrRecord{}, err
	}
	return decodeAddr(a, raw)
}

func (t *txn) putAddr(a netip.Addr, r addrRecord) error {
	return t.put(addrKey(a), r.encode(a))
}

// leases returns all leases.
func (t *txn) leases() ([]Lease, error) {
	var all []Lease
	err := t.pages.walk(func(key, value []byte) error {
		if key[0] != leaseKey {
			return nil
		}
		l, err := decodeLease(bytes.Clone(value[:len(value)-sumSize]))
		all = append(all, l)
		return err
	})
	return all, err
}

// stats counts the addresses of each pool.
func (t *txn) stats(pools []Pool) ([]PoolStats, error) {
	stats := countLeases(pools, nil)
	now := t.store.o.Now()
	err := t.pages.walk(func(key, value []byte) error {
		a, ok := addrOfKey(key)
		if !ok {
			return nil
		}
		r, err := decodeAddr(a, value[:len(value)-sumSize])
		i := slices.IndexFunc(pools, func(p Pool) bool { return p.Contains(a) })
		if err != nil || i < 0 {
			return err
		}
		st := t.stateOf(a)
		switch {
		case r.kind == addrLeased:
			stats[i].Used++
		case st != nil && now-r.released < st.Cooldown:
			stats[i].Cooling++
		}
		return nil
	})
	for i := range stats {
		s := &stats[i]
		s.Free = s.Size - min(s.Size, s.Used+s.Cooling)
	}
	return stats, err
}

// countLeases is stats of a store that is known to have just these leases.
func countLeases(pools []Pool, leases []Lease) []PoolStats {
	stats := make([]PoolStats, len(pools))
	for i, p := range pools {
		stats[i] = PoolStats{Subnet: p.Subnet, Size: p.Size()}
		for _, l := range leases {
			for _, a := range l.Addresses {
				if p.Contains(a.Addr()) {
					stats[i].Used++
				}
			}
		}
		stats[i].Free = stats[i].Size - min(stats[i].Size, stats[i].Used)
	}
	return stats
}
