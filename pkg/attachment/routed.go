package attachment

import (
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// Route makes sure that the pods of a network take the routes of their subnet, those
// with the addresses among them. want is what should be in force; while the kernel has
// that, nothing is locked and nothing but it is read.
func (n *Node) Route(stateDir string, want routes.Config, addrs ...netip.Addr) error {
	return withRoutes(func(k *routes.Kernel) error {
		want.Pods = addrs
		if held, err := k.Holds(want); err != nil || held {
			return err
		}
		problems, _, err := k.Problems(want)
		if err != nil || len(problems) == 0 {
			return err
		}
		_, err = n.reroute(k, stateDir, want.Network)
		return err
	})
}

// reroute puts in force what the network's rules in force say of routes. It does so
// alone: whoever came with another version of the documents writes what is in force,
// too, and no pod leaves meanwhile.
func (n *Node) reroute(k *routes.Kernel, stateDir, network string) (done routes.Report, err error) {
	err = n.Firewall.Alone(stateDir, func() error {
		want, found := policy.Routing(stateDir, network)
		if !found {
			return nil
		}
		others, err := policy.Networks(stateDir)
		if err == nil {
			err = routes.Clash(network, others...)
		}
		if err != nil {
			return err
		}
		if want.Pods, err = leased(stateDir, network); err != nil {
			return err
		}
		n.at("route")
		done, err = k.Apply(want)
		return err
	})
	return done, err
}

// enforceRoutes is Route for all pods of the network, with what it found in words.
func (n *Node) enforceRoutes(stateDir string, want routes.Config, pods []firewall.Pod, anew bool) (repaired, faults []string, err error) {
	err = withRoutes(func(k *routes.Kernel) error {
		for _, p := range pods {
			if !p.Remote {
				want.Pods = append(want.Pods, p.Addrs...)
			}
		}
		if repaired, faults, err = k.Problems(want); err != nil || len(repaired) == 0 && !anew {
			return err
		}
		done, err := n.reroute(k, stateDir, want.Network)
		faults = done.Faults
		return err
	})
	return repaired, faults, err
}

// RoutingProblems tells in words what is wrong with the routes that are in force in a
// network, for pods with the addresses among others, and which of them drop what is
// for an appliance; among the problems, whose routes mix with them. It changes nothing.
func RoutingProblems(stateDir, network string, addrs ...netip.Addr) (problems, faults []string, err error) {
	want, found := policy.Routing(stateDir, network)
	if !found {
		return nil, nil, nil
	}
	err = withRoutes(func(k *routes.Kernel) error {
		want.Pods = addrs
		problems, faults, err = k.Problems(want)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	mixed, err := mixedRoutes(stateDir, want)
	return append(problems, mixed...), faults, err
}

// mixedRoutes tells in words of the networks whose routes mix with the network's.
func mixedRoutes(stateDir string, want routes.Config) ([]string, error) {
	names, err := policy.Networks(stateDir)
	var list []string
	for _, name := range names {
		other, found := policy.Routing(stateDir, name)
		if !found || name == want.Network {
			continue
		}
		if why := want.Mixed(other); why != "" {
			list = append(list, why)
		}
	}
	return list, err
}

// forgetRoutes removes what is there for single pods. Nobody's record tells: a network
// may have got a route table since.
func forgetRoutes(addrs ...netip.Addr) error {
	return withRoutes(func(k *routes.Kernel) error { return k.Forget(addrs...) })
}

func withRoutes(do func(*routes.Kernel) error) error {
	k, err := routes.Open()
	if err != nil {
		return err
	}
	defer k.Close()
	return do(k)
}
