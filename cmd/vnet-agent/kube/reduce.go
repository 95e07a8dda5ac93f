package kube

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// faults are what is wrong with one object, so many that a person sees what kind of
// fault it is.
type faults []string

const maxFaults = 10

func (f *faults) add(field, value, reason string) {
	const shown = 64 // bytes of a value
	switch {
	case len(*f) < maxFaults:
		*f = append(*f, fmt.Sprintf("%s %q %s", field, value[:min(len(value), shown)], reason))
	case len(*f) == maxFaults:
		*f = append(*f, "and more")
	}
}

// address reads the address of a host.
func (f *faults) address(field, value string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(value)
	switch {
	case err != nil:
		f.add(field, value, "is not an address")
	case a.Zone() != "" || !a.Unmap().IsGlobalUnicast():
		f.add(field, value, "is not an address by which others reach a host")
	default:
		return a.Unmap(), true
	}
	return netip.Addr{}, false
}

// prefix reads the prefix of a pool of addresses.
func (f *faults) prefix(field, value string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil:
		f.add(field, value, "is not a prefix")
	case p.Bits() == 0 || p.Addr().Is4In6() || !p.Addr().IsGlobalUnicast():
		f.add(field, value, "is not a prefix of pods' addresses")
	default:
		return p.Masked(), true
	}
	return netip.Prefix{}, false
}

func reduceNode(n *corev1.Node) Node {
	out := Node{Name: n.Name, UID: string(n.UID), Deleting: n.DeletionTimestamp != nil}
	var f faults
	for i, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if addr, ok := f.address(fmt.Sprintf("status.addresses[%d]", i), a.Address); ok {
			out.Addresses = append(out.Addresses, addr)
		}
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for i, cidr := range cidrs {
		if prefix, ok := f.prefix(fmt.Sprintf("spec.podCIDRs[%d]", i), cidr); ok {
			out.PodCIDRs = append(out.PodCIDRs, prefix)
		}
	}
	out.Faults = f
	return out
}

// maxChoice bounds what is kept of an annotation, which may have 256 KiB: more than
// 20 entries of at most 512 bytes need, so that no valid value is cut and no cut
// value is valid.
const maxChoice = 11 << 10

func annotation(of *metav1.PartialObjectMetadata, key string) (value string, has bool) {
	value, has = of.Annotations[key]
	if len(value) > maxChoice {
		value = strings.Clone(value[:maxChoice])
	}
	return value, has
}

func reduceNamespace(n *metav1.PartialObjectMetadata) Choice {
	nsg, _ := annotation(n, AnnotationNSG)
	asgs, _ := annotation(n, AnnotationASGs)
	return Choice{NSG: nsg, ASGs: asgs}
}

func reducePod(p *metav1.PartialObjectMetadata) Pod {
	out := Pod{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Terminating: p.DeletionTimestamp != nil}
	out.NSG, out.HasNSG = annotation(p, AnnotationNSG)
	out.ASGs, out.HasASGs = annotation(p, AnnotationASGs)
	return out
}

func reduceDocument(c *corev1.ConfigMap) Document {
	out := Document{
		Name:            c.Name,
		UID:             string(c.UID),
		ResourceVersion: c.ResourceVersion,
		Files:           make(map[string][]byte, len(c.Data)+len(c.BinaryData)),
		Findings:        c.Annotations[AnnotationFindings],
	}
	for key, text := range c.Data {
		out.Files[key] = []byte(text)
	}
	for key, data := range c.BinaryData {
		out.Files[key] = data
	}
	return out
}

// published is a NodePods object: what is for the agent, and whose it is.
type published struct {
	NodePods
	owners []string // UIDs
}

// reduceNodePods packs what it keeps, which is the most of all that this package
// keeps: one array for all addresses, and each name and each list of ASGs once, as
// thousands of pods are in few groups.
func reduceNodePods(n *nodePodsWire) published {
	out := published{NodePods: NodePods{Node: n.Metadata.Name, Pods: make([]PodEntry, 0, len(n.Pods))}}
	for _, o := range n.Metadata.OwnerReferences {
		out.owners = append(out.owners, string(o.UID))
	}
	total := 0
	for _, p := range n.Pods {
		total += len(p.Addresses)
	}
	addrs, names, lists := make([]netip.Addr, 0, total), map[string]string{}, map[string][]string{}
	var f faults
	for i, p := range n.Pods {
		from := len(addrs)
		for k, a := range p.Addresses {
			if addr, ok := f.address(fmt.Sprintf("pods[%d].addresses[%d]", i, k), a); ok {
				addrs = append(addrs, addr)
			}
		}
		if len(addrs) == from {
			continue
		}
		out.Pods = append(out.Pods, PodEntry{
			Addresses: addrs[from:len(addrs):len(addrs)],
			NSG:       once(names, p.NSG, p.NSG),
			ASGs:      once(lists, fmt.Sprintf("%q", p.ASGs), p.ASGs),
		})
	}
	out.Faults = f
	return out
}

// once returns what came first under a key.
func once[T any](seen map[string]T, key string, value T) T {
	if first, ok := seen[key]; ok {
		return first
	}
	seen[key] = value
	return value
}
