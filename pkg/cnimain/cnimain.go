// Package cnimain is what the mains of the CNI plugins have in common: the
// --version flag, the spec versions, and errors that reach the runtime as the
// error object of the CNI spec, always with a code.
//
// It knows the protocol between runtime and plugin. It must not know what any
// verb does.
package cnimain

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/skel"
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
	about := fmt.Sprintf("%s %s: a CNI plugin; a container runtime calls it with CNI_COMMAND and a configuration on standard input", name, Version)
	if err := skel.PluginMainFuncsWithError(coded(verbs), Versions, about); err != nil {
		if printErr := err.Print(); printErr != nil {
			fmt.Fprintln(os.Stderr, err, printErr)
		}
		os.Exit(1)
	}
}

// coded makes every verb's error a CNI error object.
func coded(v skel.CNIFuncs) skel.CNIFuncs {
	return skel.CNIFuncs{
		Add: objects(v.Add), Del: objects(v.Del), Check: objects(v.Check),
		GC: objects(v.GC), Status: objects(v.Status),
	}
}

func objects(verb func(*skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		if err := verb(args); err != nil {
			return cnierr.Object(err)
		}
		return nil
	}
}
