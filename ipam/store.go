package ipam

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Key names an attachment: a container and the interface inside it.
type Key struct {
	ContainerID, IfName string
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.ContainerID, o.ContainerID), cmp.Compare(k.IfName, o.IfName))
}

// Lease is what an attachment holds.
type Lease struct {
	Key
	Addresses  []netip.Prefix  // one for each pool of the request, with the subnet's prefix length
	Since      time.Time       // UTC
	Attachment json.RawMessage // what the main plugin must know to take the attachment down; opaque here
}

// holds reports whether a is one of the lease's addresses.
func (l Lease) holds(a netip.Addr) bool {
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
}

// Request asks for one address from each pool.
type Request struct {
	Key
	Pools      []Pool
	Exclude    []netip.Addr    // never leased by this request: the node's own addresses, gateways
	Fixed      []netip.Addr    // at most one for each pool, and in it
	Cooldown   time.Duration   // how long Stats calls a released address cooling
	Attachment json.RawMessage // nil or JSON
}

// Options say where a network's store is and how it sees the world.
type Options struct {
	Dir string
	// Network is a network's name or, for what is kept beside its leases, the name with
	// "+" and a word behind it: no network is called like that.
	Network string
	Timeout time.Duration          // how long to wait for the lock; 0: 30 s
	Now     func() time.Duration   // the boot clock; nil: CLOCK_BOOTTIME
	BootID  func() (string, error) // nil: /proc/sys/kernel/random/boot_id

	// Rebuild returns what the kernel still shows of this network's leases. It
	// is called when the file is missing or damaged, and must not use the store. nil: a damaged store is an error, ErrDamaged.
	Rebuild func() ([]Lease, error)
	// Doubtful is for callers who do not know whether the kernel shows this network's
	// leases at all: a damaged store in whose place Rebuild finds none is an error, ErrDamaged.
	Doubtful bool
}

// Store is one network's leases. Every method is one transaction of its own
// that opens, locks and closes the file, so that a Store may be used from any
// number of goroutines and processes.
type Store struct {
	o    Options
	path string
}

// New returns the store of a network. It opens nothing.
func New(o Options) *Store {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = bootClock
	}
	if o.BootID == nil {
		o.BootID = readBootID
	}
	return &Store{o: o, path: filepath.Join(o.Dir, o.Network+suffix)}
}

// Acquire leases one address from each pool. The same key gets the same lease
// again, as it is recorded, even if the pools changed since; created tells the
// two apart. Errors match ErrNoFree, ErrTaken, ErrOutside,
// ErrLocked or ErrDamaged, or are the file system's.
func (s *Store) Acquire(r Request) (l Lease, created bool, err error) {
	if err := r.check(); err != nil {
		return Lease{}, false, err
	}
	err = s.update(func(t *txn) (err error) {
		if err := t.reserve(len(r.Attachment)); err != nil {
			return err
		}
		l, created, err = t.acquire(r)
		return err
	})
	if err != nil {
		return Lease{}, false, fmt.Errorf("leasing an address of network %s to container %s, interface %s: %w",
			s.o.Network, r.ContainerID, r.IfName, err)
	}
	return l, created, nil
}

// Record writes a lease whose addresses were given by somebody else. It
// replaces an earlier lease of the same key. A *TakenError tells that another
// key holds one of the addresses.
func (s *Store) Record(l Lease) error {
	err := checkKey(l.Key)
	if err == nil {
		err = s.update(func(t *txn) error {
			if err := t.reserve(len(l.Attachment)); err != nil {
				return err
			}
			return t.record(l)
		})
	}
	if err != nil {
		return fmt.Errorf("recording the lease of container %s, interface %s: %w", l.ContainerID, l.IfName, err)
	}
	return nil
}

// Quarantine puts an address that proved to be in use by somebody unknown last
// in its pool's queue, as if just released. A leased address stays leased: it
// goes there when its lease is released.
func (s *Store) Quarantine(a netip.Addr) error {
	err := s.update(func(t *txn) error {
		if err := t.reserve(0); err != nil {
			return err
		}
		return t.quarantine(a)
	})
	if err != nil {
		return fmt.Errorf("quarantining address %v of network %s: %w", a, s.o.Network, err)
	}
	return nil
}

// Release gives the key's lease back and returns what it was; false if there
// is none (any more). It succeeds on a full disk.
func (s *Store) Release(k Key) (Lease, bool, error) {
	var lease Lease
	var found bool
	err := s.updateExisting(func(t *txn) (err error) {
		lease, found, err = t.release(k)
		return err
	})
	if errors.Is(err, errUnwritten) {
		lease, found, err = s.surviving(k, err)
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("releasing the lease of container %s, interface %s: %w", k.ContainerID, k.IfName, err)
	}
	return lease, found, nil
}

// Get returns the key's lease, and false if there is none. It writes nothing.
func (s *Store) Get(k Key) (Lease, bool, error) {
	var lease Lease
	var found bool
	err := s.view(func(t *txn) (err error) {
		lease, found, err = t.lease(k)
		return err
	})
	if errors.Is(err, errUnwritten) {
		lease, found, err = s.surviving(k, err)
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("reading the lease of container %s, interface %s: %w", k.ContainerID, k.IfName, err)
	}
	return lease, found, nil
}

// Holder returns the lease that has the address, and false if there is none. It
// writes nothing.
func (s *Store) Holder(a netip.Addr) (Lease, bool, error) {
	var lease Lease
	var found bool
	err := s.view(func(t *txn) error {
		r, err := t.addr(a)
		if err == nil && r.kind == addrLeased {
			lease, found, err = t.leaseOf(r.owner)
		}
		return err
	})
	if errors.Is(err, errUnwritten) {
		var all []Lease
		all, err = s.survivors(err)
		if i := slices.IndexFunc(all, func(l Lease) bool { return l.holds(a) }); err == nil && i >= 0 {
			lease, found = all[i], true
		}
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("looking for the holder of %v: %w", a, err)
	}
	return lease, found, nil
}

// Leases returns all leases, the oldest first. It writes nothing.
func (s *Store) Leases() ([]Lease, error) {
	var all []Lease
	err := s.view(func(t *txn) (err error) {
		all, err = t.leases()
		return err
	})
	if errors.Is(err, errUnwritten) {
		all, err = s.survivors(err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the leases of network %s: %w", s.o.Network, err)
	}
	slices.SortFunc(all, func(a, b Lease) int { return cmp.Or(a.Since.Compare(b.Since), a.compare(b.Key)) })
	return all, nil
}

// PoolStats counts a pool's addresses: Size is the sum of the other three.
type PoolStats struct {
	Subnet  netip.Prefix
	Size    uint64 // leasable, saturating
	Used    uint64 // leased
	Free    uint64 // neither leased nor cooling
	Cooling uint64 // released less than the cool-down ago: given out only when nothing else is free
}

// Stats counts the addresses of each of the pools. It writes nothing.
func (s *Store) Stats(pools []Pool) ([]PoolStats, error) {
	var stats []PoolStats
	err := s.view(func(t *txn) (err error) {
		stats, err = t.stats(pools)
		return err
	})
	if errors.Is(err, errUnwritten) {
		var leases []Lease
		leases, err = s.survivors(err)
		stats = countLeases(pools, leases)
	}
	if err != nil {
		return nil, fmt.Errorf("counting the addresses of network %s: %w", s.o.Network, err)
	}
	return stats, nil
}

// Check tells whether the store can be locked, opened and written, by doing so.
func (s *Store) Check() error {
	err := s.update(func(t *txn) error {
		t.dirty = true
		return t.reserve(0)
	})
	if err != nil {
		return fmt.Errorf("checking the lease store of network %s: %w", s.o.Network, err)
	}
	return nil
}

// Networks returns the names of the networks that have a store in dir, those of what
// is kept beside them included. A directory that does not exist has none.
func Networks(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for lease stores: %w", err)
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if ok && e.Type().IsRegular() && checkNetwork(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// survivors returns the leases of a file that cannot be trusted or is not
// there, without writing: none of another boot's, else what the kernel shows.
func (s *Store) survivors(cause error) ([]Lease, error) {
	var d *damage
	switch {
	case errors.Is(cause, errOtherBoot):
		return nil, nil
	case s.o.Rebuild != nil:
		leases, err := s.rebuild()
		if err == nil && len(leases) == 0 && s.o.Doubtful && errors.As(cause, &d) {
			err = s.damagedError(d)
		}
		return leases, err
	case errors.As(cause, &d):
		return nil, s.damagedError(d)
	}
	return nil, nil
}

// surviving returns the key's lease among the survivors.
func (s *Store) surviving(k Key, cause error) (Lease, bool, error) {
	leases, err := s.survivors(cause)
	i := slices.IndexFunc(leases, func(l Lease) bool { return l.Key == k })
	if err != nil || i < 0 {
		return Lease{}, false, err
	}
	return leases[i], true, nil
}

// rebuild asks the caller what the kernel still shows.
func (s *Store) rebuild() ([]Lease, error) {
	leases, err := s.o.Rebuild()
	if err != nil {
		return nil, fmt.Errorf("finding the leases that the kernel still shows, to rebuild %s: %w", s.path, err)
	}
	return leases, nil
}

// damagedError says what to do about a file that nothing can be rebuilt from.
func (s *Store) damagedError(d *damage) error {
	return fmt.Errorf("%w: %s: %s; remove the file once no pod of network %s runs on this node, or reboot",
		ErrDamaged, s.path, d.what, s.o.Network)
}

// check refuses a request that no store could serve.
func (r Request) check() error {
	if err := checkKey(r.Key); err != nil {
		return err
	}
	if len(r.Pools) == 0 {
		return &FieldError{"pools", "", "is empty: there is nothing to lease from"}
	}
	return CheckPools(r.Pools)
}

// checkKey refuses a key that could not be told from another one's.
func checkKey(k Key) error {
	if k.ContainerID == "" || k.IfName == "" {
		return fmt.Errorf("a lease needs a container id and an interface name, not %q and %q", k.ContainerID, k.IfName)
	}
	return nil
}

// checkNetwork refuses what the CNI specification does not allow as a
// network's name, but for what is kept beside it; the name becomes a file's.
func checkNetwork(name string) error {
	name, word, beside := strings.Cut(name, "+")
	if beside && (word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") != "") {
		return fmt.Errorf("network name %q: behind \"+\" there must be a word of small letters, not %q", name, word)
	}
	for i, c := range []byte(name) {
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			return fmt.Errorf("network name %q: it must start with a letter or digit, followed by those, '_', '.' and '-'", name)
		}
	}
	if name == "" {
		return errors.New("the network has no name")
	}
	return nil
}
