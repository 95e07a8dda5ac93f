package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// endText is an end as somebody described it.
type endText struct {
	name      string
	addresses []string
	asgs      []string
	nsg       string // group of its interface; "": the one of --interface-nsg
	subnetNSG string // group of its subnet; "": the documents' subnet's, or the one of --nsg
	outside   bool   // no groups are its own
}

// noGroup stands for no group, where "" would be the usual one.
const noGroup = "-"

// The keys of an end.
const (
	keyName      = "name"
	keyAddresses = "addresses"
	keyASGs      = "asgs"
	keyNSG       = "nsg"
	keySubnetNSG = "subnetNSG"
	keyOutside   = "outside"

	flagKeys = "asgs, nsg and subnetNSG"
	fileKeys = "name, addresses, asgs, nsg, subnetNSG and outside"
)

// parseEndFlag reads "NAME=ADDRESSES [asgs=A,B] [nsg=GROUP] [subnetNSG=GROUP]".
func parseEndFlag(text string) (endText, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return endText{}, errors.New("it must be NAME=ADDRESSES, and what is known of it")
	}
	name, addresses, found := strings.Cut(fields[0], "=")
	if !found || name == "" {
		return endText{}, &fieldError{keyName, fields[0], "it must be NAME=ADDRESSES"}
	}
	e := endText{name: name, addresses: strings.Split(addresses, ",")}
	seen := map[string]bool{}
	for _, field := range fields[1:] {
		key, value, found := strings.Cut(field, "=")
		switch {
		case !found || value == "":
			return e, &fieldError{key, value, "it must be KEY=VALUE, with one of " + flagKeys}
		case seen[key]:
			return e, &fieldError{key, value, "the key is there twice"}
		case key == keyASGs:
			e.asgs = strings.Split(value, ",")
		case key == keyNSG:
			e.nsg = value
		case key == keySubnetNSG:
			e.subnetNSG = value
		default:
			return e, &fieldError{key, value, "the key is unknown; there are " + flagKeys}
		}
		seen[key] = true
	}
	return e, e.check()
}

// readEnds reads a YAML list, which a JSON list is as well. Keys are strict.
func readEnds(file string) ([]endText, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagEnds, err)
	}
	list, err := yamlList(data, "ends")
	if err != nil {
		return nil, fmt.Errorf("--%s: %s: %w", flagEnds, file, err)
	}
	var all []endText
	for i, entry := range list {
		e, err := parseEndEntry(resolved(entry))
		if err != nil {
			return nil, fmt.Errorf("--%s: %s:%d: entry %d: %w", flagEnds, file, entry.Line, i+1, err)
		}
		all = append(all, e)
	}
	return all, nil
}

func parseEndEntry(entry *yaml.Node) (endText, error) {
	var e endText
	if _, err := eachField(entry, fileKeys, e.set); err != nil {
		return e, err
	}
	return e, e.check()
}

func (e *endText) set(key string, value *yaml.Node) (err error) {
	switch key {
	case keyName:
		e.name, err = text(key, value)
	case keyAddresses:
		e.addresses, err = texts(key, value)
	case keyASGs:
		e.asgs, err = texts(key, value)
	case keyNSG:
		e.nsg, err = text(key, value)
	case keySubnetNSG:
		e.subnetNSG, err = text(key, value)
	case keyOutside:
		if value.Kind != yaml.ScalarNode || value.Decode(&e.outside) != nil {
			err = &fieldError{key, value.Value, "it must be true or false"}
		}
	default:
		err = &fieldError{key, value.Value, "the key is unknown; there are " + fileKeys}
	}
	return err
}

// check finds what no end may be.
func (e *endText) check() error {
	if e.name == "" {
		return &fieldError{keyName, e.name, "it must be there"}
	}
	if _, err := e.addressSet(); err != nil {
		return err
	}
	if _, err := parseASGs(keyASGs, e.asgs); err != nil {
		return err
	}
	for _, of := range []struct{ key, value string }{{keyNSG, e.nsg}, {keySubnetNSG, e.subnetNSG}, {keyASGs, strings.Join(e.asgs, ",")}} {
		if e.outside && of.value != "" {
			return &fieldError{of.key, of.value, "a network outside has none"}
		}
	}
	return nil
}

// addressSet reads the end's addresses: CIDRs and single addresses.
func (e *endText) addressSet() (nsg.AddressSet, error) {
	var prefixes []netip.Prefix
	for _, s := range e.addresses {
		p, err := netip.ParsePrefix(s)
		if a, single := netip.ParseAddr(s); single == nil {
			p, err = netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen()), nil
		}
		switch {
		case err != nil:
			return nsg.AddressSet{}, &fieldError{keyAddresses, s, "it must be addresses or prefixes such as 10.241.4.0/24"}
		case p.Addr().Is4In6():
			return nsg.AddressSet{}, &fieldError{keyAddresses, s, "it is an IPv4 prefix written as IPv6; write it as IPv4"}
		case p != p.Masked():
			return nsg.AddressSet{}, &fieldError{keyAddresses, s, fmt.Sprintf("it has host bits; the prefix is %v", p.Masked())}
		}
		prefixes = append(prefixes, p)
	}
	set := nsg.NewAddressSet(prefixes...).Minus(nobodys())
	if set.IsEmpty() {
		return set, &fieldError{keyAddresses, strings.Join(e.addresses, ","), "there must be one that a machine can have"}
	}
	return set, nil
}

// nobodys is addresses that no machine has: multicast and broadcast.
func nobodys() nsg.AddressSet {
	return nsg.NewAddressSet(netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("ff00::/8"))
}
