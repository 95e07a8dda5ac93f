package verb

import (
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// A runtime without namespaces, such as podman, tells a container's name alone.
func TestPodName(t *testing.T) {
	for want, args := range map[string]netconf.Args{
		"shop/web": {PodNamespace: "shop", PodName: "web"},
		"web":      {PodName: "web"},
		"":         {PodNamespace: "shop"},
	} {
		if got := (&Call{Args: args}).PodName(); got != want {
			t.Errorf("%+v: %q, want %q", args, got, want)
		}
	}
	t.Log("3 names")
}
