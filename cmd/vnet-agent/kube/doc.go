// Package kube is the API server's side of the node agent: what the cluster says
// about nodes, namespaces, this node's pods, documents and the pods of other
// nodes, and what this node tells the cluster.
//
// It knows client-go and keeps of each object only what the agent needs. It must
// not know the node's kernel, its files, the plugins, or what a security group is.
package kube
