package main

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
	"github.com/vnet-cni/vnet-cni/pkg/review"
)

// TestDiffInANetworkThatNobodyKnows: the removed rule matters only where its addresses
// are in the tag VirtualNetwork, which they may be.
func TestDiffInANetworkThatNobodyKnows(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "old.json"), filepath.Join(dir, "new.json")}
	for i, rules := range []string{`{"name":"no-db","priority":100,"direction":"Inbound","access":"Deny","protocol":"Tcp","sourceAddressPrefix":"10.0.0.0/8",
 "sourcePortRange":"*","destinationAddressPrefix":"10.1.0.0/24","destinationPortRange":"5432"}`, ""} {
		if err := os.WriteFile(files[i], []byte(`{"name":"n","type":"Microsoft.Network/networkSecurityGroups","securityRules":[`+rules+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := vnetctl("diff", files[0], files[1])
	const row = "Deny -> Allow  Inbound    Tcp       members of VirtualNetwork in 10.0.0.0/8  members of VirtualNetwork in 10.1.0.0/24 port 5432  securityRules/no-db (n)  defaultSecurityRules/AllowVnetInBound (n)"
	if a.status != exitFailed || !strings.Contains(a.stdout, row) || strings.Count(a.stderr, "note:") != 1 || !strings.Contains(a.stderr, "--virtual-network") {
		t.Errorf("without a network: %+v", a)
	}
	if a = vnetctl("diff", files[0], files[1], "--virtual-network", "192.168.0.0/16"); a.status != 0 || a.stderr != "" {
		t.Errorf("in another network: %+v", a)
	}
	if a = vnetctl("diff", files[0], files[0]); a.status != 0 {
		t.Errorf("the same twice: %+v", a)
	}
}

// TestDiffHoldsInAnyNetwork compares groups in a network that nobody knows, and asks
// for flows in some that there may be.
func TestDiffHoldsInAnyNetwork(t *testing.T) {
	tried, changed := 0, 0
	for seed := uint64(1); tried < 40_000; seed++ {
		r := rand.New(rand.NewPCG(seed, 13))
		d := tagged(r, 1+r.IntN(12))
		e := d
		e.Rules = slices.Clone(d.Rules)
		for range 1 + r.IntN(3) {
			i, k := r.IntN(len(e.Rules)), r.IntN(len(e.Rules))
			e.Rules[i], e.Rules[k] = e.Rules[k], e.Rules[i]
			e.Rules[i].Priority, e.Rules[k].Priority = e.Rules[k].Priority, e.Rules[i].Priority
			if r.IntN(2) == 0 {
				e.Rules[i].Access = map[string]string{"Allow": "Deny", "Deny": "Allow"}[e.Rules[i].Access]
			}
		}
		homeless := nsg.Tags{Services: nsgtest.Tags().Services}
		before, after := inAny(policyWith(t, d, homeless)), inAny(policyWith(t, e, homeless))
		for _, direction := range []nsg.Direction{nsg.Inbound, nsg.Outbound} {
			c := flowspace.Compare(flowspace.All(direction), flowspace.Policies{Subnet: before}, flowspace.Policies{Subnet: after}, 100_000)
			for range 4 {
				tags := nsg.Tags{VirtualNetwork: someNetwork(r), Services: homeless.Services}
				p, q := policyWith(t, d, tags), policyWith(t, e, tags)
				for range 60 {
					tried++
					f := nsgtest.Flow(r, p, direction, r.IntN(3) == 0)
					differs := p.First(f).Access != q.First(f).Access
					for _, end := range []struct {
						address netip.Addr
						asgs    *[]string
					}{{f.Local, &f.LocalASGs}, {f.Remote, &f.RemoteASGs}} {
						if tags.VirtualNetwork.Contains(end.address.Unmap()) {
							*end.asgs = append(slices.Clone(*end.asgs), review.VirtualNetwork)
						}
					}
					n := 0
					for _, ch := range c.Changes {
						for _, b := range ch.Boxes {
							if b.Contains(f) {
								n++
							}
						}
					}
					if differs && n != 1 || !differs && n != 0 {
						t.Fatalf("seed %d: %+v changes: %t; it is in %d boxes", seed, f, differs, n)
					}
					if differs {
						changed++
					}
				}
			}
		}
	}
	if changed < tried/100 {
		t.Errorf("%d of %d flows change: they prove little", changed, tried)
	}
	t.Logf("%d flows, %d of them changed", tried, changed)
}

// tagged is a random group in which the tag VirtualNetwork is frequent.
func tagged(r *rand.Rand, rules int) nsg.Definition {
	d := nsgtest.Group(r, "group", rules)
	for i := range d.Rules {
		for _, e := range []*nsg.EndpointDefinition{&d.Rules[i].Source, &d.Rules[i].Destination} {
			if tags := []string{"VirtualNetwork", "virtualnetwork", "Internet", "AzureLoadBalancer"}; r.IntN(3) == 0 {
				e.Prefix, e.Prefixes, e.ASGs = tags[r.IntN(len(tags))], nil, nil
			}
		}
	}
	return d
}

// someNetwork is private addresses that a virtual network may have.
func someNetwork(r *rand.Rand) nsg.AddressSet {
	var list []netip.Prefix
	for _, p := range []string{"10.241.0.0/16", "10.241.200.0/24", "10.250.0.0/24", "172.16.0.0/12", "fd00:241::/48", "fd00:241:0:7::/64"} {
		if r.IntN(2) == 0 {
			list = append(list, netip.MustParsePrefix(p))
		}
	}
	return nsg.NewAddressSet(list...)
}

func policyWith(t *testing.T, d nsg.Definition, tags nsg.Tags) *nsg.Policy {
	t.Helper()
	g, findings := nsg.New(d)
	if g == nil {
		t.Fatalf("%+v", findings)
	}
	p, findings := nsg.NewPolicy(g, tags)
	if p == nil {
		t.Fatalf("%+v", findings)
	}
	return p
}
