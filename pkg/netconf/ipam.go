package netconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

const (
	maxPools    = 16
	maxRanges   = 1024 // each is compared with all others
	maxCooldown = 24 * time.Hour
)

// ipam reads the object of that name. The type comes first: another plugin's
// keys are its own business.
func (d *decoder) ipam(path string, raw json.RawMessage) error {
	members, err := d.members(path, raw)
	if err != nil {
		return err
	}
	fields := d.soften([]field{{key: "type", set: d.ipamType, need: `the IPAM plugin's name is required, such as "vnet-ipam"`}})
	if err := d.assign(path, members, fields, true); err != nil {
		return err
	}
	if d.conf.IPAM.Delegated() {
		return nil
	}
	return d.assign(path, members, d.soften([]field{
		{key: "type"},
		{key: "cooldown", set: d.cooldown},
		{key: "routes", set: d.routes},
		{key: "pools", set: d.pools, need: "a list with at least one pool is required"},
	}), false)
}

func (d *decoder) ipamType(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	if reason := fileNameFault(s); reason != "" {
		return fault(cnierr.Config, path, raw, reason)
	}
	if d.plugin == VNetIPAM && s != IPAMType {
		return fault(cnierr.Config, path, raw, `is not "vnet-ipam", the plugin that was called`)
	}
	d.conf.IPAM.Type = s
	return nil
}

func (d *decoder) cooldown(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	t, err := time.ParseDuration(s)
	if err != nil {
		return fault(cnierr.Config, path, raw, `is not a duration such as "30s" or "5m"`)
	}
	if t < 0 || t > maxCooldown {
		return fault(cnierr.Config, path, raw, `is not from "0s" to "24h"`)
	}
	d.conf.IPAM.Cooldown = t
	return nil
}

func (d *decoder) pools(path string, raw json.RawMessage) error {
	list, err := elements(path, raw)
	if err != nil {
		return err
	}
	if len(list) == 0 || len(list) > maxPools {
		return fault(cnierr.Config, path, raw, fmt.Sprintf("has %d pools, and 1 to %d can be", len(list), maxPools))
	}
	pools := make([]ipam.Pool, 0, len(list))
	for i, e := range list {
		p, err := d.pool(index(path, i), e)
		if err != nil {
			return err
		}
		pools = append(pools, p)
	}
	if err := ipam.CheckPools(pools); err != nil {
		return poolFault("ipam", raw, err)
	}
	d.conf.IPAM.Pools = pools
	return nil
}

// pool reads one {"subnet": …, "ranges": […]}. An empty list of ranges is
// refused: a template that filled in nothing must not take the whole subnet.
func (d *decoder) pool(path string, raw json.RawMessage) (ipam.Pool, error) {
	var subnet string
	var ranges []string
	setRanges := func(path string, raw json.RawMessage) (err error) {
		ranges, err = texts(path, raw)
		if n := len(ranges); err == nil && (n == 0 || n > maxRanges) {
			err = fault(cnierr.Config, path, raw, fmt.Sprintf("has %d ranges, and 1 to %d can be", n, maxRanges))
		}
		return err
	}
	err := d.object(path, raw, []field{
		{key: "subnet", need: "a pool is part of a subnet", set: func(path string, raw json.RawMessage) (err error) {
			subnet, err = text(path, raw)
			return err
		}},
		{key: "ranges", set: setRanges},
	}, false)
	if err != nil {
		return ipam.Pool{}, err
	}
	p, err := ipam.ParsePool(subnet, ranges)
	if err != nil {
		return ipam.Pool{}, poolFault(path, raw, err)
	}
	return p, nil
}

// poolFault places an error of package ipam, which knows the field only from
// its pool on.
func poolFault(path string, raw json.RawMessage, err error) error {
	var in *ipam.FieldError
	if !errors.As(err, &in) {
		return faultOf(cnierr.Config, path, raw, err)
	}
	return cnierr.Errorf(cnierr.Config, "%s: value %s %w", join(path, in.Field), showString(in.Value), &fieldReason{in})
}

// fieldReason is an *ipam.FieldError whose field and value were told already.
type fieldReason struct{ err *ipam.FieldError }

func (e *fieldReason) Error() string { return shortenTo(printable(e.err.Reason), 3*shownRunes) }
func (e *fieldReason) Unwrap() error { return e.err }
