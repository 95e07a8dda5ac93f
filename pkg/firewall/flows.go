package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Attributes of linux/netfilter/nfnetlink_conntrack.h that package nl lacks, and
// the filter flag for a tuple's source address (net/netfilter/nf_internals.h).
const (
	ctaFilter           = 25
	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2
	filterSource        = 1 << 0
)

// ForgetFlows deletes the tracked flows of pods' addresses: those that they opened
// and those that somebody opened to them, through a service or not. Without it, an
// address's next owner would inherit their verdicts.
func (f *Firewall) ForgetFlows(addrs ...netip.Addr) error {
	if none, err := noFlows(); none || err != nil {
		return err
	}
	if tells, err := f.sets.tellsFlows(); !tells || err != nil {
		return err
	}
	var listed []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is6() {
			// The kernel's filter compares IPv6 addresses the wrong way round and
			// would delete everybody else's flows (ctnetlink_filter_match_tuple
			// negates ipv6_addr_cmp; seen in 6.18).
			listed = append(listed, a)
		} else if err := f.forgetIPv4(a); err != nil {
			return err
		}
	}
	if len(listed) == 0 {
		return nil
	}
	return deleteFlowsOf(listed...)
}

func (f *Firewall) forgetIPv4(a netip.Addr) error {
	// The source of the original direction opened the flow. The source of the
	// reply is who really answers, whatever address the opener was given.
	for _, direction := range []int{nl.CTA_TUPLE_ORIG, nl.CTA_TUPLE_REPLY} {
		err := f.sets.deleteFlows(a, direction)
		if errors.Is(err, unix.EINVAL) {
			return deleteFlowsOf(a) // before 6.9 the kernel filters only listings
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// noFlows tells whether this namespace tracks nothing at all, which spares a
// walk over the whole table, 262,144 buckets on a large node.
func noFlows() (bool, error) {
	const counter = "/proc/sys/net/netfilter/nf_conntrack_count"
	b, err := os.ReadFile(counter)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // connection tracking is not loaded
	}
	if err != nil {
		return false, fmt.Errorf("count the tracked flows: %w", err)
	}
	return strings.TrimSpace(string(b)) == "0", nil
}

// tellsFlows reports whether the kernel can be asked about tracked flows. One
// with connection tracking but without nf_conntrack_netlink answers EINVAL, as
// for every subsystem that it lacks (nfnetlink_rcv_msg).
func (s *sets) tellsFlows() (bool, error) {
	const getStats = 5 // IPCTNL_MSG_CT_GET_STATS
	// The acknowledgement is enough; the number comes in a message that claims to
	// be a part of a listing.
	err := s.conn.Do(nlsock.Request{
		What: "ask the kernel how many flows it tracks", Type: getStats | s.conntrack<<8,
		Body: []nl.NetlinkRequestData{&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0}},
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}

// deleteFlows lets the kernel find the flows whose tuple in the direction comes
// from the IPv4 address a (ctnetlink_flush_conntrack with CTA_FILTER).
func (s *sets) deleteFlows(a netip.Addr, direction int) error {
	flags := ctaFilterOrigFlags
	if direction == nl.CTA_TUPLE_REPLY {
		flags = ctaFilterReplyFlags
	}
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|direction, nil)
	tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil).AddRtAttr(nl.CTA_IP_V4_SRC, a.AsSlice())
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	filter.AddRtAttr(flags, nl.Uint32Attr(filterSource))
	// The kernel wants both flag words.
	filter.AddRtAttr(ctaFilterOrigFlags+ctaFilterReplyFlags-flags, nl.Uint32Attr(0))
	return s.conn.Do(nlsock.Request{
		What: fmt.Sprintf("delete the tracked flows of %s", a),
		Type: nl.IPCTNL_MSG_CT_DELETE | s.conntrack<<8,
		Body: []nl.NetlinkRequestData{
			// The kernel heeds the family of a deletion only in messages of version 1.
			&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: 1}, tuple, filter,
		},
	})
}

// deleteListedFlows lists the family's table and deletes what the filter picks,
// where the kernel cannot be asked to filter a deletion.
func deleteListedFlows(fam family, which netlink.CustomConntrackFilter) error {
	const attempts = 5 // a listing that the table changed under is not whole
	var err error
	for range attempts {
		_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(fam.protocol()), which)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// deleteFlowsOf is deleteListedFlows for the flows that ForgetFlows is about, of
// addresses of one family.
func deleteFlowsOf(addrs ...netip.Addr) error {
	if err := deleteListedFlows(familyOf(addrs[0]), flowsOf(addrs)); err != nil {
		return fmt.Errorf("delete the tracked flows of %s: %w", addrs, err)
	}
	return nil
}

// flowsOf matches the flows that ForgetFlows is about.
type flowsOf []netip.Addr

func (f flowsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range [][]byte{flow.Forward.SrcIP, flow.Reverse.SrcIP} {
		if a, ok := netip.AddrFromSlice(ip); ok && slices.Contains(f, a.Unmap()) {
			return true
		}
	}
	return false
}
