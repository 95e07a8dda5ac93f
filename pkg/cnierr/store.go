package cnierr

import (
	"errors"

	"github.com/vnet-cni/vnet-cni/ipam"
)

// OfStore gives an error of the lease store its code.
func OfStore(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ipam.ErrNoFree), errors.Is(err, ipam.ErrLocked):
		return Wrap(TryAgain, err)
	case errors.Is(err, ipam.ErrTaken):
		return Wrap(AddressTaken, err)
	case errors.Is(err, ipam.ErrOutside):
		return Wrap(Config, err)
	}
	return Wrap(Store, err)
}
