package kube

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// maxMessage is what Kubernetes allows a note of an Event, in bytes.
const maxMessage = 1024

// Event sends an Event, later. Repetitions become a count, floods are dropped by
// client-go's recorder, and so is what cannot be sent for long. A longer message is
// cut to 1024 bytes.
func (c *Client) Event(about Ref, warning bool, reason, message string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	if len(message) > maxMessage {
		const more = "…"
		message = strings.ToValidUTF8(message[:maxMessage-len(more)], "") + more
	}
	c.recorder.Event(c.reference(about), kind, reason, message)
}

func (c *Client) reference(about Ref) *corev1.ObjectReference {
	switch about.Kind {
	case "ConfigMap":
		about.Namespace = c.namespace
	case "Node":
		if n, ok := c.nodes.get(about.Name); ok {
			about.UID = n.UID
		}
	}
	return &corev1.ObjectReference{
		APIVersion: "v1",
		Kind:       about.Kind,
		Namespace:  about.Namespace,
		Name:       about.Name,
		UID:        types.UID(about.UID),
	}
}

// record makes the recorder, which stops with the context.
func (c *Client) record(ctx context.Context) {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&sink{ctx, c.core})
	c.recorder = broadcaster.NewRecorder(newScheme(), corev1.EventSource{Component: "vnet-agent", Host: c.node}).
		WithLogger(klog.FromContext(ctx))
}

// sink writes Events as client-go's typed client does, which would bring all of
// Kubernetes' types into the binary.
type sink struct {
	ctx  context.Context // EventSink's methods have none
	core *rest.RESTClient
}

func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.send(s.core.Post().Namespace(e.Namespace).Resource("events").Body(e))
}

func (s *sink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.send(s.core.Patch(types.StrategicMergePatchType).Namespace(e.Namespace).Resource("events").Name(e.Name).Body(data))
}

// Update is asked for by the interface and called by nobody.
func (s *sink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.send(s.core.Put().Namespace(e.Namespace).Resource("events").Name(e.Name).Body(e))
}

func (s *sink) send(r *rest.Request) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
	defer cancel()
	out := &corev1.Event{}
	return out, r.Do(ctx).Into(out)
}
