// Package cnimain is what the mains of the CNI plugins have in common: the
// --version flag, the spec versions, and errors that reach the runtime as the
// error object of the CNI spec, always with a code.
//
// It knows the protocol between runtime and plugin. It must not know what any
// verb does.
package cnimain

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// Version is the build's version, set by the linker.
var Version = "devel"

// Versions are the versions of the CNI spec that all plugins here speak.
var Versions = version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0")

// Run answers the verb that the environment asks for and ends the process:
// status 0, or 1 after an error object on standard output.
func Run(name string, verbs skel.CNIFuncs) {
	// A verb lives for milliseconds and allocates little: collecting garbage
	// would be work for nothing. The limit is for a hostile configuration.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(256 << 20)
	if len(os.Args) == 2 && (os.Args[1] == "--version" || os.Args[1] == "-version") {
		fmt.Fprintln(os.Stdout, name, Version)
		return
	}
	verbs = withoutLateCheck(verbs)
	about := fmt.Sprintf("%s %s: a CNI plugin; a container runtime calls it with CNI_COMMAND and a configuration on standard input", name, Version)
	if err := skel.PluginMainFuncsWithError(verbs, Versions, about); err != nil {
		if printErr := printError(os.Stdout, err); printErr != nil {
			fmt.Fprintln(os.Stderr, err, printErr)
		}
		os.Exit(1)
	}
}

// spoken is the version that errors are given in: the configuration's once a
// verb was begun, which takes one that we speak.
var spoken = "1.1.0"

// printError writes the error object of the CNI spec, section "Error". The
// library's own lacks cniVersion.
func printError(w io.Writer, err *types.Error) error {
	object := struct {
		CNIVersion string `json:"cniVersion"`
		*types.Error
	}{spoken, err}
	b, failed := json.MarshalIndent(object, "", "    ")
	if failed != nil {
		return fmt.Errorf("encode an error: %w", failed)
	}
	_, failed = w.Write(append(b, '\n'))
	return failed
}

// override is how skel is told not to look at CNI_NETNS.
const override = "CNI_NETNS_OVERRIDE"

// withoutLateCheck keeps skel from looking at CNI_NETNS once a verb is done: an
// ADD that has printed its result must not fail afterwards. The plugins look at
// it before they begin. What they run sees the environment as it was.
func withoutLateCheck(v skel.CNIFuncs) skel.CNIFuncs {
	was, set := os.LookupEnv(override)
	_ = os.Setenv(override, "1")
	restore := func() {
		if set {
			_ = os.Setenv(override, was)
		} else {
			_ = os.Unsetenv(override)
		}
	}
	wrap := func(verb func(*skel.CmdArgs) error) func(*skel.CmdArgs) error {
		return func(args *skel.CmdArgs) error {
			restore()
			if err := verb(args); err != nil {
				if v, undecodable := (&version.ConfigDecoder{}).Decode(args.StdinData); undecodable == nil {
					spoken = v
				}
				return cnierr.Object(err)
			}
			return nil
		}
	}
	return skel.CNIFuncs{Add: wrap(v.Add), Del: wrap(v.Del), Check: wrap(v.Check), GC: wrap(v.GC), Status: wrap(v.Status)}
}
