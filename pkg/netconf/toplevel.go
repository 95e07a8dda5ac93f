package netconf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

const validAttachmentsKey = "cni.dev/valid-attachments"

// Smallest MTUs: every IPv4 host takes 576 bytes (RFC 791), and the kernel
// turns IPv6 off on a link below 1280 (RFC 8200).
const (
	minMTU4 = 576
	minMTU6 = 1280
	maxMTU  = 65535
)

// vital tells which keys decide whose leases go, and so are never guessed.
func vital(key string) bool {
	return key == "name" || key == "stateDir" || key == validAttachmentsKey
}

// topLevel lists the keys that the plugin reads. What the runtime adds comes
// last, for it is judged by the rest.
func (d *decoder) topLevel() []field {
	fields := []field{
		{key: "name", set: d.name, need: "every network has a name", vital: true},
		{key: "cniVersion", set: d.cniVersion, need: `the configuration says which version of CNI it follows, such as "1.0.0"`},
		{key: "stateDir", set: d.stateDir, vital: true},
	}
	if d.plugin != VNetNSG {
		fields = append(fields, field{key: "ipam", set: d.ipam, need: "an object with the type and the pools of the addresses is required"})
	}
	switch d.plugin {
	case VNet:
		fields = append(fields, d.mainPlugin()...)
	case VNetNSG:
		fields = append(fields, field{key: "nsg", set: d.nsg, need: "an object that names the documents of the network security groups is required"})
	}
	if d.plugin != VNetIPAM {
		fields = append(fields, d.cni()...)
	}
	return d.soften(append(fields,
		field{key: "runtimeConfig", set: d.runtimeConfig},
		field{key: "prevResult", set: d.prevResult},
		field{key: validAttachmentsKey, set: d.validAttachments, vital: true},
	))
}

// mainPlugin lists the keys that only the main plugin reads.
func (d *decoder) mainPlugin() []field {
	return []field{
		{key: "mode", set: d.mode},
		{key: "uplink", set: d.uplink},
		{key: "mtu", set: d.mtu},
		{key: "masquerade", set: d.masquerade},
		{key: "nsg", set: d.nsg},
		{key: "dns", set: d.dns},
	}
}

// cni lists the keys that the CNI specification or libcni put there for others.
func (d *decoder) cni() []field {
	return []field{
		{key: "type", set: d.pluginType, need: "the plugin's name is required"},
		{key: "cniVersions"},
		{key: "capabilities"},
		{key: "args"},
		{key: "disableCheck"},
		{key: "disableGC"},
		{key: "loadOnlyInlinedPlugins"},
	}
}

func (d *decoder) name(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	if reason := nameFault(s, maxNetworkName); reason != "" {
		return fault(cnierr.Config, path, raw, reason)
	}
	d.conf.Name = s
	return nil
}

// cniVersion is not judged: the negotiation of versions comes before.
func (d *decoder) cniVersion(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	if s == "" {
		return fault(cnierr.Config, path, raw, "is empty")
	}
	d.conf.CNIVersion = s
	return nil
}

func (d *decoder) pluginType(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	if reason := fileNameFault(s); reason != "" {
		return fault(cnierr.Config, path, raw, reason)
	}
	return nil
}

// stateDir must be written clean, so that one directory has one name. A lenient
// reader cleans it: a slash too many must not strand the pods.
func (d *decoder) stateDir(key string, raw json.RawMessage) error {
	s, err := absolutePath(key, raw)
	if err != nil {
		return err
	}
	clean := path.Clean(s)
	if clean != s && !d.lenient {
		return uncleanFault(key, raw, clean)
	}
	d.conf.StateDir = clean
	return nil
}

func (d *decoder) mode(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	if m := Mode(s); m == ModeVNet || m == ModeOverlay {
		d.conf.Mode = m
		return nil
	}
	return fault(cnierr.Config, path, raw, `is neither "vnet" nor "overlay"`)
}

func (d *decoder) uplink(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	if reason := ifNameFault(s); reason != "" {
		return fault(cnierr.Config, path, raw, reason)
	}
	d.conf.Uplink = s
	return nil
}

func (d *decoder) mtu(path string, raw json.RawMessage) error {
	n, err := whole(path, raw, 0, maxMTU)
	if err != nil {
		return err
	}
	if n != 0 && n < minMTU4 {
		return fault(cnierr.Config, path, raw, fmt.Sprintf("is below %d, the least for IPv4", minMTU4))
	}
	d.conf.MTU, d.mtuRaw = n, raw
	return nil
}

func (d *decoder) masquerade(path string, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	m := &Masquerade{}
	err := d.object(path, raw, []field{{key: "except", set: func(path string, raw json.RawMessage) error {
		var err error
		m.Except, err = prefixes(path, raw)
		return err
	}}}, false)
	if err != nil {
		return err
	}
	d.conf.Masquerade = m
	return nil
}

func prefixes(path string, raw json.RawMessage) ([]netip.Prefix, error) {
	list, err := elements(path, raw)
	if err != nil {
		return nil, err
	}
	out := make([]netip.Prefix, 0, len(list))
	for i, e := range list {
		p, err := prefix(index(path, i), e)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (d *decoder) dns(path string, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var dns types.DNS
	list := func(to *[]string) setter {
		return func(path string, raw json.RawMessage) (err error) {
			if !isNull(raw) {
				*to, err = texts(path, raw)
			}
			return err
		}
	}
	domain := func(path string, raw json.RawMessage) (err error) {
		dns.Domain, err = text(path, raw)
		return err
	}
	err := d.object(path, raw, []field{
		{key: "nameservers", set: list(&dns.Nameservers)},
		{key: "domain", set: domain},
		{key: "search", set: list(&dns.Search)},
		{key: "options", set: list(&dns.Options)},
	}, false)
	if err != nil {
		return err
	}
	d.conf.DNS = dns
	return nil
}

// checkTogether applies the rules that need more than one key.
func (d *decoder) checkTogether() error {
	if err := d.checkRanges(); err != nil {
		return err
	}
	if err := d.checkGateways(); err != nil {
		return err
	}
	if err := d.checkRoutes(); err != nil {
		return err
	}
	return d.checkMTU()
}

// checkRanges wants ranges of the main plugin in mode vnet, where every node
// leases from the same subnets.
func (d *decoder) checkRanges() error {
	if d.plugin != VNet || d.conf.Mode != ModeVNet {
		return nil
	}
	for i, p := range d.conf.IPAM.Pools {
		if len(p.Ranges) == 0 {
			return missing(index("ipam.pools", i)+".ranges",
				fmt.Sprintf("in mode vnet subnet %s is every node's, and two nodes must not share a pool", p.Subnet))
		}
	}
	return nil
}

func (d *decoder) checkMTU() error {
	if d.conf.MTU == 0 || d.conf.MTU >= minMTU6 {
		return nil
	}
	for _, p := range d.conf.IPAM.Pools {
		if p.Subnet.Addr().Is6() {
			return fault(cnierr.Config, "mtu", d.mtuRaw,
				fmt.Sprintf("is below %d, the least for IPv6, which subnet %s needs", minMTU6, p.Subnet))
		}
	}
	return nil
}
