package netconf

import (
	"encoding/json"
	"errors"

	"github.com/containernetworking/cni/pkg/types"
	types040 "github.com/containernetworking/cni/pkg/types/040"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

const (
	// annotationsKey is the capability by which containerd hands over a pod's
	// annotations (pkg/cri/annotations, PodAnnotations).
	annotationsKey = "io.kubernetes.cri.pod-annotations"
	nsgAnnotation  = "vnet-cni.io/nsg"
	asgsAnnotation = "vnet-cni.io/asgs"
)

// runtimeConfig reads the capabilities that the plugin has. Others are the
// runtime's to put there. A null is what libcni writes for a nil Go value.
func (d *decoder) runtimeConfig(path string, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	fields := []field{{key: annotationsKey, set: d.annotations}}
	if d.plugin != VNetNSG {
		fields = append(fields, field{key: "ips", set: d.fixedIPs}, field{key: "mac", set: d.fixedMAC})
	}
	return d.object(path, raw, d.soften(fields), true)
}

// annotations reads what the pod asks for. Other annotations are others'.
func (d *decoder) annotations(path string, raw json.RawMessage) error {
	if d.conf.NSG == nil || isNull(raw) {
		return nil
	}
	return d.object(path, raw, d.soften([]field{
		{key: nsgAnnotation, set: d.podNSG},
		{key: asgsAnnotation, set: d.podASGs},
	}), true)
}

func (d *decoder) podNSG(path string, raw json.RawMessage) (err error) {
	d.conf.PodNSG, err = group(path, raw)
	return err
}

func (d *decoder) podASGs(path string, raw json.RawMessage) (err error) {
	d.conf.PodASGs, err = groups(path, raw)
	return err
}

func (d *decoder) fixedIPs(path string, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	list, err := texts(path, raw)
	if err != nil {
		return err
	}
	for i, s := range list {
		a, reason := fixedAddr(s)
		if reason != "" {
			d.conf.FixedIPs = nil
			return cnierr.Errorf(cnierr.Config, "%s: value %s %s", index(path, i), showString(s), reason)
		}
		d.conf.FixedIPs = append(d.conf.FixedIPs, a)
	}
	return nil
}

func (d *decoder) fixedMAC(path string, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	mac, reason := fixedMAC(s)
	if reason != "" {
		return fault(cnierr.Config, path, raw, reason)
	}
	d.conf.FixedMAC = mac
	return nil
}

// validAttachments reads what GC has to keep. A null is the empty list: libcni
// writes one when a runtime has no attachment at all, having deleted what it
// knew of before.
func (d *decoder) validAttachments(path string, raw json.RawMessage) error {
	valid := []types.GCAttachment{}
	if !isNull(raw) {
		list, err := elements(path, raw)
		if err != nil {
			return err
		}
		for i, e := range list {
			a, err := attachment(index(path, i), e)
			if err != nil {
				return err
			}
			valid = append(valid, a)
		}
	}
	d.conf.ValidAttachments, d.conf.HasValidAttachments = valid, true
	return nil
}

// attachment is strict in any case: a half-read entry would release its pod.
func attachment(path string, raw json.RawMessage) (types.GCAttachment, error) {
	var a types.GCAttachment
	part := func(to *string) setter {
		return func(path string, raw json.RawMessage) (err error) {
			*to, err = text(path, raw)
			if err == nil && *to == "" {
				err = fault(cnierr.Config, path, raw, "is empty")
			}
			return err
		}
	}
	strict := &decoder{}
	err := strict.object(path, raw, []field{
		{key: "containerID", set: part(&a.ContainerID), need: "an attachment has a container"},
		{key: "ifname", set: part(&a.IfName), need: "an attachment has an interface"},
	}, true)
	return a, err
}

func (d *decoder) prevResult(path string, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	version, whole, err := d.resultVersion(path, raw)
	if err != nil {
		return err
	}
	result, err := create.Create(version, whole)
	if err != nil {
		return faultOf(cnierr.Decode, path, raw, err)
	}
	current, err := CurrentResult(result)
	if err != nil {
		return faultOf(cnierr.Decode, path, raw, err)
	}
	d.conf.PrevResult, d.conf.PrevDocument, d.conf.PrevVersion = current, whole, version
	return nil
}

// resultVersion finds the CNI version of a result. The examples of the
// specification leave it out of prevResult: then it is the configuration's.
func (d *decoder) resultVersion(path string, raw json.RawMessage) (string, json.RawMessage, error) {
	var version string
	strict := &decoder{}
	members, err := strict.members(path, raw)
	if err != nil {
		return "", nil, err
	}
	fields := map[string]json.RawMessage{}
	for _, m := range members {
		fields[m.key] = m.value
	}
	if v, ok := fields["cniVersion"]; ok {
		if version, err = text(join(path, "cniVersion"), v); err != nil {
			return "", nil, err
		}
	}
	if version != "" {
		return version, raw, nil
	}
	version = d.conf.CNIVersion
	if version == "" {
		version = types100.ImplementedSpecVersion
	}
	if fields["cniVersion"], err = json.Marshal(version); err != nil {
		return "", nil, faultOf(cnierr.Decode, path, raw, err)
	}
	if raw, err = json.Marshal(fields); err != nil {
		return "", nil, faultOf(cnierr.Decode, path, raw, err)
	}
	return version, raw, nil
}

// CurrentResult is a result in the newest version of the specification, unless what is
// in it would have to be looked at with care wherever it is used: Conf.PrevResult says
// what it holds to.
func CurrentResult(result types.Result) (*types100.Result, error) {
	if hasNull(result) {
		return nil, errors.New("a list has a null")
	}
	current, err := types100.NewResultFromResult(result)
	if err != nil {
		return nil, err
	}
	return current, checkResult(current)
}

// hasNull tells whether a list of the result has a null, which the converters
// of the CNI library would follow.
func hasNull(result types.Result) bool {
	switch r := result.(type) {
	case *types100.Result:
		return anyNil(r.Interfaces) || anyNil(r.IPs) || anyNil(r.Routes)
	case *types040.Result:
		return anyNil(r.Interfaces) || anyNil(r.IPs) || anyNil(r.Routes)
	}
	return false
}

func anyNil[T any](list []*T) bool {
	for _, e := range list {
		if e == nil {
			return true
		}
	}
	return false
}

func checkResult(r *types100.Result) error {
	for _, ip := range r.IPs {
		if len(ip.Address.IP) == 0 {
			return errors.New("an entry of ips has no address")
		}
		if i := ip.Interface; i != nil && (*i < 0 || *i >= len(r.Interfaces)) {
			return errors.New("an entry of ips names an interface that is not in interfaces")
		}
	}
	for _, route := range r.Routes {
		if len(route.Dst.IP) == 0 {
			return errors.New("an entry of routes has no dst")
		}
	}
	return nil
}
