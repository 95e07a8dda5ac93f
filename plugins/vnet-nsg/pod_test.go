package main

import (
	"encoding/json"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// The addresses are those of the container's interfaces, and of no other's.
func TestPodOf(t *testing.T) {
	const interfaces = `"interfaces":[{"name":"cni0"},{"name":"veth1"},{"name":"eth0","sandbox":"/run/netns/x"},{"name":"net1","sandbox":"/run/netns/x"}]`
	rows := []struct {
		what, ips    string
		addrs, names string
	}{
		{"of the interface", `{"address":"10.1.0.7/24","interface":2}`, "10.1.0.7", "eth0"},
		{"of both families", `{"address":"10.1.0.7/24","interface":2},{"address":"fd00::7/64","interface":2}`, "10.1.0.7,fd00::7", "eth0"},
		{"of no interface in particular", `{"address":"10.1.0.7/24"}`, "10.1.0.7", "eth0"},
		{"of two interfaces", `{"address":"10.1.0.7/24","interface":2},{"address":"10.2.0.7/24","interface":3}`, "10.1.0.7,10.2.0.7", "eth0,net1"},
		{"of the node as well", `{"address":"10.1.0.1/24","interface":0},{"address":"10.1.0.7/24","interface":2}`, "10.1.0.7", "eth0"},
		{"twice", `{"address":"10.1.0.7/24","interface":2},{"address":"10.1.0.7/16","interface":2}`, "10.1.0.7", "eth0"},
		{"IPv4 in IPv6", `{"address":"::ffff:10.1.0.7/120","interface":2}`, "10.1.0.7", "eth0"},
		{"of the node only", `{"address":"10.1.0.1/24","interface":0}`, "", ""},
		{"none", ``, "", ""},
	}
	for _, row := range rows {
		var r types100.Result
		if err := json.Unmarshal([]byte(`{"cniVersion":"1.0.0",`+interfaces+`,"ips":[`+row.ips+`]}`), &r); err != nil {
			t.Fatal(err)
		}
		p, err := podOf(&r, "eth0")
		if row.addrs == "" {
			if err == nil || cnierr.Object(err).Code != cnierr.Config || !strings.Contains(err.Error(), "eth0") {
				t.Errorf("%s: %v", row.what, err)
			}
			continue
		}
		if err != nil || p.String() != row.addrs || strings.Join(p.names, ",") != row.names {
			t.Errorf("%s: %s of %q, %v; want %s of %s", row.what, p, p.names, err, row.addrs, row.names)
		}
		if ipv4, ipv6 := p.families(); ipv4 != strings.Contains(row.addrs, ".") || ipv6 != strings.Contains(row.addrs, ":") {
			t.Errorf("%s: IPv4 %t, IPv6 %t", row.what, ipv4, ipv6)
		}
	}
	t.Logf("%d results", len(rows))
}

// What no pod can have is no address to judge by: the node's own packets may bear it.
func TestPodOfRefuses(t *testing.T) {
	rows := map[string]string{"0.0.0.0/0": "0.0.0.0", "::/64": "::", "127.0.0.1/8": "127.0.0.1", "::1/128": "::1", "224.0.0.9/24": "224.0.0.9",
		"ff02::1/64": "ff02::1", "::ffff:0.0.0.0/96": "0.0.0.0"}
	for ip, say := range rows {
		var r types100.Result
		if err := json.Unmarshal([]byte(`{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.7/24"},{"address":"`+ip+`"}]}`), &r); err != nil {
			t.Fatal(err)
		}
		p, err := podOf(&r, "eth0")
		if err == nil || cnierr.Object(err).Code != cnierr.Config || !strings.Contains(err.Error(), say+" ") {
			t.Errorf("%s: %s, %v", ip, p, err)
		}
	}
	t.Logf("%d results", len(rows))
}
