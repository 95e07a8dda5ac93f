package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Annotate writes what was found in the documents of a ConfigMap to that ConfigMap;
// "" removes it. It tells whether it did: not if that is there already, nor if the
// ConfigMap is not the one that was judged any more, which the agent then hears of. So
// of many agents that found the same, one writes.
func (c *Client) Annotate(ctx context.Context, judged Document, findings string) (wrote bool, err error) {
	d, exists := c.documents.get(c.namespace + "/" + judged.Name)
	if !exists || d.UID != judged.UID || d.ResourceVersion != judged.ResourceVersion || d.Findings == findings {
		return false, nil
	}
	value := &findings
	if findings == "" {
		value = nil // removes it (RFC 7396)
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":             d.UID,
		"resourceVersion": d.ResourceVersion,
		"annotations":     map[string]*string{AnnotationFindings: value},
	}})
	if err != nil {
		return false, fmt.Errorf("encode the findings of ConfigMap %s/%s: %w", c.namespace, d.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err = c.meta.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(c.namespace).
		Patch(ctx, d.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("annotate ConfigMap %s/%s: %w", c.namespace, d.Name, err)
	}
	return true, nil
}
