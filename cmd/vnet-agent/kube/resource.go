package kube

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// The custom resource, as conf/kubernetes/base/crd.yaml defines it.
var nodePodsGV = schema.GroupVersion{Group: "vnet-cni.io", Version: "v1alpha1"}

const (
	nodePodsKind     = "NodePods"
	nodePodsResource = "nodepods"
)

// nodePods is the custom resource as it is read: the pods of the node that has its
// name, packed while it is decoded. A listing of all as they are on the wire would
// take more memory than all else that the agent does.
type nodePods struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	published
}

// nodePodsWire is the custom resource on the wire.
type nodePodsWire struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Pods            []podWire         `json:"pods"`
}

type podWire struct {
	Addresses []string `json:"addresses"`
	NSG       string   `json:"nsg,omitempty"`
	ASGs      []string `json:"asgs,omitempty"`
}

// UnmarshalJSON reads what is on the wire.
func (n *nodePods) UnmarshalJSON(data []byte) error {
	var wire nodePodsWire
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	wire.Metadata.ManagedFields = nil
	*n = nodePods{wire.TypeMeta, wire.Metadata, reduceNodePods(&wire)}
	return nil
}

type nodePodsList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []nodePods `json:"items"`
}

// DeepCopyObject is what runtime.Object asks for. What was published is not copied:
// nobody writes to it.
func (n *nodePods) DeepCopyObject() runtime.Object {
	out := *n
	n.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// DeepCopyObject is what runtime.Object asks for.
func (l *nodePodsList) DeepCopyObject() runtime.Object {
	out := &nodePodsList{TypeMeta: l.TypeMeta, Items: slices.Clone(l.Items)}
	l.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		l.Items[i].DeepCopyInto(&out.Items[i].ObjectMeta)
	}
	return out
}

// newScheme knows the types that this package reads, and no others: client-go's own
// scheme has all of Kubernetes.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(s))
	s.AddKnownTypeWithName(nodePodsGV.WithKind(nodePodsKind), &nodePods{})
	s.AddKnownTypeWithName(nodePodsGV.WithKind(nodePodsKind+"List"), &nodePodsList{})
	metav1.AddToGroupVersion(s, nodePodsGV)
	return s
}
