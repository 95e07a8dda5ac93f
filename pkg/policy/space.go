package policy

import (
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

// Space is what the tag VirtualNetwork stands for under the configuration with these
// documents.
func (c Config) Space(d *arm.Documents) []netip.Prefix { return c.virtualNetwork(d) }
