package collect

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Leases are the leases of one network, the oldest first.
type Leases struct {
	Network string
	Leases  []ipam.Lease
}

// LeasesOf reads the leases of networks.
func LeasesOf(stateDir string, networks []string) ([]Leases, error) {
	var all []Leases
	for _, n := range networks {
		leases, err := attachment.Store(stateDir, n).Leases()
		if err != nil {
			return nil, err
		}
		all = append(all, Leases{n, leases})
	}
	return all, nil
}

// AllLeases reads the leases of all networks as they are now.
func AllLeases(stateDir string) ([]Leases, error) {
	networks, err := ipam.Networks(stateDir)
	if err != nil {
		return nil, err
	}
	return LeasesOf(stateDir, networks)
}

// look reads all leases, and the host veths without one. Links are read before
// leases: a link that is being made has its lease already.
func look(n *attachment.Node, stateDir string) ([]Leases, []link.Attachment, error) {
	links, err := n.Host.Attachments()
	if err != nil {
		return nil, nil, err
	}
	all, err := AllLeases(stateDir)
	if err != nil {
		return nil, nil, err
	}
	return all, Unleased(links, all), nil
}

// Unleased are the host veths without a lease.
func Unleased(links []link.Attachment, all []Leases) []link.Attachment {
	return slices.DeleteFunc(slices.Clone(links), func(a link.Attachment) bool {
		return slices.ContainsFunc(all, func(n Leases) bool {
			return n.Network == a.Network && slices.ContainsFunc(n.Leases, func(l ipam.Lease) bool {
				return l.ContainerID == a.ContainerID && l.IfName == a.IfName
			})
		})
	})
}

func leased(a netip.Addr, all []Leases) bool {
	return slices.ContainsFunc(all, func(n Leases) bool {
		return slices.ContainsFunc(n.Leases, func(l ipam.Lease) bool { return slices.Contains(attachment.Addrs(l), a) })
	})
}

// RecordOf is attachment.Of for a caller who has to go on with a record that
// cannot be decoded: the host veth's name does not need it. Without a record the
// lease is of another main plugin, and ours false.
func RecordOf(network string, l ipam.Lease) (r attachment.Record, ours bool) {
	r, ours, err := attachment.Of(l)
	if err != nil {
		return attachment.LostRecord(network, l.Key), true
	}
	return r, ours
}

// ChangedMeanwhile is why a lease is left alone that is not the judged one any more.
const ChangedMeanwhile = "the runtime attached it anew in this moment"

// Unchanged reports whether the lease is still the one that was judged.
func Unchanged(stateDir, network string, judged ipam.Lease) (bool, error) {
	l, found, err := attachment.Store(stateDir, network).Get(judged.Key)
	return found && sameLease(l, judged), err
}

func sameLease(a, b ipam.Lease) bool {
	return a.Key == b.Key && a.Since.Equal(b.Since) && slices.Equal(a.Addresses, b.Addresses) && bytes.Equal(a.Attachment, b.Attachment)
}

// Detach takes everything of a lease down and then releases it, in the order of
// DEL: whatever interrupts it, the lease still leads to the rest. path is CNI_PATH
// for addresses of another IPAM plugin.
func Detach(n *attachment.Node, stateDir, path, network string, l ipam.Lease) error {
	record, ours := RecordOf(network, l)
	if !ours {
		record = attachment.LostRecord(network, l.Key)
	}
	err := n.Remove(stateDir, network, l.Key, record, attachment.Addrs(l), func() error {
		if record.Delegate != nil {
			if err := record.Delegate.Return(l.Key, record.Sandbox, path); err != nil {
				return err
			}
		}
		_, _, err := attachment.Store(stateDir, network).Release(l.Key)
		return err
	})
	if err != nil {
		return fmt.Errorf("take down container %s, interface %s: %w", l.ContainerID, l.IfName, err)
	}
	return nil
}
