package attachment

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"pgregory.net/rapid"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

func drawAddr(t *rapid.T, label string) netip.Addr {
	if rapid.Bool().Draw(t, label+" is IPv4") {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, label)))
	}
	return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))).Unmap()
}

func drawPrefix(t *rapid.T, label string) netip.Prefix {
	a := drawAddr(t, label)
	return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, label+" bits")).Masked()
}

func drawRoute(t *rapid.T) link.Route {
	r := link.Route{
		Dst: drawPrefix(t, "dst"), Scope: rapid.Uint8().Draw(t, "scope"), MTU: rapid.IntRange(0, 65535).Draw(t, "mtu"),
		AdvMSS: rapid.IntRange(0, 65535).Draw(t, "advmss"), Priority: rapid.IntRange(0, 1<<31-1).Draw(t, "priority"),
		Table: rapid.IntRange(0, 1<<31-1).Draw(t, "table"),
	}
	if rapid.Bool().Draw(t, "has a next hop") {
		r.Via = drawAddr(t, "via")
	}
	return r
}

func drawRecord(t *rapid.T) Record {
	r := Record{
		HostVeth: rapid.StringMatching(`vnet[0-9a-f]{11}`).Draw(t, "veth"), Sandbox: rapid.String().Draw(t, "sandbox"),
		PodMAC: rapid.StringMatching(`([0-9a-f]{2}:){5}[0-9a-f]{2}`).Draw(t, "mac"), Uplink: rapid.StringMatching(`[a-z0-9.]{0,15}`).Draw(t, "uplink"),
		Masquerade: rapid.Bool().Draw(t, "masquerade"), Pod: rapid.SampledFrom([]string{"", "default/web"}).Draw(t, "pod"),
		Judged: rapid.Bool().Draw(t, "judged"), Lost: rapid.Bool().Draw(t, "lost"),
		Group: rapid.StringN(0, 5, -1).Draw(t, "group"), Next: rapid.StringN(0, 5, -1).Draw(t, "next"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "asgs") {
		r.ASGs = append(r.ASGs, rapid.String().Draw(t, "asg"))
	}
	if rapid.Bool().Draw(t, "answered") {
		r.DNS.Domain = "internal.cloudapp.net"
	}
	for range rapid.IntRange(0, 4).Draw(t, "routes") {
		r.Routes = append(r.Routes, drawRoute(t))
	}
	for range rapid.IntRange(0, 4).Draw(t, "exceptions") {
		r.Except = append(r.Except, drawPrefix(t, "except"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "fresh addresses") {
		r.Fresh = append(r.Fresh, drawAddr(t, "fresh"))
	}
	if rapid.Bool().Draw(t, "delegated") {
		r.Delegate = &Delegate{Type: "host-local", Config: json.RawMessage(fmt.Sprintf(`{"n":%d,"s":"\u003c"}`, rapid.Int().Draw(t, "n")))}
	}
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		want := drawRecord(t)
		raw, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, ours, err := Of(ipam.Lease{Attachment: raw})
		if err != nil || !ours || !reflect.DeepEqual(got, normal(want)) {
			t.Fatalf("%+v came back as %+v, %v, %v", want, got, ours, err)
		}
	})
	t.Logf("%d records", count)
}

// normal is what JSON makes of text that is no UTF-8 and of escaped text.
func normal(r Record) Record {
	r.Sandbox = strings.ToValidUTF8(r.Sandbox, "\ufffd")
	return r
}

// A record goes through the store unchanged, also with everything in it.
func TestRecordThroughTheStore(t *testing.T) {
	s := ipam.New(ipam.Options{Dir: t.TempDir(), Network: "pods"})
	want := Record{
		HostVeth: "vnet62b22f842bf", Sandbox: "/run/netns/c1", PodMAC: "0a:20:4e:05:55:9a", Uplink: "eth0",
		Routes:     []link.Route{{Dst: netip.MustParsePrefix("10.9.0.0/16"), MTU: 1400, Table: 100}},
		Masquerade: true, Except: []netip.Prefix{netip.MustParsePrefix("fd00::/8")},
		Delegate: &Delegate{Type: "host-local", Config: json.RawMessage(`{"cniVersion":"1.0.0","ipam":{"x":[1,2]}}`)},
	}
	raw, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key := ipam.Key{ContainerID: "c1", IfName: "eth0"}
	address := netip.MustParsePrefix("10.241.4.7/16")
	if err := s.Record(ipam.Lease{Key: key, Addresses: []netip.Prefix{address}, Attachment: raw}); err != nil {
		t.Fatal(err)
	}
	l, found, err := s.Get(key)
	if err != nil || !found {
		t.Fatalf("%v, %v", found, err)
	}
	got, ours, err := Of(l)
	if err != nil || !ours || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v came back as %+v, %v, %v", want, got, ours, err)
	}
	if addrs := Addrs(l); len(addrs) != 1 || addrs[0] != address.Addr() {
		t.Errorf("addresses %v", addrs)
	}
	t.Log("1 lease")
}

// Encode writes what encoding/json would, so that a record which did not change is
// the same bytes, whoever wrote it.
func TestRecordIsEncodingJSONs(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		r := drawRecord(t)
		r.Sandbox += "/"
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Encode(); err != nil || string(got) != string(want) {
			t.Fatalf("%s, %v; want\n%s", got, err, want)
		}
	})
	t.Logf("%d records", count)
}

// A field that is new in Record is not forgotten in Encode.
func TestEncodeHasEveryField(t *testing.T) {
	full := Record{
		HostVeth: "v", Sandbox: "s", Pod: "n/p", PodMAC: "m", Uplink: "u", Routes: []link.Route{{MTU: 1}},
		Masquerade: true, Except: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Judged: true, Group: "g", Next: "h", ASGs: []string{"a"}, Lost: true,
		Foreign: true, Ends: make([]End, 1), Fresh: []netip.Addr{netip.IPv6Loopback()},
		Delegate: &Delegate{Type: "host-local", Config: []byte("{}")}, DNS: types.DNS{Domain: "d"},
	}
	fields := reflect.ValueOf(full)
	for i := range fields.NumField() {
		if fields.Field(i).IsZero() {
			t.Errorf("field %s is not tried", fields.Type().Field(i).Name)
		}
	}
	want, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := full.Encode(); err != nil || string(got) != string(want) {
		t.Errorf("%s, %v; want\n%s", got, err, want)
	}
	t.Logf("%d fields", fields.NumField())
}

// A record of a pod that lives has to be readable by the next version.
func TestRecordAsJSON(t *testing.T) {
	raw, err := Record{HostVeth: "vnet62b22f842bf", Sandbox: "/run/netns/c1", PodMAC: "0a:20:4e:05:55:9a"}.Encode()
	const want = `{"hostVeth":"vnet62b22f842bf","sandbox":"/run/netns/c1","podMAC":"0a:20:4e:05:55:9a"}`
	if err != nil || string(raw) != want {
		t.Errorf("%s, %v; want %s", raw, err, want)
	}
	t.Log("1 record")
}

func TestOfForeignLeases(t *testing.T) {
	rows := []struct {
		attachment string
		fails      bool
	}{
		{"", false}, {"null", false}, {"{}", false}, {`{"other":"plugin"}`, false}, {`{"hostVeth":""}`, false},
		{`{"hostVeth":`, true}, {`[]`, true}, {`"text"`, true}, {`{"hostVeth":7}`, true}, {`{"hostVeth":"vnet0","except":["x"]}`, true},
	}
	for _, row := range rows {
		l := ipam.Lease{Key: ipam.Key{ContainerID: "c1"}, Attachment: json.RawMessage(row.attachment)}
		r, ours, err := Of(l)
		if ours || (err != nil) != row.fails {
			t.Errorf("Of(%s) = %+v, %v, %v", row.attachment, r, ours, err)
		}
		if err != nil && !strings.Contains(err.Error(), "c1") {
			t.Errorf("Of(%s): %v does not name the container", row.attachment, err)
		}
	}
	t.Logf("%d leases", len(rows))
}

func TestRules(t *testing.T) {
	r := Record{Masquerade: true, Except: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	rows := []struct {
		addrs  []netip.Addr
		v4, v6 bool
	}{{nil, false, false}, {[]netip.Addr{v4}, true, false}, {[]netip.Addr{v6}, false, true}, {[]netip.Addr{v6, v4}, true, true}}
	for _, row := range rows {
		n := r.Rules("pods", "/run/x", row.addrs)
		if n.IPv4 != row.v4 || n.IPv6 != row.v6 || n.Name != "pods" || n.StateDir != "/run/x" || !n.Masquerade || len(n.Except) != 1 {
			t.Errorf("%v: %+v", row.addrs, n)
		}
	}
	t.Logf("%d sets of addresses", len(rows))
}
