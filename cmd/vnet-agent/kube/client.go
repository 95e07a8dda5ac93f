package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// Options say which cluster, and for whom.
type Options struct {
	Kubeconfig string       // path; "": the service account of the pod
	Node       string       // name of this node
	Namespace  string       // of the agent and the documents
	Log        *slog.Logger // client-go's messages go there, too
	Changed    func()       // called, from several goroutines, when any of the answers changed; it must not wait
}

// Client answers from what it has watched, without asking the API server: while
// that is away, with what was true last. What it returns is shared and must not be
// written to. All methods may be called by several goroutines at a time.
type Client struct {
	node      string
	namespace string
	log       *slog.Logger
	changed   func()

	nodes      *table[Node]
	namespaces *table[Choice]
	pods       *table[Pod]
	documents  *table[Document]
	members    *table[published]
	feeds      []*feed

	core     *rest.RESTClient
	custom   *rest.RESTClient
	meta     metadata.Interface
	recorder record.EventRecorder
}

// Start begins to watch, until ctx ends. It returns when the first listing of
// everything is there. Until then it tries again, whatever the API server answers;
// only a cluster that does not have the custom resource yet has no members for now.
func Start(ctx context.Context, o Options) (*Client, error) {
	config, err := credentials(o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	c := &Client{node: o.Node, namespace: o.Namespace, log: o.Log, changed: o.Changed}
	if err := c.connect(config); err != nil {
		return nil, fmt.Errorf("make a client of the API server %s: %w", config.Host, err)
	}
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(o.Log.Handler()))
	if err := c.watch(ctx); err != nil {
		return nil, err
	}
	c.record(ctx)
	debug.FreeOSMemory() // what the listings took is not needed any more
	return c, nil
}

func credentials(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("read the credentials of the pod's service account: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the credentials in kubeconfig %s: %w", kubeconfig, err)
	}
	return config, nil
}

// connect makes the clients, which share their connections.
func (c *Client) connect(config *rest.Config) error {
	config.UserAgent = "vnet-agent"
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	codecs := serializer.NewCodecFactory(newScheme()).WithoutConversion()
	if c.core, err = restClient(config, transport, codecs, "/api", corev1.SchemeGroupVersion, runtime.ContentTypeProtobuf); err != nil {
		return err
	}
	if c.custom, err = restClient(config, transport, codecs, "/apis", nodePodsGV, runtime.ContentTypeJSON); err != nil {
		return err
	}
	c.meta, err = metadata.NewForConfigAndClient(config, transport)
	return err
}

func restClient(base *rest.Config, h *http.Client, codecs runtime.NegotiatedSerializer, path string, gv schema.GroupVersion, content string) (*rest.RESTClient, error) {
	config := rest.CopyConfig(base)
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = path, &gv, codecs
	config.ContentType, config.AcceptContentTypes = content, content+","+runtime.ContentTypeJSON
	return rest.RESTClientForConfigAndClient(config, h)
}

// watch fills the tables and keeps them up to date. One begins when the other is
// there, as a listing takes for a moment many times what is kept of it. Where
// metadata is enough, nothing more is asked for.
func (c *Client) watch(ctx context.Context) (err error) {
	all := func(*metav1.ListOptions) {}
	ofNode := fields.AndSelectors(
		fields.OneTermEqualSelector("spec.nodeName", c.node),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	)
	living := func(o *metav1.ListOptions) { o.FieldSelector = ofNode.String() }
	labelled := func(o *metav1.ListOptions) { o.LabelSelector = LabelDocuments }
	nodes := cache.NewFilteredListWatchFromClient(c.core, "nodes", "", all)
	if c.nodes, err = follow(ctx, c, &feed{resource: "nodes"}, nodes, reduceNode); err != nil {
		return err
	}
	namespaces := c.metadataOf("namespaces", all)
	if c.namespaces, err = follow(ctx, c, &feed{resource: "namespaces"}, namespaces, reduceNamespace); err != nil {
		return err
	}
	pods := c.metadataOf("pods", living)
	if c.pods, err = follow(ctx, c, &feed{resource: "pods"}, pods, reducePod); err != nil {
		return err
	}
	configMaps := cache.NewFilteredListWatchFromClient(c.core, "configmaps", c.namespace, labelled)
	if c.documents, err = follow(ctx, c, &feed{resource: "configmaps"}, configMaps, reduceDocument); err != nil {
		return err
	}
	members := cache.NewFilteredListWatchFromClient(c.custom, nodePodsResource, "", all)
	c.members, err = follow(ctx, c, &feed{resource: nodePodsResource, optional: true}, members,
		func(n *nodePods) published { return n.published })
	return err
}

func (c *Client) metadataOf(resource string, narrow func(*metav1.ListOptions)) *cache.ListWatch {
	of := c.meta.Resource(corev1.SchemeGroupVersion.WithResource(resource))
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			narrow(&o)
			return of.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			narrow(&o)
			return of.Watch(ctx, o)
		},
	}
}
