package link

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The names of links that live pods have must not change with a new version.
func TestNamesAreStable(t *testing.T) {
	if got, want := HostName("pods", "c1", "eth0"), "vnet62b22f842bf"; got != want { // FNV-1a of pods NUL c1 NUL eth0
		t.Errorf("HostName = %s, want %s", got, want)
	}
	// 09:20:4e:05:55:9a of mac NUL pods NUL c1 NUL eth0, made local and unicast.
	if got, want := PodMAC("pods", "c1", "eth0").String(), "0a:20:4e:05:55:9a"; got != want {
		t.Errorf("PodMAC = %s, want %s", got, want)
	}
	for _, row := range [][2]string{{"10.0.0.7", "169.254.1.1"}, {"fd00::7", "fe80::1234:5678:9abc"}} {
		if got := Gateway(netip.MustParseAddr(row[0])).String(); got != row[1] {
			t.Errorf("Gateway(%s) = %s, want %s", row[0], got, row[1])
		}
	}
	if HostMAC.String() != "aa:aa:aa:aa:aa:aa" {
		t.Errorf("HostMAC = %s", HostMAC)
	}
	t.Log("2 names, 2 gateways, 1 MAC")
}

func wantHostName(t rapid.TB, name string) {
	digits, ok := strings.CutPrefix(name, VethPrefix)
	_, err := hex.DecodeString("0" + digits)
	if !ok || err != nil || len(name) != 15 || strings.ToLower(name) != name {
		t.Fatalf("host name %q is not vnet and 11 hex digits", name)
	}
}

// Every change of a single character gives another name and another MAC.
func TestNamesOfSingleChanges(t *testing.T) {
	base := [3]string{"pods", strings.Repeat("0123456789abcdef", 4), "eth0"}
	names, macs, count := map[string][3]string{}, map[string][3]string{}, 0
	try := func(k [3]string) {
		count++
		name, mac := HostName(k[0], k[1], k[2]), PodMAC(k[0], k[1], k[2]).String()
		wantHostName(t, name)
		if other, taken := names[name]; taken {
			t.Errorf("%q and %q have the name %s", k, other, name)
		}
		if other, taken := macs[mac]; taken {
			t.Errorf("%q and %q have the MAC %s", k, other, mac)
		}
		names[name], macs[mac] = k, k
	}
	try(base)
	for field, text := range base {
		for i := range text {
			for _, c := range "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_." {
				if byte(c) == text[i] {
					continue
				}
				k := base
				k[field] = text[:i] + string(c) + text[i+1:]
				try(k)
			}
		}
		for _, longer := range []string{text + "0", "0" + text, text[:len(text)-1]} {
			k := base
			k[field] = longer
			try(k)
		}
	}
	try([3]string{"podse", "th0", "eth0"})
	try([3]string{"pod", "seth0", "eth0"})
	t.Logf("%d triples, all different", count)
}

// attachmentKey draws what a network, a container id and an interface may be called.
func attachmentKey(t *rapid.T) [3]string {
	return [3]string{
		rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,99}`).Draw(t, "network"),
		rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,127}`).Draw(t, "container"),
		rapid.StringMatching(`[a-zA-Z0-9_.\-@]{1,15}`).Draw(t, "interface"),
	}
}

func TestNamesOfAnything(t *testing.T) {
	count, keys := 0, map[string][3]string{}
	rapid.Check(t, func(t *rapid.T) {
		count++
		k := attachmentKey(t)
		name := HostName(k[0], k[1], k[2])
		wantHostName(t, name)
		if name != HostName(k[0], k[1], k[2]) {
			t.Fatalf("%q has two names", k)
		}
		if other, taken := keys[name]; taken && other != k {
			t.Fatalf("%q and %q have the name %s", k, other, name)
		}
		keys[name] = k
		mac := PodMAC(k[0], k[1], k[2])
		if len(mac) != 6 || mac[0]&1 != 0 || mac[0]&2 == 0 || mac.String() != PodMAC(k[0], k[1], k[2]).String() {
			t.Fatalf("%q has the MAC %s", k, mac)
		}
	})
	t.Logf("%d draws, %d different keys", count, len(keys))
}

func TestAliasRoundTrip(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		k := attachmentKey(t)
		alias := Alias(k[0], k[1], k[2])
		network, id, ifName, ok := ParseAlias(alias)
		if got := [3]string{network, id, ifName}; !ok || got != k {
			t.Fatalf("%q came back from %q as %q, %v", k, alias, got, ok)
		}
		if len(alias) > 255 {
			t.Fatalf("the alias of %q has %d bytes", k, len(alias))
		}
	})
	foreign := []string{"", "uplink", "a/b", "a/b/c/d", "//" + "/"}
	for _, alias := range foreign {
		if _, _, _, ok := ParseAlias(alias); ok {
			t.Errorf("ParseAlias(%q) takes it for ours", alias)
		}
	}
	t.Logf("%d aliases round, %d foreign ones", count, len(foreign))
}

func TestPodRoutes(t *testing.T) {
	extra := []Route{
		{Dst: netip.MustParsePrefix("10.9.0.0/16"), MTU: 1400},
		{Dst: netip.MustParsePrefix("fd99::/48"), Priority: 7, Via: netip.MustParseAddr("fe80::1")},
		{Dst: netip.MustParsePrefix("0.0.0.0/0"), Table: 100},
	}
	const (
		gw4, def4 = "169.254.1.1/32", "default via 169.254.1.1"
		def6      = "default via fe80::1234:5678:9abc"
		extra4    = "10.9.0.0/16 via 169.254.1.1"
		extra6    = "fd99::/48 via fe80::1234:5678:9abc"
	)
	rows := []struct {
		addrs []netip.Addr
		extra []Route
		want  []string
	}{
		{nil, extra, nil},
		{addrList("10.0.0.1"), nil, []string{gw4, def4}},
		{addrList("10.0.0.1", "10.1.0.1"), nil, []string{gw4, def4}},
		{addrList("fd00::1"), nil, []string{def6}},
		{addrList("10.0.0.1", "fd00::1"), nil, []string{gw4, def4, def6}},
		{addrList("fd00::1", "10.0.0.1", "fd01::1"), nil, []string{def6, gw4, def4}},
		{addrList("10.0.0.1"), extra, []string{gw4, def4, extra4, def4}},
		{addrList("fd00::1"), extra, []string{def6, extra6}},
		{addrList("10.0.0.1", "fd00::1"), extra, []string{gw4, def4, extra4, def4, def6, extra6}},
	}
	for _, row := range rows {
		var got []string
		for _, r := range PodRoutes(row.addrs, row.extra) {
			got = append(got, r.String())
		}
		if fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%v with %v:\n got %q\nwant %q", row.addrs, row.extra, got, row.want)
		}
	}
	all := PodRoutes(addrList("10.0.0.1", "fd00::1"), extra)
	if all[0].Scope != 253 || all[2].MTU != 1400 || all[3].Table != 100 || all[5].Priority != 7 {
		t.Errorf("scope, MTU, table or priority is lost: %+v", all)
	}
	if extra[0].Via.IsValid() {
		t.Error("the caller's routes were changed")
	}
	t.Logf("%d sets of addresses", len(rows))
}
