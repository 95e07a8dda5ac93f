package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// An IPAM plugin's answer that no pod can have is refused before anything is recorded:
// nobody could take it out of the sets again, nor put the others in.
func TestAdoptRefuses(t *testing.T) {
	answers := []string{"", "0.0.0.0/0", "::/64", "127.0.0.1/8", "::1/128", "224.0.0.9/24", "ff02::1/64"}
	for _, answer := range answers {
		var result types100.Result
		if ip, n, err := net.ParseCIDR(answer); err == nil {
			result.IPs = []*types100.IPConfig{{Address: net.IPNet{IP: ip, Mask: n.Mask}}}
		}
		conf := &netconf.Conf{Name: "pods", StateDir: t.TempDir(), IPAM: netconf.IPAM{Type: "some-ipam"}}
		a := &addition{call: &call{&verb.Call{Conf: conf}}, Attempt: &verb.Attempt{}}
		err := a.adopt(&result)
		if err == nil || cnierr.Object(err).Code != cnierr.Delegate || !strings.Contains(err.Error(), "some-ipam") || !strings.Contains(err.Error(), answer) {
			t.Errorf("%q: %v", answer, err)
		}
	}
	t.Logf("%d answers", len(answers))
}

// An IPAM plugin can answer with anything: what cannot be read is its error.
func TestDelegateAddRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CNI_PATH", dir)
	t.Setenv("CNI_COMMAND", "ADD")
	answers := []string{
		`{"cniVersion":"1.0.0","ips":[null]}`,
		`{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.5/24"}],"routes":[null]}`,
		`{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.5/24"}],"routes":[{}]}`,
		`{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.5/24"}],"interfaces":[null]}`,
		`{"cniVersion":"0.4.0","ips":[null]}`,
		`{"cniVersion":"0.3.1","routes":[null]}`,
		`{"cniVersion":"1.0.0","ips":[{}]}`,
		`{"cniVersion":"7.0.0"}`,
		`[]`,
		``,
	}
	for _, answer := range answers {
		script := "#!/bin/sh\ncat >/dev/null\ncat <<'END'\n" + answer + "\nEND\n"
		if err := os.WriteFile(filepath.Join(dir, "some-ipam"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		r, err := delegateAdd("some-ipam", []byte(`{"cniVersion":"1.0.0","name":"pods","ipam":{"type":"some-ipam"}}`))
		if err == nil || cnierr.Object(err).Code != cnierr.Delegate || !strings.Contains(err.Error(), "some-ipam") {
			t.Errorf("%s: %v, %v", answer, r, err)
		}
	}
	t.Logf("%d answers", len(answers))
}
