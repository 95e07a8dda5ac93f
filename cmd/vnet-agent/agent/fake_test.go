package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
)

// fakeCluster is an API server that says what a test wants.
type fakeCluster struct {
	mu         sync.Mutex
	nodes      []kube.Node
	namespaces map[string]kube.Choice
	pods       map[string]kube.Pod
	documents  []kube.Document
	members    []kube.NodePods

	lost        []string
	broken      error  // of everything that writes
	hangs       bool   // instead of answering to what writes
	meanwhile   func() // what somebody changes while the agent publishes; once
	published   []kube.PodEntry
	unpublished int
	annotated   int
	versions    int      // of documents
	events      []string // "Kind/name reason: message"
}

// change is how a test changes the cluster.
func (c *fakeCluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func read[T any](c *fakeCluster, f func() T) T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f()
}

func (c *fakeCluster) Nodes() []kube.Node {
	return read(c, func() []kube.Node { return slices.Clone(c.nodes) })
}

func (c *fakeCluster) Namespaces() map[string]kube.Choice {
	return read(c, func() map[string]kube.Choice { return maps.Clone(c.namespaces) })
}

func (c *fakeCluster) Pods() map[string]kube.Pod {
	return read(c, func() map[string]kube.Pod { return maps.Clone(c.pods) })
}

func (c *fakeCluster) Documents() []kube.Document {
	return read(c, func() []kube.Document { return slices.Clone(c.documents) })
}

func (c *fakeCluster) Members() []kube.NodePods {
	return read(c, func() []kube.NodePods { return slices.Clone(c.members) })
}

func (c *fakeCluster) Lost() []string { return read(c, func() []string { return c.lost }) }

// hang waits as kube does for a server that does not answer.
func (c *fakeCluster) hang(ctx context.Context) error {
	if !read(c, func() bool { return c.hangs }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

func (c *fakeCluster) Publish(ctx context.Context, pods []kube.PodEntry) error {
	if err := c.hang(ctx); err != nil {
		return err
	}
	meanwhile := read(c, func() func() { f := c.meanwhile; c.meanwhile = nil; return f })
	if meanwhile != nil {
		meanwhile()
	}
	return read(c, func() error {
		if c.broken == nil {
			c.published = pods
		}
		return c.broken
	})
}

func (c *fakeCluster) Unpublish(context.Context) error {
	return read(c, func() error {
		c.unpublished++
		return c.broken
	})
}

// Annotate is as kube's: it writes what is not there already, to what was judged.
func (c *fakeCluster) Annotate(ctx context.Context, judged kube.Document, findings string) (bool, error) {
	if err := c.hang(ctx); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.documents {
		d := &c.documents[i]
		if d.Name == judged.Name && d.ResourceVersion == judged.ResourceVersion && d.Findings != findings && c.broken == nil {
			d.Findings = findings
			d.ResourceVersion = c.version()
			c.annotated++
			return true, nil
		}
	}
	return false, c.broken
}

func (c *fakeCluster) version() string {
	c.versions++
	return fmt.Sprint(c.versions)
}

func (c *fakeCluster) Event(about kube.Ref, _ bool, reason, message string) {
	c.change(func() {
		c.events = append(c.events, fmt.Sprintf("%s/%s %s: %s", about.Kind, about.Name, reason, message))
	})
}

// about returns the Events that have all of the words.
func (c *fakeCluster) about(words ...string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e, w) }) {
			out = append(out, e)
		}
	}
	return out
}

// document makes or replaces a ConfigMap with documents; without files it goes.
func (c *fakeCluster) document(name string, files map[string]string) {
	c.change(func() {
		c.documents = slices.DeleteFunc(c.documents, func(d kube.Document) bool { return d.Name == name })
		if files == nil {
			return
		}
		d := kube.Document{Name: name, UID: "uid-of-" + name, ResourceVersion: c.version(), Files: map[string][]byte{}}
		for key, text := range files {
			d.Files[key] = []byte(text)
		}
		c.documents = append(c.documents, d)
		slices.SortFunc(c.documents, func(a, b kube.Document) int { return strings.Compare(a.Name, b.Name) })
	})
}

// pod makes or replaces the annotations of a pod, "key=value".
func (c *fakeCluster) pod(name string, annotations ...string) {
	namespace, short, _ := strings.Cut(name, "/")
	p := kube.Pod{Namespace: namespace, Name: short, UID: "uid-of-" + short}
	for _, a := range annotations {
		switch key, value, _ := strings.Cut(a, "="); key {
		case "nsg":
			p.NSG, p.HasNSG = value, true
		case "asgs":
			p.ASGs, p.HasASGs = value, true
		case "terminating":
			p.Terminating = true
		}
	}
	c.change(func() { c.pods[name] = p })
}

// fakeRuntime knows the sandboxes that a test says.
type fakeRuntime struct {
	mu    sync.Mutex
	known map[string]struct{}
	away  bool
	hangs bool // instead of answering
}

var errAway = errors.New("no such socket")

func (r *fakeRuntime) Sandboxes(ctx context.Context) (map[string]struct{}, error) {
	r.mu.Lock()
	hangs := r.hangs
	r.mu.Unlock()
	if hangs {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		return nil, errAway
	}
	return maps.Clone(r.known), nil
}

func (r *fakeRuntime) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}
