package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vnet-cni/vnet-cni/ipam"
)

// leaseCount is how many leases the full store has, in largePool.
const (
	leaseCount = 60000
	largePool  = "10.0.0.0/12"
)

// measureLeases compares our IPAM plugin's ADD beside many leases with that in
// an empty network.
func measureLeases(b *bench) ([]row, error) {
	w, err := newWorld(b.dir, 2)
	if err != nil {
		return nil, err
	}
	if err := fillStore(filepath.Join(w.dir, "vnet"), "full"); err != nil {
		return nil, err
	}
	return b.fullAgainstEmpty("ipam-leases", targetLeases, 1, w, func(network string) (plugin, error) {
		return newPlugin(b.vnetIPAM, ipamConf(network, w.dir))
	})
}

// measureHostLocalLeases is the same of host-local. So many files are too much
// for memory; they are in the page cache after the warm-up.
func measureHostLocalLeases(b *bench) ([]row, error) {
	w, err := newWorld(b.disk, 2)
	if err != nil {
		return nil, err
	}
	if err := fillHostLocal(filepath.Join(w.dir, "host-local", "full")); err != nil {
		return nil, err
	}
	return b.fullAgainstEmpty("host-local-leases", 0, 20, w, func(network string) (plugin, error) {
		return newPlugin(b.hostLocal, hostLocalConf(network, w.dir))
	})
}

func (b *bench) fullAgainstEmpty(name string, target float64, weight int, w *world, on func(network string) (plugin, error)) ([]row, error) {
	full, err := on("full")
	if err != nil {
		return nil, err
	}
	empty, err := on("empty")
	if err != nil {
		return nil, err
	}
	fullAdd, fullDel := verbs(fmt.Sprintf("%d leases", leaseCount), full, w.pods[0])
	emptyAdd, emptyDel := verbs("no leases", empty, w.pods[1])
	err = w.node.do(func() error {
		return inTurn(b.ctx, b.roundsOf(weight), []*trial{fullAdd, emptyAdd}, []*trial{fullDel, emptyDel})
	})
	if err != nil {
		return nil, err
	}
	r := versus(name, fullAdd, emptyAdd, target)
	return []row{r}, nil
}

// fillStore makes the leases in one transaction, the way a store that was lost
// is made anew.
func fillStore(dir, network string) error {
	store := ipam.New(ipam.Options{Dir: dir, Network: network, Rebuild: func() ([]ipam.Lease, error) {
		return manyLeases(), nil
	}})
	if err := store.Check(); err != nil {
		return err
	}
	leases, err := store.Leases()
	if err == nil && len(leases) != leaseCount {
		err = fmt.Errorf("the store has %d leases instead of %d", len(leases), leaseCount)
	}
	return err
}

func manyLeases() []ipam.Lease {
	leases := make([]ipam.Lease, leaseCount)
	first := time.Now().Add(-time.Hour)
	for i := range leases {
		leases[i] = ipam.Lease{
			Key:        ipam.Key{ContainerID: fmt.Sprintf("lease%059d", i), IfName: "eth0"},
			Addresses:  []netip.Prefix{netip.PrefixFrom(leased(i), 12)},
			Since:      first.Add(time.Duration(i) * time.Millisecond),
			Attachment: []byte(`{"hostVeth":"vnet0123456789a","sandbox":"/run/netns/cni-01234567-89ab-cdef-0123-456789abcdef","podMAC":"aa:bb:cc:dd:ee:ff"}`),
		}
	}
	return leases
}

// leased is the i-th address after those at the start that nobody leases.
func leased(i int) netip.Addr {
	i += 10
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// fillHostLocal writes the files that so many ADDs leave.
func fillHostLocal(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range leaseCount {
		owner := fmt.Sprintf("lease%059d\r\neth0", i)
		if err := os.WriteFile(filepath.Join(dir, leased(i).String()), []byte(owner), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "last_reserved_ip.0"), []byte(leased(leaseCount-1).String()), 0o644)
}
