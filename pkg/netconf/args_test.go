package netconf

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestParseArgs(t *testing.T) {
	a, b := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::3")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	rows := []struct {
		in   string
		want Args
	}{
		{"", Args{}},
		{"IP=10.1.2.3", Args{IP: []netip.Addr{a}}},
		{"IP=10.1.2.3/16,fd00::3/64;MAC=02:00:00:00:00:01", Args{IP: []netip.Addr{a, b}, MAC: mac}},
		{"MAC=0200.0000.0001", Args{MAC: mac}},
		{"K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod-0", Args{PodNamespace: "ns", PodName: "pod-0"}},
		{"IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_INFRA_CONTAINER_ID=c", Args{PodNamespace: "ns"}},
		{"FOO=;IP=10.1.2.3;IgnoreUnknown=TRUE", Args{IP: []netip.Addr{a}}},
		{"IgnoreUnknown=true;ip=x;Mac=y", Args{}},
		{"IgnoreUnknown=0", Args{}},
		{"VNET_NSG=web-nsg", Args{NSG: "web-nsg"}},
		{"VNET_NSG=" + idA + ";VNET_ASGS=Web,/s/API", Args{NSG: idA, ASGs: []string{"Web", "/s/API"}}},
		{"VNET_ASGS=" + numbered(20, "a%d"), Args{ASGs: strings.Split(numbered(20, "a%d"), ",")}},
		{"K8S_POD_NAME=", Args{}},
		{"IgnoreUnknown=1;K8S_POD_NAME=web;IgnoreUnknown=1;VNET_NSG=web-nsg", Args{PodName: "web", NSG: "web-nsg"}},
		{"IP=10.1.2.3;IgnoreUnknown=1;IP=10.1.2.3", Args{IP: []netip.Addr{a}}},
	}
	for _, row := range rows {
		got, err := ParseArgs(row.in)
		if err != nil {
			t.Errorf("%q: %v", row.in, err)
			continue
		}
		equal(t, row.in, got, row.want)
	}
	t.Logf("%d good", len(rows))
}

func TestParseArgsRefuses(t *testing.T) {
	rows := []struct{ in, key, value string }{
		{"FOO=bar", "FOO", "bar"},
		{"IP=10.1.2.3;FOO=bar;IgnoreUnknown=0", "FOO", "bar"},
		{"IgnoreUnknown=yes", "IgnoreUnknown", "yes"},
		{"ignoreunknown=1", "ignoreunknown", "1"},
		{"IP", "IP", "KEY=VALUE"},
		{"=x", "=x", "KEY=VALUE"},
		{"A=b=c;IgnoreUnknown=1", "A=b=c", "KEY=VALUE"},
		{"IP=10.1.2.3;", `""`, "KEY=VALUE"},
		{";", `""`, "KEY=VALUE"},
		{"IP=", "IP", `""`},
		{"IP=10.1.2", "IP", "10.1.2"},
		{"IP=10.1.2.3,", "IP", "10.1.2.3,"},
		{"IP=10.1.2.3/40", "IP", "10.1.2.3/40"},
		{"IP=0.0.0.0", "IP", "0.0.0.0"},
		{"IP=ff02::1", "IP", "ff02::1"},
		{"IP=::ffff:10.1.2.3", "IP", "::ffff:10.1.2.3"},
		{"IP=fe80::1%eth0", "IP", "fe80::1%eth0"},
		{"IP=10.1.2.3;IP=10.1.2.4", "IP", "10.1.2.4"},
		{"MAC=", "MAC", `""`},
		{"MAC=x", "MAC", "x"},
		{"MAC=01:00:00:00:00:01", "MAC", "multicast"},
		{"MAC=ff:ff:ff:ff:ff:ff", "MAC", "ff:ff:ff:ff:ff:ff"},
		{"MAC=00:00:00:00:00:00", "MAC", "zero"},
		{"MAC=02:00:00:00:00:00:00:01", "MAC", "02:00:00:00:00:00:00:01"},
		{"K8S_POD_NAME=a\x1b[2J", "K8S_POD_NAME", `a\x1b[2J`},
		{"K8S_POD_NAMESPACE=" + strings.Repeat("n", 254), "K8S_POD_NAMESPACE", "nnn"},
		{"VNET_NSG=", "VNET_NSG", `""`},
		{"VNET_NSG=a;VNET_NSG=b", "VNET_NSG", `"b"`},
		{"IgnoreUnknown=1;VNET_NSG=a;IgnoreUnknown=0", "IgnoreUnknown", `"0"`},
		{"VNET_NSG=a,b", "VNET_NSG", "comma"},
		{"VNET_NSG=a b", "VNET_NSG", "space"},
		{"VNET_NSG=*", "VNET_NSG", "*"},
		{"VNET_NSG=/s/", "VNET_NSG", "/s/"},
		{"VNET_NSG=" + strings.Repeat("n", 513), "VNET_NSG", "512"},
		{"VNET_NSG=a\xff", "VNET_NSG", `a\xff`},
		{"vnet_nsg=a", "vnet_nsg", "a"},
		{"VNET_ASGS=", "VNET_ASGS", "is empty"},
		{"VNET_ASGS=a,,b", "VNET_ASGS", `entry ""`},
		{"VNET_ASGS=a,b,A", "VNET_ASGS", `"a" twice`},
		{"VNET_ASGS=a,/s/x/A", "VNET_ASGS", `"a" twice`},
		{"VNET_ASGS=a,b/c", "VNET_ASGS", `entry "b/c"`},
		{"VNET_ASGS=" + numbered(21, "a%d"), "VNET_ASGS", "21 entries"},
		{"X\x00\xff=\n", `X\x00\xff`, `\n`},
	}
	for _, row := range rows {
		got, err := ParseArgs(row.in)
		if err == nil {
			t.Errorf("%q accepted as %+v", row.in, got)
			continue
		}
		if code := checkError(t, err); code != 4 {
			t.Errorf("%q: code %d: %v", row.in, code, err)
		}
		if !strings.Contains(err.Error(), row.key) || !strings.Contains(err.Error(), row.value) {
			t.Errorf("%q: message lacks %q or %q: %v", row.in, row.key, row.value, err)
		}
	}
	t.Logf("%d bad", len(rows))
}

func TestValidateAttachment(t *testing.T) {
	good := [][2]string{
		{"c", "eth0"},
		{"0123456789abcdefABCDEF_.-", "net1"},
		{strings.Repeat("c", 128), "abcdefghijklmno"},
		{"c", "..."},
		{"c", "eth0.100"},
		{"c", "eth@0"},
	}
	for _, row := range good {
		if err := ValidateAttachment(row[0], row[1]); err != nil {
			t.Errorf("%q: %v", row, err)
		}
	}
	bad := []struct{ id, ifName, want string }{
		{"", "eth0", `CNI_CONTAINERID: value ""`},
		{strings.Repeat("c", 129), "eth0", "CNI_CONTAINERID"},
		{"-c", "eth0", `"-c"`},
		{".c", "eth0", `".c"`},
		{"../c", "eth0", `"../c"`},
		{"c/d", "eth0", `"c/d"`},
		{"c d", "eth0", `"c d"`},
		{"c\n", "eth0", `"c\n"`},
		{"cé", "eth0", `"cé"`},
		{"c\x00", "eth0", `"c\x00"`},
		{"c", "", `CNI_IFNAME: value ""`},
		{"c", "abcdefghijklmnop", `"abcdefghijklmnop"`},
		{"c", ".", `"."`},
		{"c", "..", `".."`},
		{"c", "eth/0", `"eth/0"`},
		{"c", "eth:0", `"eth:0"`},
		{"c", "eth%d", `"eth%d"`},
		{"c", "eth 0", `"eth 0"`},
		{"c", "eth\t0", `"eth\t0"`},
		{"c", "eth\u00a00", "CNI_IFNAME"},
		{"c", "ethà", `"ethà"`}, // its second byte is A0
		{"c", "eth\x7f", `"eth\x7f"`},
		{"c", "eth\xff", `"eth\xff"`},
		{"c", "eth\x00", `"eth\x00"`},
	}
	for _, row := range bad {
		err := ValidateAttachment(row.id, row.ifName)
		if err == nil {
			t.Errorf("%q %q accepted", row.id, row.ifName)
			continue
		}
		if code := checkError(t, err); code != 4 || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q %q: code %d: %v", row.id, row.ifName, code, err)
		}
	}
	t.Logf("%d good, %d bad", len(good), len(bad))
}

func TestOneEdit(t *testing.T) {
	rows := []struct {
		a, b string
		want bool
	}{
		{"mode", "mod", true},
		{"mode", "modes", true},
		{"mode", "node", true},
		{"mode", "mdoe", true},
		{"mode", "edom", false},
		{"mode", "mo", false},
		{"mode", "", false},
		{"gw", "x", false},
		{"a", "b", false},
		{"mtu", "tmu", true},
		{"mtu", "mut", true},
	}
	for _, row := range rows {
		if oneEdit(row.a, row.b) != row.want || oneEdit(row.b, row.a) != row.want {
			t.Errorf("%q %q: want %v", row.a, row.b, row.want)
		}
	}
	t.Logf("%d pairs", len(rows))
}
