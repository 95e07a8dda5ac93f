package main

import (
	"net/netip"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// pod is what the main plugin made.
type pod struct {
	names []string     // of its interfaces
	addrs []netip.Addr // of these, and after find those that work on their links alone
	ends  []link.End   // after find: the node's ends of its interfaces
}

// podOf takes from a result the addresses of the container's interfaces. One that
// names no interface is of the one that the runtime asked for.
func podOf(r *types100.Result, ifName string) (pod, error) {
	p := pod{names: []string{ifName}}
	for _, ip := range r.IPs {
		if i := ip.Interface; i != nil {
			of := r.Interfaces[*i]
			if of.Sandbox == "" {
				continue // the node's own
			}
			if !slices.Contains(p.names, of.Name) {
				p.names = append(p.names, of.Name)
			}
		}
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		a = a.Unmap()
		if reason := netconf.UnicastFault(a); reason != "" {
			return p, cnierr.Errorf(cnierr.Config, "prevResult: address %s %s", a, reason)
		}
		if !slices.Contains(p.addrs, a) {
			p.addrs = append(p.addrs, a)
		}
	}
	if len(p.addrs) == 0 {
		return p, cnierr.Errorf(cnierr.Config, "prevResult: it has no address of interface %s, and vnet-nsg judges by addresses", ifName)
	}
	return p, nil
}

// find looks for the pod's interfaces and their other ends. Addresses that work on a
// link alone come to the others: within a bridge they lead to other pods.
func (p *pod) find(h *link.Host, s *link.Sandbox) error {
	for _, name := range p.names {
		e, err := h.EndOf(s, name)
		if err != nil {
			return unfiltered(err)
		}
		p.ends = append(p.ends, e)
		for _, a := range e.LinkLocal {
			if !slices.Contains(p.addrs, a) {
				p.addrs = append(p.addrs, a)
			}
		}
	}
	return nil
}

func (p *pod) families() (ipv4, ipv6 bool) {
	for _, a := range p.addrs {
		ipv4, ipv6 = ipv4 || a.Is4(), ipv6 || a.Is6()
	}
	return ipv4, ipv6
}

// String lists the addresses.
func (p pod) String() string {
	words := make([]string, len(p.addrs))
	for i, a := range p.addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ",")
}
