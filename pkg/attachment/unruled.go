package attachment

import (
	"errors"

	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// EndJudging takes away what judged the pods of a network whose configuration has no
// security groups any more, and the routes that came with them.
func (n *Node) EndJudging(stateDir, network string) error {
	if !policy.Exists(stateDir, network) {
		return nil
	}
	if err := n.Firewall.EndJudging(stateDir, network, Pods(stateDir, network)); err != nil {
		return err
	}
	if err := n.removeRoutes(stateDir, network); err != nil {
		return err
	}
	return policy.Forget(stateDir, network)
}

// RemoveRules removes the rules of a network without pods, and its routes; with "" those
// that all networks share, when none has pods.
func (n *Node) RemoveRules(stateDir, network string) error {
	return errors.Join(n.Firewall.Remove(stateDir, network), n.removeRoutes(stateDir, network))
}

// RulesPresent reports whether RemoveRules has something to remove.
func (n *Node) RulesPresent(network string) (found bool, err error) {
	if found, err = n.Firewall.Present(network); err != nil || found {
		return found, err
	}
	err = withRoutes(func(k *routes.Kernel) error {
		found, err = k.Present(network)
		return err
	})
	return found, err
}

func (n *Node) removeRoutes(stateDir, network string) error {
	return withRoutes(func(k *routes.Kernel) error {
		return n.Firewall.Alone(stateDir, func() error { return k.Remove(network) })
	})
}

// RestoreRoutes puts the routes of a network with pods in force, for one that came
// while they were removed.
func (n *Node) RestoreRoutes(stateDir, network string) error {
	return withRoutes(func(k *routes.Kernel) error {
		_, err := n.reroute(k, stateDir, network)
		return err
	})
}
