package ipam

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
)

func TestParsePoolAccepts(t *testing.T) {
	table := []struct {
		subnet string
		ranges []string
		size   uint64
		in     string // an address of the pool, and one that is not
		out    string
	}{
		{"10.241.0.0/16", nil, 65531, "10.241.0.4", "10.241.0.3"},
		{"10.241.0.0/16", nil, 65531, "10.241.255.254", "10.241.255.255"},
		{"10.241.0.0/16", []string{"10.241.4.0/24", "10.241.9.10-10.241.9.20"}, 267, "10.241.4.0", "10.241.9.21"},
		{"10.241.0.0/16", []string{"10.241.9.9"}, 1, "10.241.9.9", "10.241.9.8"},
		{"10.0.0.0/24", []string{"10.0.0.0/29"}, 4, "10.0.0.4", "10.0.0.8"},
		{"10.0.0.0/29", nil, 3, "10.0.0.6", "10.0.0.7"},
		{"fd00:10:241::/64", nil, math.MaxUint64 - 4, "fd00:10:241::4", "fd00:10:241::3"},
		{"fd00:10:241::/64", []string{"fd00:10:241::400/120"}, 256, "fd00:10:241::4ff", "fd00:10:241::500"},
		{"fd00::/48", nil, math.MaxUint64, "fd00:0:0:7::1", "fd00:1::1"},
		{"fd00::/125", nil, 3, "fd00::6", "fd00::7"},
	}
	for _, row := range table {
		p := mustPool(t, row.subnet, row.ranges...)
		if p.Size() != row.size || !p.Contains(netip.MustParseAddr(row.in)) || p.Contains(netip.MustParseAddr(row.out)) {
			t.Errorf("%s %v: size %d, %s in: %v, %s in: %v", row.subnet, row.ranges, p.Size(),
				row.in, p.Contains(netip.MustParseAddr(row.in)), row.out, p.Contains(netip.MustParseAddr(row.out)))
		}
	}
	p := mustPool(t, "10.241.0.0/16")
	if p.Gateway().String() != "10.241.0.1" || !p.Reserved(p.Gateway()) || p.Reserved(netip.MustParseAddr("10.9.0.1")) {
		t.Errorf("gateway %v", p.Gateway())
	}
	t.Logf("%d pools", len(table))
}

func TestParsePoolRefuses(t *testing.T) {
	const v4, v6 = "10.0.0.0/24", "fd00::/64"
	table := []struct {
		subnet, ranges string // ranges separated by spaces
		field, reason  string
	}{
		{"", "", "subnet", "is not an address and a prefix length"},
		{"10.0.0.0", "", "subnet", "is not an address and a prefix length"},
		{"10.0.0.0/33", "", "subnet", "is not an address and a prefix length"},
		{"fd00::%eth0/64", "", "subnet", "is not an address and a prefix length"},
		{"10.0.0.1/24", "", "subnet", "the network is 10.0.0.0/24"},
		{"::ffff:10.0.0.0/120", "", "subnet", "IPv4-mapped"},
		{"10.0.0.0/30", "", "subnet", "too small"}, {"10.0.0.0/31", "", "subnet", "too small"},
		{"10.0.0.0/32", "", "subnet", "too small"}, {"fd00::/126", "", "subnet", "too small"},
		{"224.0.0.0/8", "", "subnet", "multicast"}, {"127.0.0.0/16", "", "subnet", "loopback"},
		{"169.254.0.0/16", "", "subnet", "link-local"}, {"0.0.0.0/0", "", "subnet", "unspecified"},
		{"ff02::/64", "", "subnet", "multicast"}, {"fe80::/64", "", "subnet", "link-local"},
		{"::/64", "", "subnet", "unspecified"},
		{v4, "10.0.0.9 x", "ranges[1]", "neither a CIDR"}, {v4, "10.0.0.9-", "ranges[0]", "neither a CIDR"},
		{v4, "10.0.0.9-10.0.0.8", "ranges[0]", "reversed"}, {v4, "10.0.0.9-fd00::1", "ranges[0]", "mixes"},
		{v4, "10.0.1.0/24", "ranges[0]", "not within"}, {v4, "10.0.0.250-10.0.1.3", "ranges[0]", "not within"},
		{v4, "10.0.0.0/23", "ranges[0]", "not within"}, {v4, "10.0.0.9/28", "ranges[0]", "host bits"},
		{v4, "fd00::8", "ranges[0]", "family"}, {v6, "10.0.0.8", "ranges[0]", "family"},
		{v6, "fd00::8%eth0", "ranges[0]", "zone"}, {v4, "::ffff:10.0.0.8", "ranges[0]", "IPv4-mapped"},
		{v4, "10.0.0.8/29 10.0.0.15-10.0.0.20", "ranges[1]", "overlaps ranges[0]"},
		{v4, "10.0.0.0/30 10.0.0.255", "ranges", "reserves"},
	}
	for _, row := range table {
		_, err := ParsePool(row.subnet, strings.Fields(row.ranges))
		var f *FieldError
		if !errors.As(err, &f) || f.Field != row.field || !strings.Contains(f.Reason, row.reason) {
			t.Errorf("%q %q: %v, want %s and %q", row.subnet, row.ranges, err, row.field, row.reason)
		}
	}
	t.Logf("%d pools refused", len(table))
}

func TestCheckPools(t *testing.T) {
	a, b := mustPool(t, "10.0.0.0/16", "10.0.4.0/24"), mustPool(t, "fd00::/64")
	table := []struct {
		pools []Pool
		field string
	}{
		{[]Pool{a, b}, ""}, {nil, ""},
		{[]Pool{a, b, mustPool(t, "10.0.4.0/24")}, "pools[2].subnet"},
		{[]Pool{a, mustPool(t, "10.0.0.0/16", "10.0.5.0/24", "10.0.4.9")}, "pools[1].ranges[1]"},
		{[]Pool{a, mustPool(t, "10.0.0.0/16", "10.0.5.0/24")}, "pools[1].subnet"},
	}
	for _, row := range table {
		err := CheckPools(row.pools)
		var f *FieldError
		if (err == nil) != (row.field == "") || errors.As(err, &f) && f.Field != row.field {
			t.Errorf("%v: %v, want %q", row.pools, err, row.field)
		}
	}
	t.Logf("%d sets of pools", len(table))
}

func FuzzParsePool(f *testing.F) {
	f.Add("10.0.0.0/24", "10.0.0.8/29")
	f.Add("fd00::/64", "fd00::9-fd00::ffff:1 fd00::7")
	f.Fuzz(func(t *testing.T, subnet, ranges string) {
		p, err := ParsePool(subnet, strings.Fields(ranges))
		if err != nil {
			var fe *FieldError
			if !errors.As(err, &fe) || fe.Field == "" || fe.Reason == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		if p.Size() == 0 || !p.Subnet.Contains(p.Gateway()) || !p.Reserved(p.Gateway()) {
			t.Fatalf("%v has %d addresses", p, p.Size())
		}
		for _, r := range p.Leasable() {
			if !p.Contains(r.First) || !p.Contains(r.Last) || p.Reserved(r.First) || p.Reserved(r.Last) {
				t.Fatalf("%v of %v", r, p)
			}
		}
	})
}
