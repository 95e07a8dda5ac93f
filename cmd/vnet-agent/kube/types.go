package kube

import "net/netip"

// Names that the user's objects and this package's agree on.
const (
	LabelDocuments     = "vnet-cni.io/documents" // on a ConfigMap with documents; any value
	AnnotationNSG      = "vnet-cni.io/nsg"       // on a Pod or Namespace
	AnnotationASGs     = "vnet-cni.io/asgs"      // on a Pod or Namespace, comma separated
	AnnotationFindings = "vnet-cni.io/findings"  // on a ConfigMap with documents
)

// Node is a node of the cluster.
type Node struct {
	Name      string
	UID       string
	Addresses []netip.Addr   // its InternalIPs, the primary first
	PodCIDRs  []netip.Prefix // at most one a family, by Kubernetes' validation
	Deleting  bool
	Faults    []string // of the Node object: field, value and what is wrong with it
}

// Choice is what the annotations of a Pod or Namespace say, unchecked. A value that
// is longer than any valid one can be is cut, and too long still.
type Choice struct {
	NSG  string // name or resource id
	ASGs string // names or resource ids, comma separated
}

// Pod is a pod of this node.
type Pod struct {
	Namespace string
	Name      string
	UID       string
	Choice
	HasNSG      bool // it has the annotation, be it empty
	HasASGs     bool
	Terminating bool
}

// Document is a ConfigMap with documents.
type Document struct {
	Name            string
	UID             string
	ResourceVersion string            // changes with the findings, too
	Files           map[string][]byte // by key, of data and binaryData
	Findings        string            // as annotated
}

// PodEntry is a pod as its node tells the others of it.
type PodEntry struct {
	Addresses []netip.Addr // at most two
	NSG       string       // key of its own group; "": none
	ASGs      []string
}

// NodePods are the pods of one node.
type NodePods struct {
	Node   string
	Pods   []PodEntry
	Faults []string // of the NodePods object: what was left out of Pods, and why
}

// Ref is the object that an Event is about.
type Ref struct {
	Kind      string
	Namespace string // "" for a Node
	Name      string
	UID       string
	Reason    string // tells apart what is said about the same object; not sent
}

// NodeRef refers to a node, in one respect.
func NodeRef(name, reason string) Ref { return Ref{Kind: "Node", Name: name, Reason: reason} }

// PodRef refers to a pod.
func PodRef(p Pod) Ref { return Ref{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID} }

// DocumentRef refers to a ConfigMap in the agent's namespace, which Event knows.
func DocumentRef(d Document) Ref { return Ref{Kind: "ConfigMap", Name: d.Name, UID: d.UID} }
