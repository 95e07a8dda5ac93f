package reach

import (
	"fmt"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Question is which flows are asked about. The zero value asks about all.
type Question struct {
	Protocol nsg.Protocol    // 0 or nsg.AnyProtocol: every one
	Ports    []nsg.PortRange // destination ports, of TCP or UDP only; nil: every one
}

// check refuses ports of what has none.
func (q Question) check() error {
	if len(q.Ports) > 0 && q.Protocol != nsg.TCP && q.Protocol != nsg.UDP {
		return fmt.Errorf("ports of protocol %v: only TCP and UDP have ports", q.Protocol)
	}
	return nil
}

// services are those that the question is about.
func (q Question) services() Services {
	asked := allPorts()
	if len(q.Ports) > 0 {
		asked = ports(q.Ports).union(nil)
	}
	switch q.Protocol {
	case nsg.TCP:
		return Services{TCP: asked}
	case nsg.UDP:
		return Services{UDP: asked}
	case nsg.ICMP:
		return Services{Portless: ICMP}
	case nsg.ESP:
		return Services{Portless: ESP}
	case nsg.AH:
		return Services{Portless: AH}
	}
	return AllServices()
}
