package netconf

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// RequestedIPs are the addresses that the runtime asks for: by the capability
// "ips", else by IP= in CNI_ARGS. None lets the pools choose.
func (c *Conf) RequestedIPs(a Args) []netip.Addr {
	if len(c.FixedIPs) > 0 {
		return c.FixedIPs
	}
	return a.IP
}

// RequestedMAC is what the runtime asks for, in the same order; nil: nothing.
func (c *Conf) RequestedMAC(a Args) net.HardwareAddr {
	if c.FixedMAC != nil {
		return c.FixedMAC
	}
	return a.MAC
}

// RequestedNSG is the pod's own NSG, by name or resource id as written: VNET_NSG
// in CNI_ARGS, else the annotation; "": none. CNI_ARGS come first because no
// author of a pod can write them.
func (c *Conf) RequestedNSG(a Args) string {
	if a.NSG != "" {
		return a.NSG
	}
	return c.PodNSG
}

// RequestedASGs are the names of the ASGs that the pod is in, from the same
// sources: the last segments of resource ids, in lower case, sorted, each once.
func (c *Conf) RequestedASGs(a Args) []string {
	groups := a.ASGs
	if len(groups) == 0 {
		groups = c.PodASGs
	}
	return asgNames(groups)
}

// DefaultFile is the path of the document with the defaults of the pod's
// namespace; "": nobody asks for defaults. Only for arguments that CheckArgs
// took does it lie in the folder of the configuration.
func (c *Conf) DefaultFile(a Args) string {
	if c.NSG == nil || c.NSG.Namespaces == "" || a.PodNamespace == "" {
		return ""
	}
	return c.NSG.Namespaces + "/" + a.PodNamespace
}

// CheckArgs refuses what CNI_ARGS asks for and the network cannot give: a
// filter that was asked for must not be missing silently. With defaults by
// namespace it refuses what can be no namespace, and so no file's name. Errors
// have code 4.
func (c *Conf) CheckArgs(a Args) error {
	switch {
	case c.DefaultFile(a) != "":
		return namespaceArg(a.PodNamespace)
	case c.NSG != nil:
		return nil
	case a.NSG != "":
		return c.noNSG(nsgArg, a.NSG)
	case len(a.ASGs) > 0:
		return c.noNSG(asgsArg, a.ASGs[0])
	}
	return nil
}

func namespaceArg(s string) error {
	if reason := namespaceFault(s); reason != "" {
		return cnierr.Errorf(cnierr.Environment, "CNI_ARGS: K8S_POD_NAMESPACE: value %s %s", showString(s), reason)
	}
	return nil
}

func (c *Conf) noNSG(key, value string) error {
	return cnierr.Errorf(cnierr.Environment, "CNI_ARGS: %s: value %s cannot be had: network %s has no nsg in its configuration",
		key, showString(value), showString(c.Name))
}

// Permits tells whether a pod of the Kubernetes namespace may choose the NSG or
// ASG, given by name or resource id; case does not matter. Without a namespace
// there is no Kubernetes, and whoever calls the plugin is root. A name can mean
// several groups: an NSG that was looked up is to be asked for by its id.
func (c *Conf) Permits(namespace, nameOrID string) bool {
	if c.NSG == nil || c.NSG.Allowed == nil || namespace == "" {
		return true
	}
	return slices.ContainsFunc(c.NSG.Allowed[namespace], func(entry string) bool {
		return entry == anyGroup || sameGroup(entry, nameOrID)
	})
}

// PrevResultHas tells whether prevResult has the address, on whatever interface.
func (c *Conf) PrevResultHas(a netip.Addr) bool {
	if c.PrevResult == nil {
		return false
	}
	for _, ip := range c.PrevResult.IPs {
		if have, ok := netip.AddrFromSlice(ip.Address.IP); ok && have.Unmap() == a {
			return true
		}
	}
	return false
}
