// Package nodefiles keeps what a node agent has on its node's disk: the plugins'
// binaries, the network's conflist, the documents of security groups, and the
// defaults of the Kubernetes namespaces.
//
// Whoever reads a file finds the old one or the new one, whole, even where the
// disk is full or the writer was killed; the same call again completes what was
// begun, and one that finds everything in place writes nothing. Nothing here
// survives a power failure for certain: the agent repeats its calls after a boot.
//
// It knows files only. It must not know what is in them, nor Kubernetes, CNI or
// the configuration.
package nodefiles
