package attachment

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
)

func TestOfFirewall(t *testing.T) {
	for _, row := range []struct {
		err  error
		code uint
	}{
		{errors.New("iptables is not there"), cnierr.Firewall},
		{fmt.Errorf("lock members.lock: %w", firewall.ErrLocked), cnierr.TryAgain},
		{cnierr.Errorf(cnierr.Store, "no room, and %w", firewall.ErrLocked), cnierr.Store},
	} {
		if err := OfFirewall(row.err); !errors.Is(err, row.err) || cnierr.Object(err).Code != row.code {
			t.Errorf("%v has code %d, want %d", err, cnierr.Object(err).Code, row.code)
		}
	}
	if err := OfFirewall(nil); err != nil {
		t.Errorf("no error is %v", err)
	}
	t.Log("4 errors")
}
