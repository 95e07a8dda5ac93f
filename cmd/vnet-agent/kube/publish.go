package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientretry "k8s.io/client-go/util/retry"
)

const (
	fieldManager = "vnet-agent"
	writeTimeout = 15 * time.Second // the agent has other things to do than to wait
)

// Publish tells the other nodes of this node's pods, in the NodePods object that has
// the node's name and goes with the Node. Nothing is written if it says so already.
// The order of pods and of their ASGs does not matter.
func (c *Client) Publish(ctx context.Context, pods []PodEntry) error {
	node, exists := c.nodes.get(c.node)
	if !exists {
		return fmt.Errorf("publish the pods of node %s: it is not in the cluster", c.node)
	}
	pods = inOrder(pods)
	if now, has := c.members.get(c.node); has && now.says(node.UID, pods) {
		return nil
	}
	body, err := json.Marshal(newNodePods(node, pods))
	if err != nil {
		return fmt.Errorf("encode the pods of node %s: %w", c.node, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	// Server-side apply creates or replaces, whatever is there. A conflict is left
	// with the garbage collector, which removes what a former Node of this name had.
	force := true
	err = clientretry.OnError(clientretry.DefaultBackoff, raced, func() error {
		_, err := c.meta.Resource(nodePodsGV.WithResource(nodePodsResource)).Patch(ctx, c.node, types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
		return err
	})
	if err != nil {
		return fmt.Errorf("publish %d pods of node %s: %w", len(pods), c.node, err)
	}
	return nil
}

func raced(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// Unpublish removes what Publish made.
func (c *Client) Unpublish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := c.meta.Resource(nodePodsGV.WithResource(nodePodsResource)).Delete(ctx, c.node, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the published pods of node %s: %w", c.node, err)
	}
	return nil
}

// says tells whether an object is what Publish would write.
func (p published) says(owner string, pods []PodEntry) bool {
	return len(p.Faults) == 0 && slices.Equal(p.owners, []string{owner}) && slices.EqualFunc(p.Pods, pods, func(a, b PodEntry) bool {
		return slices.Equal(a.Addresses, b.Addresses) && a.NSG == b.NSG && slices.Equal(a.ASGs, b.ASGs)
	})
}

// inOrder sorts what has no order of its own, and drops what comes twice or has no
// address, for which the API server would refuse the others, too.
func inOrder(pods []PodEntry) []PodEntry {
	out := slices.DeleteFunc(slices.Clone(pods), func(p PodEntry) bool { return len(p.Addresses) == 0 })
	for i := range out {
		out[i].ASGs = slices.Compact(slices.Sorted(slices.Values(out[i].ASGs)))
	}
	slices.SortFunc(out, func(a, b PodEntry) int {
		return cmp.Or(
			slices.CompareFunc(a.Addresses, b.Addresses, netip.Addr.Compare),
			cmp.Compare(a.NSG, b.NSG),
			slices.Compare(a.ASGs, b.ASGs),
		)
	})
	return slices.CompactFunc(out, func(a, b PodEntry) bool { return reflect.DeepEqual(a, b) })
}

// applied is what server-side apply is to own of the object: no field more.
type applied struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        appliedMeta `json:"metadata"`
	Pods            []podWire   `json:"pods"`
}

type appliedMeta struct {
	Name            string                  `json:"name"`
	OwnerReferences []metav1.OwnerReference `json:"ownerReferences"`
}

func newNodePods(node Node, pods []PodEntry) applied {
	out := applied{
		TypeMeta: metav1.TypeMeta{APIVersion: nodePodsGV.String(), Kind: nodePodsKind},
		Metadata: appliedMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: types.UID(node.UID)},
		}},
		Pods: make([]podWire, 0, len(pods)),
	}
	for _, p := range pods {
		entry := podWire{NSG: p.NSG, ASGs: p.ASGs}
		for _, a := range p.Addresses {
			entry.Addresses = append(entry.Addresses, a.String())
		}
		out.Pods = append(out.Pods, entry)
	}
	return out
}
