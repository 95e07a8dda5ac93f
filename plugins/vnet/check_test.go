package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// A later plugin's MAC address counts; what is none is prevResult's fault, and what is
// missing is told.
func TestResultProblems(t *testing.T) {
	const address = `"ips":[{"address":"10.1.0.7/32"}]`
	rows := []struct {
		result   string
		mac      string
		problems string // "" for none
		refused  string // part of the error
	}{
		{`{"interfaces":[{"name":"eth0","sandbox":"/x","mac":"0a:00:00:00:00:02"}],` + address + `}`, "0a:00:00:00:00:02", "", ""},
		{`{"interfaces":[{"name":"eth0","sandbox":"/x","mac":"not one"}],` + address + `}`, "", "", `"not one"`},
		{`{"interfaces":[{"name":"eth0","mac":"0a:00:00:00:00:02"}],` + address + `}`, "0a:00:00:00:00:01", "the interface eth0", ""},
		{`{"interfaces":[{"name":"eth0","sandbox":"/x","mac":"0a:00:00:00:00:02"}]}`, "0a:00:00:00:00:02", "10.1.0.7", ""},
	}
	for _, row := range rows {
		var r types100.Result
		if err := json.Unmarshal([]byte(row.result), &r); err != nil {
			t.Fatal(err)
		}
		c := &call{&verb.Call{Key: ipam.Key{ContainerID: "c1", IfName: "eth0"}, Conf: &netconf.Conf{PrevResult: &r}}}
		record := attachment.Record{PodMAC: "0a:00:00:00:00:01"}
		lease := ipam.Lease{Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.7/16")}}
		problems, err := c.resultProblems(lease, &record)
		if row.refused != "" {
			if err == nil || cnierr.Object(err).Code != cnierr.Config || !strings.Contains(err.Error(), row.refused) {
				t.Errorf("%s: %v, %v", row.result, problems, err)
			}
			continue
		}
		got := strings.Join(problems, ";")
		if err != nil || record.PodMAC != row.mac || (row.problems == "") != (got == "") || !strings.Contains(got, row.problems) {
			t.Errorf("%s: %q, MAC %s, %v", row.result, got, record.PodMAC, err)
		}
	}
	t.Logf("%d results", len(rows))
}
