package nsg

import (
	"net/netip"
	"strings"
)

// builtIn names the tags whose meaning needs no file. One of that name in a file
// is not looked at.
var builtIn = [...]string{
	"VirtualNetwork", "AzureLoadBalancer", "Internet",
	"AzurePlatformDNS", "AzurePlatformIMDS", "AzurePlatformLKM",
}

// Resolve returns the addresses of a tag, whose name may be in any case, and
// whether anybody knows it.
func (t *Tags) Resolve(tag string) (AddressSet, bool) {
	switch name := strings.ToLower(tag); name {
	case "virtualnetwork":
		return t.virtualNetwork(), true
	case "internet":
		return t.internet(), true
	case "azureloadbalancer", "azureplatformdns":
		return NewAddressSet(wireServer), true
	case "azureplatformimds":
		return NewAddressSet(metadata), true
	case "azureplatformlkm":
		// Unsure: no source tells the licensing service's address. With this one a rule
		// for the tag denies no less than Azure does.
		return NewAddressSet(wireServer), true
	default:
		s, known := t.Services[name]
		return s, known
	}
}

// isPlatformTag reports whether rules for the tag decide about the platform's
// addresses, as no other rule does.
func isPlatformTag(tag string) bool {
	const prefix = "azureplatform"
	switch name, found := strings.CutPrefix(strings.ToLower(tag), prefix); name {
	case "dns", "imds", "lkm":
		return found
	}
	return false
}

func (t *Tags) virtualNetwork() AddressSet {
	return t.VirtualNetwork.Union(NewAddressSet(wireServer))
}

// internet is everything outside the virtual network and outside what is private
// in IPv4, and the global unicast addresses of IPv6 outside the virtual network.
func (t *Tags) internet() AddressSet {
	public := AllAddresses().Family(false).Minus(private4()).
		Union(NewAddressSet(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20}), 3)))
	return public.Minus(t.virtualNetwork())
}

// private4 is RFC 1918, and 100.64.0.0/10 of RFC 6598. Whether Azure's tag has the
// latter, no source tells. Leaving it out is the safer reading: the tag stands in
// rules that allow, such as AllowInternetOutBound, and Azure's system routes
// drop traffic to those addresses.
func private4() AddressSet {
	return NewAddressSet(
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16}), 12),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10))
}

// unknown says what may help against an unknown tag.
func (t *Tags) unknown(tag string) string {
	message := "there is no service tag \"" + tag + "\" in the service tag file"
	if t.Services == nil {
		message = "the service tag \"" + tag + "\" needs Azure's service tag file, and there is none"
	}
	if near := t.nearest(tag); near != "" {
		message += "; did you mean \"" + near + "\"?"
	}
	return message
}

// nearest returns the tag that a misspelt one most probably means, or "". Of
// several it is the first in the alphabet.
func (t *Tags) nearest(tag string) string {
	lower := strings.ToLower(tag)
	best, near := len(tag)/4+2, ""
	consider := func(name string) {
		d := Edits(lower, strings.ToLower(name))
		if d < best || d == best && near != "" && name < near {
			best, near = d, name
		}
	}
	for _, name := range builtIn {
		consider(name)
	}
	for name := range t.Services {
		consider(name)
	}
	return near
}
