package verb

import (
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Attempt is an ADD on its way: what its steps work on, and the way back.
type Attempt struct {
	Node    *attachment.Node
	Sandbox *link.Sandbox
	Undo    Undo

	stateDir string
}

// Begin opens the node and the pod's namespace for an ADD, which End has to end.
func (c *Call) Begin() (*Attempt, error) {
	sandbox, err := link.OpenSandbox(c.Netns)
	if err != nil {
		return nil, cnierr.Wrap(cnierr.Sandbox, err)
	}
	node, err := attachment.OpenNode()
	if err != nil {
		sandbox.Close()
		return nil, err
	}
	return &Attempt{Node: node, Sandbox: sandbox, stateDir: c.Conf.StateDir}, nil
}

// Take takes the steps in turn, up to the first that fails.
func (a *Attempt) Take(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// End reverts an ADD that failed, adding to err what could not be reverted, and closes
// what Begin opened.
func (a *Attempt) End(err *error) {
	defer a.Sandbox.Close()
	defer a.Node.Close()
	if *err != nil {
		*err = a.Undo.UnwindBy(*err, func(unwind func() error) error { return a.Node.Firewall.Leaving(a.stateDir, unwind) })
	}
}
