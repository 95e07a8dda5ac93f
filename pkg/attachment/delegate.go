package attachment

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// Delegate is what it takes to give an address back to a foreign IPAM plugin.
type Delegate struct {
	Type   string          `json:"type"`
	Config json.RawMessage `json:"config"`
	Args   string          `json:"args,omitempty"` // CNI_ARGS of the ADD
}

// Return calls the plugin's DEL for the attachment. path is CNI_PATH, where the
// plugin is looked for; sandbox may be gone.
func (d Delegate) Return(k ipam.Key, sandbox, path string) error {
	plugin, err := invoke.FindInPath(d.Type, filepath.SplitList(path))
	if err != nil {
		return cnierr.Errorf(cnierr.Delegate, "find IPAM plugin %s in CNI_PATH %q: %w", d.Type, path, err)
	}
	args := &invoke.Args{
		Command: "DEL", ContainerID: k.ContainerID, NetNS: sandbox, IfName: k.IfName, Path: path, PluginArgsStr: d.Args,
	}
	if err := invoke.ExecPluginWithoutResult(context.Background(), plugin, d.Config, args, nil); err != nil {
		return cnierr.Wrap(cnierr.Delegate, fmt.Errorf("DEL of IPAM plugin %s for container %s, interface %s: %w", d.Type, k.ContainerID, k.IfName, err))
	}
	return nil
}
