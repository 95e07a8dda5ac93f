package kube

import (
	"slices"
	"strings"
)

// Nodes returns all nodes of the cluster, sorted by name.
func (c *Client) Nodes() []Node { return c.nodes.sorted() }

// Namespaces returns every namespace, with what it chooses for its pods.
func (c *Client) Namespaces() map[string]Choice { return c.namespaces.copied() }

// Pods returns the pods of this node by "namespace/name", those on the host's network
// included. Those that have ended, as a Job's do, are not there: they run no more,
// though their objects may stay for days (Kubernetes, "Pod Lifecycle", "Pod phase").
func (c *Client) Pods() map[string]Pod { return c.pods.copied() }

// Documents returns the labelled ConfigMaps of the agent's namespace, sorted by name.
func (c *Client) Documents() []Document { return c.documents.sorted() }

// Members returns the pods of all other nodes that are still in the cluster, sorted
// by node. It is empty as long as the cluster does not have the custom resource.
func (c *Client) Members() []NodePods {
	var out []NodePods
	for _, m := range c.members.sorted() {
		if _, exists := c.nodes.get(m.Node); exists && m.Node != c.node {
			out = append(out, m.NodePods)
		}
	}
	return out
}

// Lost returns the resources whose watch is not connected, sorted. The answers about
// them are as old as the loss.
func (c *Client) Lost() []string {
	var out []string
	for _, f := range c.feeds {
		if f.isLost() {
			out = append(out, f.resource)
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}
