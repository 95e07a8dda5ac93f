package attachment

import (
	"errors"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
)

// OfFirewall gives an error of the packet filter the code that a runtime acts on:
// TryAgain while others hold its locks, else Firewall.
func OfFirewall(err error) error {
	if errors.Is(err, firewall.ErrLocked) {
		return cnierr.Wrap(cnierr.TryAgain, err)
	}
	return cnierr.Wrap(cnierr.Firewall, err)
}
