package fib

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// onNode runs f in a node's namespace, with the index of its uplink.
func onNode(t *testing.T, f func(c *nlsock.Conn, uplink int) error) {
	t.Helper()
	n := testnet.New(t).AddNode("n1")
	l, err := n.NL.LinkByName(testnet.Uplink)
	if err != nil {
		t.Fatal(err)
	}
	err = n.Do(func() error {
		c, err := nlsock.Dial(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer c.Close()
		return f(c, l.Attrs().Index)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is written is read back as the same value, and what has another value at the
// same place takes its place.
func TestRoutesComeBackAsWritten(t *testing.T) {
	t.Parallel()
	onNode(t, func(c *nlsock.Conn, uplink int) error {
		const table = 'v'<<24 | 1
		wanted := []Route{
			{Table: table, Dst: prefix("192.0.2.0/24"), Kind: unix.RTN_BLACKHOLE, Protocol: ToAppliances},
			{Table: table, Dst: prefix("10.241.0.0/16"), Kind: unix.RTN_THROW, Protocol: ToAppliances},
			{Table: table, Dst: prefix("0.0.0.0/0"), Kind: unix.RTN_UNICAST, Via: addr("10.241.0.9"), Link: uplink, OnLink: true, Protocol: ToAppliances},
			{Table: table, Dst: prefix("0.0.0.0/0"), Kind: unix.RTN_BLACKHOLE, Metric: 4096, Protocol: ToAppliances},
			{Table: table, Dst: prefix("2001:db8::/32"), Kind: unix.RTN_BLACKHOLE, Metric: Metric6, Protocol: ToAppliances},
			{Table: table, Dst: prefix("fd00:10:241::/64"), Kind: unix.RTN_THROW, Metric: Metric6, Protocol: ToAppliances},
			{Table: table, Dst: prefix("::/0"), Kind: unix.RTN_UNICAST, Via: addr("fd00:10:241::9"), Link: uplink, OnLink: true, Metric: Metric6, Protocol: ToAppliances},
			{Table: table, Dst: prefix("::/0"), Kind: unix.RTN_BLACKHOLE, Metric: 4096, Protocol: ToAppliances},
		}
		write := func() error {
			for _, r := range wanted {
				if err := c.Do(SetRoute(r)); err != nil {
					return err
				}
			}
			got, err := RoutesOf(c, table, 0)
			if err != nil {
				return err
			}
			for _, r := range Missing(wanted, got) {
				t.Errorf("missing: %+v", r)
			}
			for _, r := range Missing(got, wanted) {
				t.Errorf("too much: %+v", r)
			}
			return nil
		}
		for range 2 {
			if err := write(); err != nil {
				return err
			}
		}
		// Each at the place of one of another kind.
		for _, i := range []int{0, 4} {
			wanted[i].Kind, wanted[i+1].Kind = wanted[i+1].Kind, wanted[i].Kind
			wanted[i+2].Kind, wanted[i+2].Via, wanted[i+2].Link, wanted[i+2].OnLink = unix.RTN_BLACKHOLE, netip.Addr{}, 0, false
		}
		if err := write(); err != nil {
			return err
		}
		if got, err := RoutesOf(c, table, ToNodes); err != nil || len(got) != 0 {
			t.Errorf("of another protocol: %v, %v", got, err)
		}
		for range 2 {
			for _, r := range wanted {
				if err := c.Do(RemoveRoute(r)); err != nil {
					return err
				}
			}
		}
		left, err := RoutesOf(c, table, 0)
		t.Logf("%d routes written, replaced and removed", len(wanted))
		if len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
		return err
	})
}

func TestRulesComeBackAsWritten(t *testing.T) {
	t.Parallel()
	onNode(t, func(c *nlsock.Conn, _ int) error {
		before, err := Rules(c)
		if err != nil {
			return err
		}
		wanted := []Rule{
			{From: prefix("10.241.4.0/24"), Table: unix.RT_TABLE_MAIN, Priority: 7678, Longer: 31, Protocol: ToAppliances},
			{From: prefix("10.241.4.9/32"), Table: 'v' << 24, Priority: 7679, Longer: -1, Protocol: ToAppliances},
			{From: prefix("fd00:10:241::400/120"), Table: unix.RT_TABLE_MAIN, Priority: 7678, Longer: 127, Protocol: ToAppliances},
			{From: prefix("fd00:10:241::400/120"), Table: 'v' << 24, Priority: 7679, Longer: -1, Protocol: ToNodes},
		}
		for range 2 {
			for _, r := range wanted {
				if err := c.Do(AddRule(r)); err != nil {
					return err
				}
			}
		}
		got, err := Rules(c)
		if err != nil {
			return err
		}
		if came := Missing(got, before); !slices.Equal(came, wanted) && len(Missing(wanted, came)) > 0 || len(got) != len(before)+len(wanted) {
			t.Errorf("got %v, want %v", came, wanted)
		}
		for range 2 {
			for _, r := range wanted {
				if err := c.Do(RemoveRule(r)); err != nil {
					return err
				}
			}
		}
		after, err := Rules(c)
		if len(after) != len(before) {
			t.Errorf("left: %v", Missing(after, before))
		}
		t.Logf("%d rules beside %d", len(wanted), len(before))
		return err
	})
}

func TestFind(t *testing.T) {
	t.Parallel()
	onNode(t, func(c *nlsock.Conn, uplink int) error {
		rows := []struct {
			to    string
			found bool
			kind  uint8
			via   netip.Addr
		}{
			{"10.241.77.1", true, unix.RTN_UNICAST, netip.Addr{}},
			{"203.0.113.10", true, unix.RTN_UNICAST, testnet.Gateway4},
			{"10.241.0.1", true, unix.RTN_LOCAL, netip.Addr{}},
			{"10.241.255.255", true, unix.RTN_BROADCAST, netip.Addr{}},
			{"2001:db8:113::10", true, unix.RTN_UNICAST, testnet.Gateway6},
			{"192.0.2.1", false, 0, netip.Addr{}},
		}
		if err := c.Do(SetRoute(Route{Table: unix.RT_TABLE_MAIN, Dst: prefix("192.0.2.0/24"), Kind: unix.RTN_BLACKHOLE})); err != nil {
			return err
		}
		for _, row := range rows {
			r, found, err := Find(c, addr(row.to))
			if err != nil {
				return err
			}
			if found != row.found || r.Kind != row.kind || r.Via != row.via || r.Kind == unix.RTN_UNICAST && r.Link != uplink {
				t.Errorf("%s: %t %+v", row.to, found, r)
			}
		}
		t.Logf("%d addresses", len(rows))
		return nil
	})
}

// Of several next hops it is the first that the route was made with, whatever the
// kernel's hash of the address, of which each boot has another, makes of them.
func TestFindSeveralNextHops(t *testing.T) {
	t.Parallel()
	onNode(t, func(c *nlsock.Conn, uplink int) error {
		const routes = 16 // for one in each 2¹⁶ boots that proves nothing
		for _, way := range []struct{ dst, first, second string }{
			{"198.51.%d.0/24", "10.241.0.9", "10.241.0.8"}, {"2001:db8:%d::/64", "fd00:10:241::9", "fd00:10:241::8"},
		} {
			for i := range routes {
				dst := prefix(fmt.Sprintf(way.dst, i))
				args := []string{"route", "add", dst.String(), "nexthop", "via", way.first, "nexthop", "via", way.second}
				if dst.Addr().Is6() {
					args = append([]string{"-6"}, args...)
				}
				if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
					return fmt.Errorf("ip %q: %w: %s", args, err, out)
				}
				r, found, err := Find(c, dst.Addr().Next())
				if err != nil || !found || r.Dst != dst || r.Via != addr(way.first) || r.Link != uplink {
					t.Errorf("%s: %t, %+v, %v; want it via %s", dst, found, r, err, way.first)
				}
			}
		}
		t.Logf("%d routes", 2*routes)
		return nil
	})
}

// Nobody's answer makes a parser panic, and a short one is an error.
func TestParseShortMessages(t *testing.T) {
	t.Parallel()
	for n := range unix.SizeofRtMsg {
		_, routeErr := ParseRoute(make([]byte, n))
		_, ruleErr := ParseRule(make([]byte, n))
		if routeErr == nil || ruleErr == nil {
			t.Errorf("%d bytes: %v", n, errors.Join(routeErr, ruleErr))
		}
	}
	t.Logf("%d lengths", unix.SizeofRtMsg)
}

// message is a route's: header and attributes, each of a type and a value.
func message(family, bits uint8, attributes ...[]byte) []byte {
	m := make([]byte, unix.SizeofRtMsg)
	m[0], m[1] = family, bits
	for _, a := range attributes {
		m = append(m, a...)
	}
	return m
}

func attribute(typ byte, value ...byte) []byte {
	return append([]byte{byte(4 + len(value)), 0, typ, 0}, value...)
}

// hops are two next hops, of which the first is by interface 3.
func hops() []byte {
	first := append([]byte{16, 0, 0, 0, 3, 0, 0, 0}, attribute(unix.RTA_GATEWAY, 10, 0, 0, 1)...)
	return append(first, 8, 0, 0, 0, 4, 0, 0, 0)
}

func TestParseSeveralNextHops(t *testing.T) {
	t.Parallel()
	r, err := ParseRoute(message(unix.AF_INET, 0, attribute(unix.RTA_MULTIPATH, hops()...)))
	want := Route{Dst: prefix("0.0.0.0/0"), Via: addr("10.0.0.1"), Link: 3, Odd: true}
	if err != nil || r != want {
		t.Errorf("%+v, %v, want %+v", r, err, want)
	}
	t.Log("1 message")
}

func FuzzParse(f *testing.F) {
	whole := message(unix.AF_INET, 24, attribute(unix.RTA_DST, 10, 0, 0, 0), attribute(unix.RTA_OIF, 7, 0, 0, 0), attribute(unix.RTA_GATEWAY, 10, 0, 0, 1))
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Add(whole)
	f.Add(message(unix.AF_INET6, 200, attribute(unix.RTA_DST, 10, 0, 0, 0)))
	f.Add(message(unix.AF_INET, 0, attribute(unix.RTA_MULTIPATH, hops()...)))
	f.Add(message(unix.AF_INET, 0, attribute(unix.RTA_MULTIPATH, 255, 255, 0, 0, 3, 0, 0, 0)))
	f.Add(message(unix.AF_INET, 0, attribute(unix.RTA_MULTIPATH, 13, 0, 0, 0, 3, 0, 0, 0, 5, 0, 5, 0, 1)))
	f.Add(message(unix.AF_INET, 24, attribute(unix.RTA_DST, 10, 0, 0, 0), attribute(unix.RTA_VIA, 10)))
	f.Add(message(unix.AF_INET, 32, attribute(nl.FRA_PROTOCOL), attribute(nl.FRA_SRC, 10, 0, 0, 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, routeErr := ParseRoute(data)
		rule, ruleErr := ParseRule(data)
		if len(data) < unix.SizeofRtMsg && (routeErr == nil || ruleErr == nil) {
			t.Error("a message without a header is parsed")
		}
		_, _ = r.Dst.String(), rule.String() // any value has to be fit for an error's text
	})
}
