package verb

import (
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/tally"
)

// Counted is a verb that is counted when it ends, with the code that the runtime
// is given, under what name makes of its network's. That it could not be counted is
// nobody's trouble.
func Counted(v tally.Verb, name func(network string) string, verb func(*skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(cmd *skel.CmdArgs) error {
		began := time.Now()
		err := verb(cmd)
		took := time.Since(began)
		var code uint
		if err != nil {
			code = cnierr.Object(err).Code
		}
		if stateDir, network := countedIn(cmd.StdinData); network != "" {
			_ = tally.Observe(stateDir, name(network), v, took, code)
		}
		return err
	}
}

// AsIs counts under the network's own name.
func AsIs(network string) string { return network }

// countedIn takes from a configuration, which may be one that the verb refused,
// what tells where to count; else nothing. To parse it again would cost ten times
// as much.
func countedIn(stdin []byte) (stateDir, network string) {
	conf := struct {
		Name     string `json:"name"`
		StateDir string `json:"stateDir"`
	}{StateDir: netconf.DefaultStateDir}
	if json.Unmarshal(stdin, &conf) != nil || !filepath.IsAbs(conf.StateDir) {
		return "", ""
	}
	return conf.StateDir, conf.Name
}
